"""The report: a Markdown table to paste, and all figures as JSON."""

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
from measuring.machine import described, facts
from measuring.runs import Run
from measuring.tables import NONE, spread, table


def own_work(runs: Sequence[Run], case: str) -> list[float]:
    """Seconds of each run of the bundle without the drain, Ansible alone and the start of the site's server."""
    alone = seconds(runs, "bundle", "ansible")
    if case == "ansible" or not alone:
        return []
    other = statistics.median(alone) + (drain() if CASES[case].drains else 0.0)
    return [run.seconds - run.start - other for run in chosen(runs, "bundle", case)]


def seconds(runs: Sequence[Run], side: str, case: str) -> list[float]:
    """Seconds of each run of a case on one side."""
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
        head += [SIDES[side], "tasks", *(["start of its server", "own work"] if side == "bundle" else [])]
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
    """Seconds until the site's own server was healthy, where one was started."""
    return spread([run.start for run in chosen(runs, "bundle", case) if run.start], tenths)


def ratio(bundle: Sequence[float], baseline: Sequence[float]) -> str:
    """The bundle's time as a share of the baseline's."""
    return f"{statistics.median(bundle) / statistics.median(baseline):.2f}" if bundle and baseline else NONE


def slowest(runs: Sequence[Run], side: str, case: str) -> str:
    """The slowest tasks of one side's last run of a case."""
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
        "# Duration of a deploy",
        "",
        f"Medians, with the range, of {arguments.rounds} round(s) on fresh containers; the sides take turns.",
        "Seconds, and tasks that ran. Own work excludes Ansible alone, the start of the site's server, and the",
        f"{drain():g} s in which the old release finishes its requests. Best-known roles: measured",
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
        *described(about),
        "",
    ]
    text = "\n".join(lines)
    (WORK / "deploy.md").write_text(text, encoding="utf-8")
    whole = about | {"runs": [asdict(run) | {"seconds": round(run.seconds, 2)} for run in runs]}
    (WORK / "deploy.json").write_text(json.dumps(whole, indent=2) + "\n", encoding="utf-8")
    return text
