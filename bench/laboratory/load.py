"""Load by wrk, and the CPU time that it used."""

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


def wrk(url: str, clients: int, seconds: float) -> dict[str, float]:
    """Clients that request one page without pause, each over a connection that stays open if the server allows it.

    :returns: answers a second, p50 and p99 in milliseconds, the number of failed requests, and the share of one CPU
        that wrk used
    """
    for longer in (1, 4, 16, 64):
        seen = run(url, clients, longer * seconds)
        # On a busy machine a scaled-down run may end before the first answer.
        if seen["answers"]:
            break
    else:
        raise BenchError(f"no answer from {url}")
    return {
        "rate": round(seen["answers"] / seen["seconds"], 1),
        "p50": round(seen["p50"], 3),
        "p99": round(seen["p99"], 3),
        "failed": int(seen["failed"]),
        "wrk": round(seen["used"] / seen["seconds"], 3),
    }


def run(url: str, clients: int, seconds: float) -> dict[str, float]:
    """Run wrk for some seconds; return the results of load.lua, and the CPU seconds used."""
    # wrk counts whole seconds; on SIGINT it reports what it has measured so far. It handles SIGINT once its first line
    # is out, which stdbuf makes it write at once.
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
        raise BenchError(f"wrk could not measure {url}:\n{said}") from None
    return seen | {"used": after.ru_utime + after.ru_stime - before.ru_utime - before.ru_stime}
