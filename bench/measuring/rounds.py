"""Make all runs; the sides take turns."""

from __future__ import annotations

import argparse
import contextlib
import os
import tempfile
from collections.abc import Iterator
from pathlib import Path

from measuring import inventory, source
from measuring.cases import CASES, SIDES, steps
from measuring.commands import command
from measuring.hosts import CERTIFICATES, host, trust
from measuring.progress import Progress
from measuring.runs import Run, play


def measure(arguments: argparse.Namespace) -> Iterator[Run]:
    """Yield each run as it ends."""
    plan = list(steps(arguments.repeat))
    runs = [side for step in plan for side in arguments.sides if CASES[step.case].playbook(side)]
    progress = Progress(arguments.rounds * len(runs))
    longest = arguments.timeout * len(plan) * len(SIDES)
    with tempfile.TemporaryDirectory(prefix="bench-key-") as keys:
        key = Path(keys) / "id"
        command("ssh-keygen", "-q", "-t", "ed25519", "-N", "", "-C", "bench", "-f", key)
        for number in range(1, arguments.rounds + 1):
            # The first side changes from round to round: caches and a warm machine favour the second.
            sides = arguments.sides if number % 2 else arguments.sides[::-1]
            with contextlib.ExitStack() as stack:
                hosts, inventories = {}, {}
                for side in sides:
                    progress.now(f"starting a bare container for {side}")
                    name = f"bench-{os.getpid()}-{side}-{number}"
                    hosts[side] = stack.enter_context(host(name, arguments.image, key, longest))
                    inventories[side] = inventory.write(side, hosts[side], arguments.extra)
                    if side == "baseline" and CERTIFICATES:
                        trust(name)
                pages: dict[str, dict] = {side: {} for side in sides}
                written = None
                for step in plan:
                    # Only if it changes: the baseline compares the files' times.
                    if written != (step.revision, step.package):
                        source.write(step)
                        written = step.revision, step.package
                    title = CASES[step.case].title
                    for side in sides:
                        if not CASES[step.case].playbook(side):
                            continue
                        run = Run(side, step.case, number)
                        play(run, inventories[side], arguments.timeout, progress)
                        page = source.health(hosts[side])
                        source.check(hosts[side].name, step, pages[side], page, run.changed)
                        pages[side] = page
                        progress.end(f"{side}, {title}: {run.seconds:.1f} s, {run.ran} tasks, {run.changed} changed")
                        yield run
