"""Sockets that are bound to a TCP port without listening, which no kernel table lists."""

from __future__ import annotations

import contextlib
import ctypes
import os
import signal
import socket
import struct
import time
from collections.abc import Callable, Collection, Iterator

from ansible_collections.wsgi.sites.plugins.module_utils.system import process
from ansible_collections.wsgi.sites.plugins.module_utils.system.sockets import plain

# The number of pidfd_getfd, the same on x86_64 and aarch64; since Linux 5.6.
PIDFD_GETFD = 438
# Maximum seconds of one search, since a process may hold very many sockets.
PATIENCE = 5.0
# With it, closing the last descriptor resets a connection at once and frees its port.
AT_ONCE = struct.pack("@ii", 1, 0)


def holders(port: int, users: Collection[int], is_it: Callable[[str], bool]) -> Iterator[tuple[int, int, str]]:
    """The processes of these users that are bound to a TCP port: user, PID and address.

    Empty where the kernel does not permit it (before Linux 5.6, or in a container without SYS_PTRACE).

    :param is_it: the filter for addresses
    """
    for uid, _, pid, held in _each(port, users, is_it):
        for name, _ in held:
            yield uid, pid, name
            break


def end(port: int, users: Collection[int], is_it: Callable[[str], bool]) -> set[tuple[int, int]]:
    """Kill them and reset their connections, which would block the port for minutes; returns users and PIDs."""
    found = set()
    for uid, handle, pid, held in _each(port, users, is_it):
        its = False
        for _, copy in held:
            its = True
            found.add((uid, pid))
            with contextlib.suppress(OSError):  # ended meanwhile
                signal.pidfd_send_signal(handle, signal.SIGSTOP)  # so that it cannot undo the next step
                copy.setsockopt(socket.SOL_SOCKET, socket.SO_LINGER, AT_ONCE)
        with contextlib.suppress(OSError):
            if its:
                signal.pidfd_send_signal(handle, signal.SIGKILL)
    return found


def _each(
    port: int, users: Collection[int], is_it: Callable[[str], bool]
) -> Iterator[tuple[int, int, int, Iterator[tuple[str, socket.socket]]]]:
    """Each process of these users: user, pidfd, PID, and its sockets on the port."""
    deadline = time.monotonic() + PATIENCE
    for pid in process.all_pids():
        with contextlib.suppress(OSError), process.handle(pid) as handle:
            uid = process.user(pid)
            if handle is not None and uid in users:
                copies = ((address(copy, port), copy) for copy in _sockets(handle, pid, deadline))
                yield uid, handle, pid, ((name, copy) for name, copy in copies if name and is_it(name))


def _sockets(handle: int, pid: int, deadline: float) -> Iterator[socket.socket]:
    """A temporary duplicate of each socket of a process; none without permission."""
    call = ctypes.CDLL(None).syscall
    try:
        links = list(os.scandir(f"/proc/{pid}/fd"))
    except OSError:  # ended, or no permission
        return
    for link in links:
        if time.monotonic() > deadline:
            return
        with contextlib.suppress(OSError):
            if not os.readlink(link).startswith("socket:"):
                continue
            number = call(ctypes.c_long(PIDFD_GETFD), handle, int(link.name), 0)
            if number >= 0:
                with socket.socket(fileno=number) as copy:
                    yield copy


def address(copy: socket.socket, port: int) -> str:
    """The address at which a socket is bound to the TCP port; empty if it is not."""
    with contextlib.suppress(OSError, ValueError):
        name = copy.getsockname()
        # Other families have other address formats; UDP ports are separate.
        if copy.type == socket.SOCK_STREAM and isinstance(name, tuple) and name[1] == port:
            return str(plain(name[0])) if isinstance(name[0], str) else ""
    return ""
