"""End a command's session with all its processes."""

from __future__ import annotations

import contextlib
import signal
import time
from collections.abc import Callable

from ansible_collections.wsgi.sites.plugins.module_utils.launcher.limits import UNEXPECTED
from ansible_collections.wsgi.sites.plugins.module_utils.system import control_groups, process

# Seconds to end after SIGHUP, and after SIGKILL.
GRACE, PATIENCE = 1.0, 5.0
# One check may miss a process that is just being started; so many in a row do not.
CHECKS = 3


def end(leader: int, meanwhile: Callable[[], object] | None) -> None:
    """End all processes of a session by SIGHUP, then SIGKILL, in bounded time whatever they start meanwhile.

    :param meanwhile: called repeatedly to relay remaining output
    """
    for sign, patience in ((signal.SIGHUP, GRACE), (signal.SIGKILL, PATIENCE)):
        deadline, clear = time.monotonic() + patience, 0
        for each in (sign, signal.SIGCONT):
            _send(process.session(leader), leader, each)
        while clear < CHECKS and time.monotonic() < deadline:
            left = process.session(leader)
            clear = 0 if left else clear + 1
            if sign == signal.SIGKILL:
                _send(left, leader, sign)
            if meanwhile:
                meanwhile()
            if left:
                time.sleep(0.01)
        if clear == CHECKS:
            return


def _send(pids: list[int], leader: int, sign: int) -> None:
    for pid in pids:
        process.signal_if(pid, sign, lambda pid: process.in_session(pid, leader))


def end_group(site: str, key: str) -> None:
    """End processes that have left the session, by their control group if there is one."""
    with contextlib.suppress(*UNEXPECTED):
        if top := control_groups.noted_top():
            control_groups.end_group(top / site / key)
