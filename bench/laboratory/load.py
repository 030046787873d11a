"""Load from wrk, which asks faster than any server here answers, and how much of a CPU it took for that."""

from __future__ import annotations

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
    # It counts in whole seconds; asked to stop before, it tells what it has seen by then.
    words = ["wrk", "-t1", f"-c{clients}", f"-d{math.ceil(seconds) + 5}s", "--timeout=10s", "-s", str(SCRIPT), url]
    before = resource.getrusage(resource.RUSAGE_CHILDREN)
    process = subprocess.Popen(words, stdout=subprocess.PIPE, stderr=subprocess.STDOUT, text=True)
    try:
        process.wait(seconds)
    except subprocess.TimeoutExpired:
        process.send_signal(signal.SIGINT)
    said, _ = process.communicate(timeout=60)
    after = resource.getrusage(resource.RUSAGE_CHILDREN)
    try:
        seen = json.loads(said.splitlines()[-1])
    except (ValueError, IndexError):
        raise BenchError(f"wrk did not measure {url}:\n{said}") from None
    if not seen["answers"]:
        raise BenchError(f"nobody was answered at {url}:\n{said}")
    used = after.ru_utime + after.ru_stime - before.ru_utime - before.ru_stime
    return {
        "rate": round(seen["answers"] / seen["seconds"], 1),
        "p50": round(seen["p50"], 3),
        "p99": round(seen["p99"], 3),
        "failed": seen["failed"],
        "wrk": round(used / seen["seconds"], 3),
    }
