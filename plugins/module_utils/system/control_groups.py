"""The control groups (version 2) of sites: all processes of a slot, of one process or of a command are ended as one.

The launcher makes them below supervisord's own group, as TOP/SITE/KEY, where the host lets it. Only root can move a
process out of its group, so neither `setsid` nor a double fork leads out. Where there are none, nothing here does a
thing, and processes are found by their parents, process groups and users.
"""

from __future__ import annotations

import contextlib
import os
import resource
import signal
import time
from collections.abc import Mapping
from pathlib import Path

from ansible_collections.wsgi.sites.plugins.module_utils.daemons.supervisord import SupervisorError
from ansible_collections.wsgi.sites.plugins.module_utils.runtime.supervisor import Supervisor
from ansible_collections.wsgi.sites.plugins.module_utils.site import paths
from ansible_collections.wsgi.sites.plugins.module_utils.system import process

CGROUPS = Path("/sys/fs/cgroup")
# supervisord's own group, once the launcher has moved it: a group that limits its members may hold no process itself.
DAEMON = "daemon"
# As the launcher has it.
OOM_SCORE = 300
# Seconds until what was killed has gone.
PATIENCE = 5.0


def top() -> Path | None:
    """Where the groups of this host's sites are, as the launcher has noted it, or where it would make them."""
    try:
        noted = Path((paths.RUN / "groups").read_text(encoding="utf-8"))
        if noted.is_dir():
            return noted
    except OSError:
        pass
    try:
        base = _group_of(Supervisor().pid())
        info = paths.RUN.stat()
    except (OSError, SupervisorError):
        return None
    if base is None:
        return None
    return (base.parent if base.name == DAEMON else base) / f"sites-{info.st_dev:x}-{info.st_ino:x}"


def _group_of(pid: int) -> Path | None:
    """A process's group, if it really is what lies at its path: a container may show others'."""
    own = Path(f"/proc/{pid}/cgroup").read_text(encoding="utf-8").splitlines()
    path = next((line[3:] for line in own if line.startswith("0::")), None)
    for mount in (CGROUPS, CGROUPS / "unified") if path else ():
        group = mount / path.strip("/")
        if (group / "cgroup.controllers").exists() and pid in members(group):
            return group
    return None


def members(group: Path) -> list[int]:
    """PIDs in a group and in those below it; none if there is no such group."""
    found: list[int] = []
    for folder, _, _ in os.walk(group):
        with contextlib.suppress(OSError):
            found += map(int, (Path(folder) / "cgroup.procs").read_text(encoding="ascii").split())
    return found


def end(site: str, key: str = "") -> bool:
    """Kill all that runs for a site under one name, or all of the site; whether it has gone."""
    place = top()
    return place is None or end_group(place / site / key)


def end_group(group: Path | None) -> bool:
    """Kill all in a group and those below it in one stroke, and take it away; whether it has gone."""
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


def amount(text: object) -> int | None:
    """A number as systemd writes it, 500M or 4096; None for `infinity`, and for a share of the host's memory."""
    text = str(text)
    if text == "infinity" or text.endswith("%"):
        return None
    unit = "KMGT".find(text[-1]) + 1
    return int(text[:-1] if unit else text) << 10 * unit


class Command:
    """The group of one command of a site, and its limits; all that the command leaves there is ended with it.

    :param site: without a name there is no group, and none of the limits
    """

    def __init__(self, site: str, resources: Mapping[str, object]) -> None:
        self.group: Path | None = None
        self.door: int | None = None
        tasks, size = (amount(resources.get(key, "infinity")) for key in ("tasks_max", "file_size_max"))
        self.tasks = tasks
        self.limits = {resource.RLIMIT_FSIZE: size, resource.RLIMIT_NPROC: tasks}
        with contextlib.suppress(OSError):
            if site and os.geteuid() == 0 and (place := top()):
                group = place / site / f"run.{os.getpid()}.{time.monotonic_ns()}"
                group.mkdir(mode=0o755, parents=True)
                self.group = group
                # Who opens it counts, not who writes: by then the child is the site's user already.
                self.door = os.open(group / "cgroup.procs", os.O_WRONLY | os.O_CLOEXEC)
                (group / "pids.max").write_text("max" if tasks is None else str(tasks), encoding="ascii")
                self.limits[resource.RLIMIT_NPROC] = None

    def enter(self) -> None:
        """Move this process there, a child of ours; it may be the site's user already."""
        if self.door is not None:
            try:
                os.write(self.door, b"0")
            except OSError:  # nothing is counted there then
                self.limits[resource.RLIMIT_NPROC] = self.tasks
        for kind, limit in self.limits.items():
            before = resource.getrlimit(kind)[1]
            if limit is not None and (before == resource.RLIM_INFINITY or limit < before):
                resource.setrlimit(kind, (limit, limit))

    def began(self, pid: int) -> None:
        """Let the kernel take this process first when the host has no memory left."""
        with contextlib.suppress(OSError):
            if os.geteuid() == 0:
                Path(f"/proc/{pid}/oom_score_adj").write_text(str(OOM_SCORE), encoding="ascii")

    def end(self) -> None:
        """End what is still there."""
        if self.door is not None:
            os.close(self.door)
            self.door = None
        end_group(self.group)
