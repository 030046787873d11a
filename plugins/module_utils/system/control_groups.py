"""Control groups (version 2) of sites, for limits and for ending all processes of a slot, process or command.

The launcher creates them below supervisord's group, as TOP/SITE/KEY, where the host allows it. Only root can move a
process out of its group, so neither `setsid` nor a double fork escapes. Without control groups the functions have no
effect, and processes are found by parent, process group and user.
"""

from __future__ import annotations

import contextlib
import os
import resource
import signal
import time
from collections.abc import Iterator, Mapping
from pathlib import Path

from ansible_collections.wsgi.sites.plugins.module_utils.site import paths
from ansible_collections.wsgi.sites.plugins.module_utils.system import process

CGROUPS = Path("/sys/fs/cgroup")
# supervisord's group after the launcher has moved it: a group that limits subgroups must have no processes itself.
DAEMON = "daemon"
# When the host runs out of memory, the kernel kills a site's process before nginx, supervisord or a database.
OOM_SCORE = 300
# Seconds until killed processes have ended.
PATIENCE = 5.0


def noted_top() -> Path | None:
    """The group of this host's sites, as recorded by a launcher under supervisord."""
    try:
        noted = Path((paths.RUN / "groups").read_text(encoding="utf-8"))
    except OSError:
        return None
    return noted if noted.is_dir() else None


def top_beside(daemon: int) -> Path | None:
    """The group of this host's sites: beside supervisord's, or below it before the launcher has moved supervisord.

    Its name is unique to this host, since containers may share one group and have sites of the same name.

    :raises OSError: if it cannot be determined
    """
    base = group_of(daemon)
    if base is None:
        return None
    info = paths.RUN.stat()
    return (base.parent if base.name == DAEMON else base) / f"sites-{info.st_dev:x}-{info.st_ino:x}"


def group_of(pid: int) -> Path | None:
    """A process's group, verified by its members, since a container may show another group at that path."""
    own = Path(f"/proc/{pid}/cgroup").read_text(encoding="utf-8").splitlines()
    path = next((line[3:] for line in own if line.startswith("0::")), None)
    for mount in (CGROUPS, CGROUPS / "unified") if path else ():
        group = mount / path.strip("/")
        with contextlib.suppress(OSError):
            if (group / "cgroup.controllers").exists() and pid in direct_members(group):
                return group
    return None


def around(cgroups: Path, own: str, controller: str) -> Iterator[Path]:
    """The groups around a process with this controller, version 1 or 2, innermost first.

    :param cgroups: where control groups are mounted
    :param own: the content of /proc/PID/cgroup
    """
    for line in own.splitlines():
        _number, controllers, path = line.split(":", 2)
        # A line without controllers is version 2's, alone or beside version 1.
        mounts = [] if controllers else [cgroups, cgroups / "unified"]
        if controller in controllers.split(","):
            mounts = [cgroups / controllers, cgroups / controller]
        for mount in dict.fromkeys(mounts):
            # In a container the mount is the group itself and the path does not exist, so all parents are tried.
            group = mount / path.strip("/")
            yield from (folder for folder in (group, *group.parents) if folder.is_relative_to(mount))


def direct_members(group: Path) -> list[int]:
    """The PIDs directly in a group.

    :raises OSError: if there is no such group
    """
    return list(map(int, (group / "cgroup.procs").read_text(encoding="ascii").split()))


def members(group: Path) -> list[int]:
    """The PIDs in a group and its subgroups; none if there is no such group."""
    found: list[int] = []
    for folder, _, _ in os.walk(group):
        with contextlib.suppress(OSError):
            found += direct_members(Path(folder))
    return found


def end_group(group: Path | None) -> bool:
    """Kill all processes of a group and its subgroups at once, and remove it; returns whether that succeeded."""
    if group is None or not group.is_dir():
        return True
    deadline = time.monotonic() + PATIENCE
    while (left := members(group)) and time.monotonic() < deadline:
        try:
            (group / "cgroup.kill").write_text("1", encoding="ascii")
        except OSError:  # before Linux 5.14
            for pid in left:
                process.signal_if(pid, signal.SIGKILL, lambda pid: pid in members(group))
        time.sleep(0.01)
    for folder, _, _ in os.walk(group, topdown=False):
        with contextlib.suppress(OSError):
            os.rmdir(folder)
    return not members(group)


def amount(text: object, whole: int | None = None) -> int | None:
    """Parse a size in systemd's notation: 500M, 4096, 90%; None for `infinity`, and for a share of an unknown whole."""
    text = str(text)
    if text == "infinity" or (text.endswith("%") and whole is None):
        return None
    if text.endswith("%"):
        return (whole or 0) * int(text[:-1]) // 100
    unit = "KMGT".find(text[-1]) + 1
    return int(text[:-1] if unit else text) << 10 * unit


def write_limit(file: Path, limit: int | None) -> None:
    """Set a limit of a group; None for no limit."""
    file.write_text("max" if limit is None else str(limit), encoding="ascii")


def lower_limits(limits: Mapping[int, int | None]) -> None:
    """Set the rlimits of this process and its children where they are lower than the present ones.

    :param limits: by RLIMIT_…; None keeps the present one
    """
    for kind, limit in limits.items():
        before = resource.getrlimit(kind)[1]
        if limit is not None and (before == resource.RLIM_INFINITY or limit < before):
            resource.setrlimit(kind, (limit, limit))
