"""Load from wrk, which asks faster than any server here answers, and how much of a CPU it took for that."""

from __future__ import annotations

import contextlib
import json
import math
import resource
import signal
import subprocess
from pathlib import Path

from measuring.commands import BenchError

SCRIPT = Path(__file__).with_name("load.lua")


def ask(url: str, clients: int, seconds: float) -> dict[str, float]:
    """So many clients who ask one page over and over, each over a connection that is kept if the server keeps it.

    :returns: answers a second, the times of half and of 99 % of them in milliseconds, how many failed, and the share
        of one CPU that wrk itself took
    """
    for longer in (1, 4, 16, 64):
        seen = run(url, clients, longer * seconds)
        # Scaled down and on a busy machine, nobody may have been answered yet.
        if seen["answers"]:
            break
    else:
        raise BenchError(f"nobody is answered at {url}")
    return {
        "rate": round(seen["answers"] / seen["seconds"], 1),
        "p50": round(seen["p50"], 3),
        "p99": round(seen["p99"], 3),
        "failed": int(seen["failed"]),
        "wrk": round(seen["used"] / seen["seconds"], 3),
    }


def run(url: str, clients: int, seconds: float) -> dict[str, float]:
    """Start wrk for so many seconds: what load.lua tells, and the seconds of a CPU that it used."""
    # It counts in whole seconds; asked to stop before, it tells what it has seen by then. It can be asked from its
    # first line on, which it would keep to itself if stdbuf did not forbid that.
    words = ["wrk", "-t1", f"-c{clients}", f"-d{math.ceil(seconds) + 60}s", "--timeout=10s", "-s", str(SCRIPT), url]
    before = resource.getrusage(resource.RUSAGE_CHILDREN)
    with subprocess.Popen(
        ["stdbuf", "-oL", *words], stdout=subprocess.PIPE, stderr=subprocess.STDOUT, text=True
    ) as process:
        said = process.stdout.readline() if process.stdout else ""
        with contextlib.suppress(subprocess.TimeoutExpired):
            process.wait(seconds)
        process.send_signal(signal.SIGINT)
        said += process.communicate(timeout=60)[0]
    after = resource.getrusage(resource.RUSAGE_CHILDREN)
    try:
        seen = json.loads(said.splitlines()[-1])
    except (ValueError, IndexError):
        raise BenchError(f"wrk did not measure {url}:\n{said}") from None
    return seen | {"used": after.ru_utime + after.ru_stime - before.ru_utime - before.ru_stime}
