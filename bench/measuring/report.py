"""The figures as a table to paste, and all of them as JSON."""

from __future__ import annotations

import argparse
import json
import platform
import statistics
from collections.abc import Sequence
from dataclasses import asdict
from typing import Any

from measuring.cases import CASES, SIDES, drain
from measuring.commands import WORK, command, find_ansible
from measuring.machine import facts, told
from measuring.runs import Run
from measuring.tables import NONE, spread, table


def own_work(runs: Sequence[Run], case: str) -> list[float]:
    """The seconds of each of the bundle's runs that are neither the drain nor Ansible's own nor the site's start."""
    floor = seconds(runs, "bundle", "floor")
    if case == "floor" or not floor:
        return []
    rest = statistics.median(floor) + (drain() if CASES[case].drains else 0.0)
    return [run.seconds - run.start - rest for run in chosen(runs, "bundle", case)]


def seconds(runs: Sequence[Run], side: str, case: str) -> list[float]:
    """How long each run of a case took on one side."""
    return [run.seconds for run in chosen(runs, side, case)]


def chosen(runs: Sequence[Run], side: str, case: str) -> list[Run]:
    """The runs of a case on one side."""
    return [run for run in runs if (run.side, run.case) == (side, case)]


def tenths(value: float) -> str:
    """Seconds, to a tenth."""
    return f"{value:.1f}"


def counts(values: Sequence[int]) -> str:
    """A count that is the same in each run, or its range."""
    if not values:
        return NONE
    return str(values[0]) if len(set(values)) == 1 else f"{min(values)}-{max(values)}"


def comparison(runs: Sequence[Run]) -> str:
    """The measurements as a Markdown table, a row for each case."""
    sides = [side for side in SIDES if any(run.side == side for run in runs)]
    head = ["run"]
    for side in sides:
        head += [SIDES[side], "tasks", *(["its server's start", "own work"] if side == "bundle" else [])]
    head += [*(["ratio"] if len(sides) == len(SIDES) else []), "best-known roles"]
    rows = []
    for name, case in CASES.items():
        row = [case.title]
        for side in sides:
            row += [
                spread(seconds(runs, side, name), tenths),
                counts([run.ran for run in chosen(runs, side, name)]),
                *([starts(runs, name), spread(own_work(runs, name), tenths)] if side == "bundle" else []),
            ]
        if len(sides) == len(SIDES):
            row.append(ratio(*(seconds(runs, side, name) for side in sides)))
        rows.append([*row, f"{case.earlier:g}" if case.earlier else NONE])
    return table(head, rows)


def starts(runs: Sequence[Run], case: str) -> str:
    """What the site's own server took, where one was started."""
    return spread([run.start for run in chosen(runs, "bundle", case) if run.start], tenths)


def ratio(ours: Sequence[float], theirs: Sequence[float]) -> str:
    """How much of the other's time."""
    return f"{statistics.median(ours) / statistics.median(theirs):.2f}" if ours and theirs else NONE


def slowest(runs: Sequence[Run], side: str, case: str) -> str:
    """Where the time of one side's case went, in the last such run."""
    tasks = chosen(runs, side, case)[-1].tasks
    return ", ".join(
        f"{name} {seconds:.1f} s" for seconds, name, _ in sorted(tasks, reverse=True)[:4] if seconds >= 0.1
    )


def about(arguments: argparse.Namespace) -> dict[str, Any]:
    """The machine, the versions and the command."""
    release = command("podman", "run", "--rm", "--entrypoint", "cat", arguments.image, "/etc/os-release")
    image = dict(line.split("=", 1) for line in release.splitlines() if "=" in line)
    versions = command(find_ansible(), "--version").splitlines()[0]
    return facts("bench/deploy") | {
        "host": f"{image['PRETTY_NAME'].strip(chr(34))} in {command('podman', '--version')}",
        "controller": f"{versions.removeprefix('ansible-playbook ').strip('[]')}, Python {platform.python_version()}",
    }


def report(runs: Sequence[Run], about: dict[str, Any], arguments: argparse.Namespace) -> str:
    """Write the Markdown and the JSON; the Markdown's text."""
    lines = [
        "# What a deploy costs",
        "",
        f"Medians, with the range, of {arguments.rounds} round(s) on fresh containers, the sides taking turns.",
        "Seconds, and tasks that ran. Own work is what is left without Ansible alone, without the start of the site's",
        f"server, and without the {drain():g} s in which the old release ends its requests. Best-known roles: measured",
        "earlier on a 2-core machine.",
        "",
        comparison(runs),
        "",
        "Slowest tasks of the last run of each kind:",
        "",
        *(
            f"- {side}, {case.title}: {slowest(runs, side, name)}"
            for side in arguments.sides
            for name, case in CASES.items()
            if case.playbook(side)
        ),
        "",
        *told(about),
        "",
    ]
    text = "\n".join(lines)
    (WORK / "deploy.md").write_text(text, encoding="utf-8")
    whole = about | {"runs": [asdict(run) | {"seconds": round(run.seconds, 2)} for run in runs]}
    (WORK / "deploy.json").write_text(json.dumps(whole, indent=2) + "\n", encoding="utf-8")
    return text
