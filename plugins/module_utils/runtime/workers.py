"""The number of workers and threads of a site's server."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any


def environment(settings: Mapping[str, Any], cpus: int, running: int = 0) -> dict[str, str]:
    """The environment variables with the number of workers, for the server and the autoscaler.

    :param settings: `workers`, `workers_max`, `workers_min` and `threads` of a release; empty for an old release with
    gunicorn, which computes them itself
    :param cpus: the number of usable CPUs
    :param running: workers of the live slot; with autoscaling the next slot starts with the same number
    """
    if "workers" not in settings:
        return {}
    workers, threads = settings["workers"], settings.get("threads", 1)
    if workers == "auto":
        workers = 2 * cpus + 1
    if most := settings.get("workers_max", 0):
        workers = min(workers, most)
    if threads == "auto":
        threads = max(1, round((2 * cpus + 1) / workers))
    least = min(workers, settings.get("workers_min") or workers)
    first = min(workers, max(least, running))
    counts = {"WORKERS": workers, "WORKERS_MIN": least, "WORKERS_FIRST": first, "THREADS": threads}
    return {f"SITE_{name}": str(count) for name, count in counts.items()}
