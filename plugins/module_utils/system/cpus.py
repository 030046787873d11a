"""The number of CPUs that a process can use."""

from __future__ import annotations

import math
import os
from collections.abc import Iterator
from pathlib import Path

from ansible_collections.wsgi.sites.plugins.module_utils.system import control_groups


def usable() -> int:
    """The CPUs of this process by affinity mask and control groups; a quota is rounded up."""
    own = Path("/proc/self/cgroup").read_text(encoding="utf-8")
    return max(1, math.ceil(min([len(os.sched_getaffinity(0)), *quotas(control_groups.CGROUPS, own)])))


def quotas(cgroups: Path, own: str) -> Iterator[float]:
    """The CPU quota of each control group around a process: version 2's cpu.max, version 1's cfs quota.

    :param cgroups: where control groups are mounted
    :param own: the content of /proc/PID/cgroup
    """
    for group in control_groups.around(cgroups, own, "cpu"):
        try:
            if (group / "cpu.max").exists():
                quota, period = (group / "cpu.max").read_text(encoding="ascii").split()
            else:
                quota = (group / "cpu.cfs_quota_us").read_text(encoding="ascii")
                period = (group / "cpu.cfs_period_us").read_text(encoding="ascii")
            allowed = int(quota) / int(period)
        except (OSError, ValueError):  # missing, or "max"
            continue
        if allowed > 0:
            yield allowed
