"""Whether the host has memory for a second server beside the running one."""

from __future__ import annotations

import re
from collections.abc import Iterator
from pathlib import Path

from ansible_collections.wsgi.sites.plugins.module_utils.system import control_groups, process

PROC = Path("/proc")
CGROUPS = Path("/sys/fs/cgroup")
MB = 1 << 20
# The part of a control group's memory that the kernel reclaims first.
CACHES = ("inactive_file", "active_file", "slab_reclaimable")


def tree(root: int) -> list[int]:
    """A process and its running descendants."""
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
    """The memory of a process and its descendants in bytes; shared memory counts once."""
    return sum(_used_by(pid) for pid in tree(root))


def _used_by(pid: int) -> int:
    # In a container without SYS_PTRACE other users' maps are not readable; then shared memory counts repeatedly.
    for file, field in (("smaps_rollup", "Pss"), ("status", "VmRSS")):
        try:
            return _fields(PROC / str(pid) / file)[field]
        except (OSError, KeyError):
            continue
    return 0


def _fields(path: Path) -> dict[str, int]:
    """Parse lines of `NAME:  NUMBER kB` to bytes."""
    text = path.read_text(encoding="utf-8", errors="replace")
    return {name: int(number) << 10 for name, number in re.findall(r"(?m)^(\w+):\s+(\d+) kB$", text)}


def available(daemon: int, cgroups: Path | None = None, beside: int | None = None) -> int:
    """The memory available to a program of this daemon in bytes, by the machine and the daemon's control groups.

    :param beside: PID of a process of the same site, whose limit the program shares
    """
    pids = [daemon] if beside is None else [daemon, beside]
    own = "".join((PROC / str(pid) / "cgroup").read_text(encoding="utf-8") for pid in pids)
    return min([_fields(PROC / "meminfo")["MemAvailable"], *left(cgroups or CGROUPS, own)])


def left(cgroups: Path, own: str) -> Iterator[int]:
    """The remaining memory of each control group around a process.

    :param cgroups: where control groups are mounted
    :param own: the content of /proc/PID/cgroup
    """
    for group in control_groups.around(cgroups, own, "memory"):
        yield from _left_by(group)


def _left_by(group: Path) -> Iterator[int]:
    """The limit of one control group minus its usage without the file cache, which the kernel reclaims."""
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
    """Why a second server must not start beside one; empty if there is memory, or it is unknown.

    :param server: PID of the running server
    :param daemon: PID of the supervisord that would start the second one
    """
    try:
        needed, free = used(server), available(daemon, beside=server)
    except (OSError, KeyError, ValueError):
        return ""
    if needed <= free:
        return ""
    return (
        f"the live server uses {needed // MB} MB, and only {free // MB} MB are available for a second one. Give "
        "the site fewer workers (`workers`, or `workers_max` with `auto`), the host more memory, or set `going_live: "
        "replace`, which stops the live release before it starts the new one"
    )
