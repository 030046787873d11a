"""The machine, the versions and the command of a measurement."""

from __future__ import annotations

import datetime
import os
import platform
import shlex
import sys
from pathlib import Path

from measuring.commands import ROOT, BenchError, command


def facts(program: str) -> dict[str, str]:
    """Where and how a measurement was made."""
    cpu = next(
        (
            line.split(":", 1)[1].strip()
            for line in Path("/proc/cpuinfo").read_text().splitlines()
            if line.startswith("model name")
        ),
        platform.machine(),
    )
    memory = os.sysconf("SC_PAGE_SIZE") * os.sysconf("SC_PHYS_PAGES") / 2**30
    try:
        revision = command("git", "-C", ROOT, "describe", "--always", "--dirty")
    except BenchError:
        revision = "unknown"
    kernel = platform.release().partition("-")[0]
    return {
        "command": shlex.join([program, *sys.argv[1:]]),
        "when": datetime.datetime.now(datetime.UTC).strftime("%Y-%m-%d %H:%M UTC"),
        "machine": f"{cpu}, {len(os.sched_getaffinity(0))} CPUs, {memory:.0f} GiB, Linux {kernel}",
        "load before": f"{os.getloadavg()[0]:.1f} (1 means one busy CPU)",
        "revision": revision,
    }


def described(about: dict[str, str]) -> list[str]:
    """These facts as a Markdown list."""
    return [f"- {name}: {f'`{value}`' if name == 'command' else value}" for name, value in about.items()]
