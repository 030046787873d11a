"""The number of workers and threads of a site's server."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any


def environment(settings: Mapping[str, Any], cpus: int, running: int = 0) -> dict[str, str]:
    """The variables by which the launcher tells the server, and the autoscaler, how many there are to be.

    :param settings: `workers`, `workers_max`, `workers_min` and `threads` of a release; empty for an old one of
        gunicorn's, which counts by itself
    :param cpus: the CPUs that the server may really use
    :param running: workers of the live slot; where their number follows the load, the next slot begins with as many
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
