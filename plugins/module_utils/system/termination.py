"""End every process of a user, whatever it does against that."""

from __future__ import annotations

import os
import select
import signal
import time

from ansible_collections.wsgi.sites.plugins.module_utils.system import process

# The real and the saved user of the process that kills: 16 bits of "no user" (chown's -1 of old), so no account has it.
KILLER = 65535
# Seconds for one stroke, which takes milliseconds: a site may have slowed the killer down.
STROKE = 5.0


class StillRunningError(Exception):
    """What is left of a user, and what to do about it."""


def end_processes(uid: int, patience: float = 10) -> None:
    """End what still runs as a user that is about to go.

    :param patience: seconds after which those that were asked to end are killed, and after which the rest is reported
    :raises StillRunningError: with the processes that are left
    """
    for pid in running(uid):
        process.signal_if(pid, signal.SIGTERM, lambda pid: process.user(pid) == uid)
    deadline = time.monotonic() + patience
    while running(uid) and time.monotonic() < deadline:
        time.sleep(0.05)
    kill_all(uid)  # also when nobody is seen: what always forks is easily missed while one looks
    deadline = time.monotonic() + patience
    while running(uid) and time.monotonic() < deadline:
        time.sleep(0.05)
        kill_all(uid)
    if left := running(uid):
        raise StillRunningError(
            f"{_listed(left)} of user {uid} still run, although they were killed: the kernel keeps a process that "
            "waits for a disk or a network file system. Bring that back, or restart the host, and run again"
        )


def kill_all(uid: int) -> None:
    """Kill every process of a user in one stroke: one by one, what forks quickly enough is always somewhere else.

    A process may be signalled by those whose real or effective user is its real or saved one. So the killer has the
    user as its effective one alone: it reaches all of the user's processes, and none of them reaches it. Root is
    neither of the three, or the stroke would hit root's processes as well.
    """
    child = os.fork()
    if child == 0:
        try:
            os.setresuid(KILLER, uid, KILLER)
            os.kill(-1, signal.SIGKILL)
            os._exit(0)
        except ProcessLookupError:
            os._exit(0)  # there was nobody
        finally:
            os._exit(1)  # after an error, which must not come out here, in a copy of the caller
    if not _reap(child):
        # A container that knows no such user, or a stroke that was held up: one by one, as root.
        for pid in running(uid):
            process.signal_if(pid, signal.SIGKILL, lambda pid: process.user(pid) == uid)


def _reap(child: int) -> bool:
    """Wait for a child of ours for a while, and no longer; whether it has done its work."""
    handle = os.pidfd_open(child)
    try:
        if not select.select([handle], [], [], STROKE)[0]:
            os.kill(child, signal.SIGKILL)  # not waited for yet, so the number is still its own
            select.select([handle], [], [], STROKE)
    finally:
        os.close(handle)
    pid, status = os.waitpid(child, os.WNOHANG)
    return pid == child and status == 0


def running(uid: int) -> list[int]:
    """PIDs of what runs as a user."""
    return [pid for pid in process.everybody() if process.user(pid) == uid and not process.is_gone(pid)]


def _listed(pids: list[int]) -> str:
    shown = [f"{process.name(pid) or 'a process'} (PID {pid})" for pid in pids[:5]]
    return ", ".join(shown) + (f" and {len(pids) - 5} more" if len(pids) > 5 else "")
