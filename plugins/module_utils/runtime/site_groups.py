"""A site's control groups for modules: end all processes of one, and run a command in a new one."""

from __future__ import annotations

import contextlib
import os
import resource
import time
from collections.abc import Mapping
from pathlib import Path

from ansible_collections.wsgi.sites.plugins.module_utils.daemons.supervisord import SupervisorError
from ansible_collections.wsgi.sites.plugins.module_utils.runtime.supervisor import Supervisor
from ansible_collections.wsgi.sites.plugins.module_utils.system import control_groups
from ansible_collections.wsgi.sites.plugins.module_utils.system.control_groups import amount


def top() -> Path | None:
    """The group of this host's sites: the recorded one, or the one that the launcher would create."""
    if noted := control_groups.noted_top():
        return noted
    try:
        return control_groups.top_beside(Supervisor().pid())
    except (OSError, SupervisorError):
        return None


def end(site: str, key: str = "") -> bool:
    """Kill the processes in one group of a site, or in all; returns whether they have ended."""
    place = top()
    return place is None or control_groups.end_group(place / site / key)


class CommandGroup:
    """The control group of one command of a site, with its limits; background processes of the command end with it.

    :param site: the site's name; without one there is no group and no limit
    """

    def __init__(self, site: str, resources: Mapping[str, object]) -> None:
        self.group: Path | None = None
        self.entrance: int | None = None
        tasks, size = (amount(resources.get(key, "infinity")) for key in ("tasks_max", "file_size_max"))
        self.tasks = tasks
        self.limits = {resource.RLIMIT_FSIZE: size, resource.RLIMIT_NPROC: tasks}
        with contextlib.suppress(OSError):
            if site and os.geteuid() == 0 and (place := top()):
                group = place / site / f"run.{os.getpid()}.{time.monotonic_ns()}"
                group.mkdir(mode=0o755, parents=True)
                self.group = group
                # The kernel checks the rights of the opener; the writer is the site's user by then.
                self.entrance = os.open(group / "cgroup.procs", os.O_WRONLY | os.O_CLOEXEC)
                control_groups.write_limit(group / "pids.max", tasks)
                self.limits[resource.RLIMIT_NPROC] = None

    def enter(self) -> None:
        """Move this process, a child of the module, into the group; it may run as the site's user already."""
        if self.entrance is not None:
            try:
                os.write(self.entrance, b"0")
            except OSError:  # then the group has no limits
                self.limits[resource.RLIMIT_NPROC] = self.tasks
        control_groups.lower_limits(self.limits)

    def began(self, pid: int) -> None:
        """Make this process the first one to be killed when the host runs out of memory."""
        with contextlib.suppress(OSError):
            if os.geteuid() == 0:
                score = str(control_groups.OOM_SCORE)
                Path(f"/proc/{pid}/oom_score_adj").write_text(score, encoding="ascii")

    def end(self) -> None:
        """End the processes that are still in the group."""
        if self.entrance is not None:
            os.close(self.entrance)
            self.entrance = None
        control_groups.end_group(self.group)
