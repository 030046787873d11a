"""Scanners of others: testssl.sh on the controller, slowhttptest on another host."""

from __future__ import annotations

import json
import os
import re
import signal
import subprocess
from collections import Counter
from dataclasses import dataclass, field
from functools import cached_property
from typing import Any

from attackers import NAME
from authority import roots
from load_generator import Report
from support import PROJECT, Machine

BUILD = PROJECT / "build/edge"
# All but the simulation of fifty browsers, which finds nothing and takes half as long as the rest.
CHECKS = ("--protocols", "--std", "--fs", "--server-preference", "--server-defaults", "--headers", "--vulnerable")


@dataclass
class Scan:
    """A run of testssl.sh, which trusts the authority as a browser would. Its results are in build/edge/."""

    machine: Machine

    def __post_init__(self) -> None:
        BUILD.mkdir(parents=True, exist_ok=True)
        self.report = BUILD / f"testssl-{self.machine.name}.json"
        self.report.unlink(missing_ok=True)
        authority = BUILD / f"authority-{self.machine.name}.pem"
        authority.write_text(roots(self.machine))
        command = ["nice", "testssl", "--quiet", "--color", "0", "--warnings", "off", "--nodns", "min", *CHECKS]
        command += ["--add-ca", str(authority), "--ip", self.machine.address, "--jsonfile-pretty", str(self.report)]
        with self.report.with_suffix(".log").open("w") as log:
            # In a process group of its own, since it starts many processes.
            self.process = subprocess.Popen(
                [*command, f"https://{NAME}"], stdin=subprocess.DEVNULL, stdout=log, stderr=log, start_new_session=True
            )

    @cached_property
    def findings(self) -> dict[str, tuple[str, str]]:
        """The results at its end: severity and text by name."""
        self.process.wait(timeout=900)
        found: dict[str, tuple[str, str]] = {}
        (result,) = json.loads(self.report.read_text())["scanResult"]
        for section in result.values():
            for each in section if isinstance(section, list) else ():
                found[each["id"]] = (each["severity"], each["finding"])
        return found

    def stop(self) -> None:
        """End it, if it has not ended."""
        if self.process.poll() is None:
            os.killpg(self.process.pid, signal.SIGTERM)
            self.process.wait()


@dataclass
class Table:
    """Rows of a table in docs/: build/edge/NAME.md, which each row rewrites."""

    name: str
    head: tuple[str, ...]
    rows: list[tuple[Any, ...]] = field(default_factory=list)

    def add(self, *cells: Any) -> None:
        """One more row."""
        self.rows.append(cells)
        lines = [self.head, ("---",) * len(self.head), *self.rows]
        text = "".join("| " + " | ".join(map(str, line)) + " |\n" for line in lines)
        BUILD.mkdir(parents=True, exist_ok=True)
        (BUILD / f"{self.name}.md").write_text(text)


def summary(scan: Scan) -> tuple[str, ...]:
    """How many findings of each kind, and which are worse than good."""
    times = Counter(severity for severity, _ in scan.findings.values())
    rest = [f"{name} ({severity})" for name, (severity, _) in scan.findings.items() if severity not in ("OK", "INFO")]
    return (str(times["OK"]), str(times["INFO"]), ", ".join(rest) or "none")


def attack(attacker: Machine, path: str, *how: str) -> int:
    """Let another host attack the target slowly for ten seconds; how many connections it had open at the most."""
    command = f"slowhttptest {' '.join(how)} -c 600 -r 200 -l 10 -p 5 -u https://{NAME}{path}"
    said = attacker.output(f"{command} | sed 's/\\x1b\\[[0-9;]*[a-zA-Z]//g'")
    print(said[-900:])
    return max(int(number) for number in re.findall(r"^connected: +(\d+)", said, re.MULTILINE))


def served(report: Report) -> tuple[str, ...]:
    """What a client under load noticed."""
    harmed = sum(map(len, report.harm.values()))
    return (str(report.requests), str(harmed), str(report.baseline), str(report.during))
