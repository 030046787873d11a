"""The end of a command's session: all that it has started ends with it."""

from __future__ import annotations

import contextlib
import signal
import time
from collections.abc import Callable

from ansible_collections.wsgi.sites.plugins.module_utils.launcher.limits import UNEXPECTED
from ansible_collections.wsgi.sites.plugins.module_utils.system import control_groups, process

# Seconds to end after SIGHUP, and after SIGKILL.
GRACE, PATIENCE = 1.0, 5.0
# One check may miss what is just being started; so many in a row do not.
CHECKS = 3


def end(leader: int, meanwhile: Callable[[], object] | None) -> None:
    """End what runs in a session: by SIGHUP, then by SIGKILL; bounded, whatever it starts meanwhile.

    :param meanwhile: called again and again, to pass on what it still writes
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
    """End also what has left the session, where it has a control group."""
    with contextlib.suppress(*UNEXPECTED):
        if top := control_groups.noted_top():
            control_groups.end_group(top / site / key)
