"""Whether there is memory for a second server beside the one that runs."""

from __future__ import annotations

import re
from collections.abc import Iterator
from pathlib import Path

from ansible_collections.wsgi.sites.plugins.module_utils.system import control_groups, process

PROC = Path("/proc")
CGROUPS = Path("/sys/fs/cgroup")
MB = 1 << 20
# Of what a control group has taken, what the kernel gives back before anybody goes short.
CACHES = ("inactive_file", "active_file", "slab_reclaimable")


def tree(root: int) -> list[int]:
    """A process and all that it has started, as far as they still run."""
    children: dict[int | None, list[int]] = {}
    for folder in PROC.iterdir():
        if folder.name.isdigit():
            children.setdefault(process.parent(int(folder.name)), []).append(int(folder.name))
    found, todo = [], [root]
    while todo:
        pid = todo.pop()
        found.append(pid)
        todo += children.get(pid, [])
    return [pid for pid in found if not process.is_gone(pid)]


def used(root: int) -> int:
    """Bytes that a process and all that it has started take; what several of them share counts once."""
    return sum(_used_by(pid) for pid in tree(root))


def _used_by(pid: int) -> int:
    # In a container without SYS_PTRACE nobody may look at another user's map; then what is shared counts several times.
    for file, field in (("smaps_rollup", "Pss"), ("status", "VmRSS")):
        try:
            return _fields(PROC / str(pid) / file)[field]
        except (OSError, KeyError):
            continue
    return 0


def _fields(path: Path) -> dict[str, int]:
    """`NAME:  NUMBER kB`, line by line, in bytes."""
    text = path.read_text(encoding="utf-8", errors="replace")
    return {name: int(number) << 10 for name, number in re.findall(r"(?m)^(\w+):\s+(\d+) kB$", text)}


def available(daemon: int, cgroups: Path | None = None, beside: int | None = None) -> int:
    """Bytes that a program of this daemon may still take: what the machine has, and what its control groups leave.

    :param beside: PID of a process whose site the program is of, and shares that one's limit
    """
    pids = [daemon] if beside is None else [daemon, beside]
    own = "".join((PROC / str(pid) / "cgroup").read_text(encoding="utf-8") for pid in pids)
    return min([_fields(PROC / "meminfo")["MemAvailable"], *left(cgroups or CGROUPS, own)])


def left(cgroups: Path, own: str) -> Iterator[int]:
    """What each control group around a process leaves it.

    :param cgroups: where control groups are mounted
    :param own: what /proc/PID/cgroup says
    """
    for group in control_groups.around(cgroups, own, "memory"):
        yield from _left_by(group)


def _left_by(group: Path) -> Iterator[int]:
    """The limit of one control group less what is taken, but for the cache of files, which the kernel gives back."""
    for limit, current, prefix in (
        ("memory.max", "memory.current", ""),
        ("memory.limit_in_bytes", "memory.usage_in_bytes", "total_"),
    ):
        try:
            allowed, taken = int((group / limit).read_text()), int((group / current).read_text())
            stat = dict(line.split() for line in (group / "memory.stat").read_text().splitlines())
        except (OSError, ValueError):  # not there, or "max"
            continue
        yield max(0, allowed - taken + sum(int(stat.get(prefix + name, 0)) for name in CACHES))


def shortage(server: int, daemon: int) -> str:
    """Why no second one should start beside a server; empty if there is room, or nobody can tell.

    :param server: PID of the one that runs
    :param daemon: PID of the supervisord that would start the other one
    """
    try:
        needed, free = used(server), available(daemon, beside=server)
    except (OSError, KeyError, ValueError):
        return ""
    if needed <= free:
        return ""
    return (
        f"what is live uses {needed // MB} MB, and only {free // MB} MB are available for a second one beside it. Give "
        "the site fewer workers (`workers`, or `workers_max` with `auto`), the host more memory, or set `going_live: "
        "replace`, which stops the live release before it starts the new one"
    )
