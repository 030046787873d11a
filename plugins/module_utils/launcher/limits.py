"""Resource limits of a site's processes, by a control group of their own or by rlimits."""

from __future__ import annotations

import contextlib
import errno
import os
import resource
from pathlib import Path
from typing import Any

from ansible_collections.wsgi.sites.plugins.module_utils.launcher.messages import say
from ansible_collections.wsgi.sites.plugins.module_utils.launcher.release import Release
from ansible_collections.wsgi.sites.plugins.module_utils.site import paths
from ansible_collections.wsgi.sites.plugins.module_utils.site.paths import write_file
from ansible_collections.wsgi.sites.plugins.module_utils.system import control_groups, process, runtime
from ansible_collections.wsgi.sites.plugins.module_utils.system.control_groups import (
    OOM_SCORE,
    amount,
    direct_members,
    write_limit,
)

CONTROLLERS = ("memory", "pids")
# Seconds after which a launcher stops waiting for others: a process in the wrong group is better than a site that is
# down.
PATIENCE = 10.0
# Errors of kernel files that are missing, not writable, or have an unexpected format.
UNEXPECTED = (OSError, ValueError, LookupError, TypeError, AttributeError, ArithmeticError)


def confine(release: Release, key: str, keep: bool = False, supervised: bool = True) -> None:
    """Move this process to a control group of its own with the site's limits. No failure here prevents the start.

    Without control groups, or without the right to create them (a container), the limits apply per user.

    :param keep: whether an older process that is shutting down may still run in the group
    :param supervised: whether supervisord has started this process, so that the sites' groups are below its own
    """
    wanted, counted = release.manifest.get("resources", {}), False
    try:
        runtime.make_folder(paths.RUN)
        # A launcher that moves processes for the controllers must not move another one out of its new group.
        with runtime.alone(paths.RUN, "groups", patience=PATIENCE):
            if top := make_top() if supervised else control_groups.noted_top():
                counted = join_group(top / release.site.name, key, wanted, keep)
    except UNEXPECTED:
        pass  # no control groups, or not writable, as in an ordinary container
    try:
        limit_process(wanted, counted)
    except UNEXPECTED as error:
        say(f"not all of the site's limits are set ({error})")


def make_top() -> Path | None:
    """Create the group of this host's sites below supervisord's, and record it for processes of other origin."""
    top = control_groups.top_beside(os.getpid())
    if top is None:
        return None
    top.mkdir(mode=0o755, exist_ok=True)
    if control_groups.noted_top() != top:
        write_file(paths.RUN / "groups", str(top), 0o644)
    return top


def join_group(home: Path, key: str, wanted: dict[str, Any], keep: bool) -> bool:
    """Move to the site's group of this name; returns whether the number of processes is limited there."""
    group = home / key
    for empty in home.glob("run.*"):
        # A group that was just created may have no member yet.
        if (maker := empty.name.split(".")[1]).isdigit() and process.is_gone(int(maker)):
            with contextlib.suppress(OSError):  # the group has members
                empty.rmdir()
    if not keep and control_groups.members(group):
        say(f"{home.name}-{key}: killing leftovers of an earlier process")
        control_groups.end_group(group)
    group.mkdir(mode=0o755, parents=True, exist_ok=True)
    (group / "cgroup.procs").write_text(str(os.getpid()), encoding="ascii")
    return limit_group(home, group, wanted)


def limit_group(home: Path, group: Path, wanted: dict[str, Any]) -> bool:
    """Set the limits of the available controllers; returns whether the number of processes is limited."""
    base, top = home.parent.parent, home.parent
    have = [name for name in (base / "cgroup.controllers").read_text(encoding="ascii").split() if name in CONTROLLERS]
    if not have:
        return False
    on = " ".join(f"+{name}" for name in have)
    if set(have) - set((base / "cgroup.subtree_control").read_text(encoding="ascii").split()):
        make_way(base)
        (base / "cgroup.subtree_control").write_text(on, encoding="ascii")
    for folder in (top, home):
        (folder / "cgroup.subtree_control").write_text(on, encoding="ascii")
    if "memory" in have:
        write_limit(home / "memory.max", amount(wanted.get("memory_max", "infinity"), whole_memory(base)))
    if "pids" not in have:
        return False
    write_limit(group / "pids.max", amount(wanted.get("tasks_max", "infinity")))
    return True


def make_way(base: Path) -> None:
    """Move supervisord and its children out of the group, which cannot limit subgroups while it has processes.

    :raises OSError: if another process is in the group, which is then not supervisord's alone
    """
    if not (base / "cgroup.events").exists():
        return  # the root group may have processes
    here, daemon = direct_members(base), base / control_groups.DAEMON
    if strange := [pid for pid in here if not process.descends(pid, os.getppid())]:
        raise OSError(errno.EBUSY, f"process {strange[0]} does not belong to supervisord", str(base))
    daemon.mkdir(mode=0o755, exist_ok=True)
    for pid in here:
        with contextlib.suppress(ProcessLookupError):
            (daemon / "cgroup.procs").write_text(str(pid), encoding="ascii")


def whole_memory(base: Path) -> int:
    """The host's memory, or the lowest limit of the enclosing control groups."""
    fields = dict(line.split(":", 1) for line in Path("/proc/meminfo").read_text(encoding="ascii").splitlines())
    found = [int(fields["MemTotal"].split()[0]) << 10]
    for folder in (base, *base.parents):
        with contextlib.suppress(OSError, ValueError):  # missing, or "max"
            found.append(int((folder / "memory.max").read_text(encoding="ascii")))
    return min(found)


def limit_process(wanted: dict[str, Any], counted: bool) -> None:
    """Set the rlimits, which children inherit.

    :param counted: whether a control group limits the number of processes already
    """
    limits = {resource.RLIMIT_FSIZE: amount(wanted.get("file_size_max", "infinity"))}
    if not counted:
        # Counted per user, and each site has its own user.
        limits[resource.RLIMIT_NPROC] = amount(wanted.get("tasks_max", "infinity"))
    control_groups.lower_limits(limits)
    score = Path("/proc/self/oom_score_adj")
    if int(score.read_text(encoding="ascii")) < OOM_SCORE:
        score.write_text(str(OOM_SCORE), encoding="ascii")
