"""Runs a program as a site's user, since a site's code must never run as root."""

from __future__ import annotations

import contextlib
import ctypes
import fcntl
import os
import pwd
import resource
import select
import signal
import subprocess
import sys
import termios
import time
from collections.abc import Callable, Mapping, Sequence
from pathlib import Path
from typing import Any

from ansible_collections.wsgi.sites.plugins.module_utils.runtime.site_groups import CommandGroup
from ansible_collections.wsgi.sites.plugins.module_utils.system.text import TAIL

PR_SET_NO_NEW_PRIVS = 38
# Seconds until a killed command has ended.
KILLED = 10
# Bytes per read.
CHUNK = 64 * 1024


def run_as(
    user: str,
    command: Sequence[str],
    *,
    cwd: Path,
    environment: Mapping[str, str],
    timeout: float = 120,
    site: str = "",
    resources: Mapping[str, object] | None = None,
    limit: int = TAIL,
) -> subprocess.CompletedProcess[str]:
    """Run ``command`` with only the rights of ``user``.

    With only its own group, no new privileges, no core dump, and none of our files and variables. Background processes
    end with it; without control groups only those in its process group.

    :param site: the site in whose control group it runs
    :param resources: the site's limits
    :param limit: the last bytes of stdout and of stderr that are kept
    :raises subprocess.TimeoutExpired: after ``timeout`` seconds, or if it does not end when killed
    """
    place, account = CommandGroup(site, resources or {}), _switch_to(pwd.getpwnam(user))
    # Pipes, since files could fill root's disk.
    with _Output(limit) as out, _Output(limit) as err, contextlib.ExitStack() as stack:
        stack.callback(place.end)
        process = subprocess.Popen(
            list(command),
            cwd=cwd,
            env=dict(environment),
            stdin=subprocess.DEVNULL,
            stdout=out.write_end,
            stderr=err.write_end,
            start_new_session=True,
            umask=0o027,
            preexec_fn=_confinement(place),
            **account,
        )
        place.began(process.pid)
        out.close_write_end()
        err.close_write_end()
        try:
            # Not reaped yet, so that its process group's number is not reused.
            if not _ends(process.pid, timeout, [out, err]):
                raise subprocess.TimeoutExpired(process.args, timeout)
        finally:
            # The whole group, including background processes of the app's import.
            with contextlib.suppress(ProcessLookupError, PermissionError):
                os.killpg(process.pid, signal.SIGKILL)
            place.end()
            process.wait(KILLED)
        return subprocess.CompletedProcess(process.args, process.returncode, out.rest(), err.rest())


def _switch_to(account: pwd.struct_passwd) -> dict[str, Any]:
    """The options of Popen to start a program as this account, with only its own group."""
    if os.geteuid() == 0:
        return {"user": account.pw_uid, "group": account.pw_gid, "extra_groups": [account.pw_gid]}
    if os.geteuid() != account.pw_uid:
        raise PermissionError(f"only root can run a program as {account.pw_name}")
    return {}


def _confinement(place: CommandGroup) -> Callable[[], None]:
    """The function that the child runs between fork and exec."""
    # Loaded here, since the child must not import.
    libc = ctypes.CDLL(None, use_errno=True)

    def confine() -> None:
        place.enter()
        resource.setrlimit(resource.RLIMIT_CORE, (0, 0))
        if libc.prctl(PR_SET_NO_NEW_PRIVS, 1, 0, 0, 0) != 0:
            raise OSError(ctypes.get_errno(), "prctl")

    return confine


class _Output:
    """A pipe for a command's output, of which the end is kept."""

    def __init__(self, limit: int) -> None:
        self.limit = limit
        self.kept = bytearray()
        self.handle, write_end = os.pipe2(os.O_CLOEXEC)
        # Only this end is non-blocking; the command's end blocks, as programs expect.
        os.set_blocking(self.handle, False)
        self.write_end: int | None = write_end

    def __enter__(self) -> _Output:
        return self

    def __exit__(self, *_: object) -> None:
        self.close_write_end()
        os.close(self.handle)

    def fileno(self) -> int:
        """The read end."""
        return self.handle

    def close_write_end(self) -> None:
        """Close the write end, which the command has inherited."""
        if self.write_end is not None:
            os.close(self.write_end)
            self.write_end = None

    def read(self, most: int = CHUNK) -> int:
        """Read available bytes without blocking; returns their number, or 0 at the end of file."""
        try:
            piece = os.read(self.handle, most)
        except BlockingIOError:
            return -1
        self.kept += piece
        if len(self.kept) > 2 * self.limit + CHUNK:
            del self.kept[: -self.limit]
        return len(piece)

    def rest(self) -> str:
        """The kept output including available bytes; background processes may still hold the pipe open."""
        left = int.from_bytes(fcntl.ioctl(self.handle, termios.FIONREAD, bytes(4)), sys.byteorder)
        while left > 0 and (count := self.read(min(left, CHUNK))) > 0:
            left -= count
        return self.kept[-self.limit :].decode("utf-8", "replace")


def _ends(pid: int, timeout: float, outputs: list[_Output]) -> bool:
    """Read a child's output until it ends; returns whether it ended in time."""
    deadline = time.monotonic() + timeout
    handle = os.pidfd_open(pid)
    open_ones = list(outputs)
    try:
        while True:
            left = max(0.0, deadline - time.monotonic())
            ready = select.select([handle, *open_ones], [], [], left)[0]
            if handle in ready:
                return True
            if left == 0:
                return False
            open_ones = [output for output in open_ones if output not in ready or output.read() != 0]
    finally:
        os.close(handle)
