"""Ends all processes of a user, even if they resist."""

from __future__ import annotations

import os
import select
import signal
import time

from ansible_collections.wsgi.sites.plugins.module_utils.system import process

# Real and saved user of the killing process: 65535, the 16-bit "no user", which no account has.
KILLER = 65535
# Timeout of one kill, which takes milliseconds, since a site may slow it down.
STROKE = 5.0


class StillRunningError(Exception):
    """Processes of a user do not end; the text names them and the remedy."""


def end_processes(uid: int, patience: float = 10) -> None:
    """End the processes of a user that is to be removed.

    :param patience: seconds from SIGTERM to SIGKILL, and from there to the error
    :raises StillRunningError: with the processes that are left
    """
    for pid in running(uid):
        process.signal_if(pid, signal.SIGTERM, lambda pid: process.user(pid) == uid)
    deadline = time.monotonic() + patience
    while running(uid) and time.monotonic() < deadline:
        time.sleep(0.05)
    kill_all(uid)  # also if none is listed: a process that keeps forking is easily missed
    deadline = time.monotonic() + patience
    while running(uid) and time.monotonic() < deadline:
        time.sleep(0.05)
        kill_all(uid)
    if left := running(uid):
        raise StillRunningError(
            f"{_listed(left)} of user {uid} still run, although they were killed: the kernel keeps a process that "
            "waits for a disk or a network file system. Restore that, or restart the host, and run again"
        )


def kill_all(uid: int) -> None:
    """Kill all processes of a user at once, since processes that keep forking escape a kill one by one.

    A process can be signalled by processes whose real or effective user is its real or saved one. So the killer has the
    user only as its effective one: it reaches all of the user's processes, and none of them reaches it. None of its
    three users is root, or the kill would hit root's processes too.
    """
    child = os.fork()
    if child == 0:
        try:
            os.setresuid(KILLER, uid, KILLER)
            os.kill(-1, signal.SIGKILL)
            os._exit(0)
        except ProcessLookupError:
            os._exit(0)  # there were none
        finally:
            os._exit(1)  # after an error, which must not propagate in this copy of the caller
    if not _reap(child):
        # In a container without such a user, or after a timeout: one by one, as root.
        for pid in running(uid):
            process.signal_if(pid, signal.SIGKILL, lambda pid: process.user(pid) == uid)


def _reap(child: int) -> bool:
    """Wait for a child up to a timeout; returns whether it succeeded."""
    handle = os.pidfd_open(child)
    try:
        if not select.select([handle], [], [], STROKE)[0]:
            os.kill(child, signal.SIGKILL)  # not reaped yet, so the PID is not reused
            select.select([handle], [], [], STROKE)
    finally:
        os.close(handle)
    pid, status = os.waitpid(child, os.WNOHANG)
    return pid == child and status == 0


def running(uid: int) -> list[int]:
    """The PIDs of a user's processes."""
    return [pid for pid in process.all_pids() if process.user(pid) == uid and not process.is_gone(pid)]


def _listed(pids: list[int]) -> str:
    shown = [f"{process.name(pid) or 'a process'} (PID {pid})" for pid in pids[:5]]
    return ", ".join(shown) + (f" and {len(pids) - 5} more" if len(pids) > 5 else "")
