"""The sockets that the launcher binds as root and passes to the server."""

from __future__ import annotations

import ctypes
import errno
import fcntl
import grp
import os
import socket
import struct
import time
from pathlib import Path

from ansible_collections.wsgi.sites.plugins.module_utils.launcher.messages import LauncherError, say
from ansible_collections.wsgi.sites.plugins.module_utils.launcher.release import Release

SO_ATTACH_REUSEPORT_CBPF = 51
FIRST_FD = 3
# Seconds to free a port that the code of another site holds.
PATIENCE = 5.0


def bind(release: Release, slot: str, uid: int) -> list[socket.socket]:
    """Listen on all sockets of a slot: those in ROOT/slots/SLOT, and the TCP addresses of `bind`."""
    manifest, site = release.manifest, release.site
    addresses, backlog = manifest.get("listen", []), manifest.get("backlog", 2048)
    # TCP first: if a port is in use, the slot's sockets are not touched.
    tcp = [bind_tcp(address, addresses, backlog, site.live_slot() == slot, uid) for address in addresses]
    names = manifest.get("sockets", ["sock"])
    folder, group = site.slot(slot), manifest["socket_group"]
    return [*(bind_unix(folder / name, uid, group, backlog) for name in names), *tcp]


def bind_unix(path: Path, uid: int, group: str, backlog: int) -> socket.socket:
    """Listen on a socket of the slot.

    It is bound under a temporary name and renamed, so it is never missing and never has the wrong owner, and an older
    server of this slot keeps its own socket until it ends.
    """
    try:
        gid = grp.getgrnam(group).gr_gid
    except KeyError:
        raise LauncherError(f"the group {group}, which needs access to the socket, is missing; install nginx") from None
    temporary = path.with_name(f"{path.name}.new")
    temporary.unlink(missing_ok=True)
    listener = socket.socket(socket.AF_UNIX, socket.SOCK_STREAM)
    before = os.umask(0o177)
    try:
        listener.bind(str(temporary))
        os.chown(temporary, uid, gid, follow_symlinks=False)
        os.chmod(temporary, 0o660)
        listener.listen(backlog)
        os.replace(temporary, path)
    except OSError as error:
        raise LauncherError(f"cannot listen on {path}: {error}") from error
    finally:
        os.umask(before)
    return listener


def bind_tcp(address: str, all_addresses: list[str], backlog: int, live: bool, uid: int) -> socket.socket:
    """Listen on a TCP address that the other slot may listen on too.

    :param live: whether the slot is live, so that processes of other sites on the address are ended
    :param uid: the site's user
    """
    from ansible_collections.wsgi.sites.plugins.module_utils.system import sockets  # few sites need it

    host, port = sockets.split(address)
    family = socket.AF_INET6 if ":" in host else socket.AF_INET
    listener = socket.socket(family, socket.SOCK_STREAM)
    listener.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
    listener.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEPORT, 1)
    if family == socket.AF_INET6:
        # `[::]:80` alone also accepts IPv4; beside an IPv4 listener on that port it must not.
        shared = any(":" not in other and number == port for other, number in map(sockets.split, all_addresses))
        listener.setsockopt(socket.IPPROTO_IPV6, socket.IPV6_V6ONLY, int(shared))
    deadline = time.monotonic() + PATIENCE
    while True:
        try:
            listener.bind((host, port))
            listener.listen(backlog)
            break
        except OSError as error:
            again = error.errno == errno.EADDRINUSE and live and time.monotonic() < deadline
            if not (again and take_back(address, uid)):
                raise LauncherError(f"cannot listen on {address}: {error.strerror or error}") from error
    prefer_first(listener)
    return listener


def take_back(address: str, uid: int) -> bool:
    """Kill processes of site users that listen on an address of this site; returns whether there were any."""
    from ansible_collections.wsgi.sites.plugins.module_utils.system import ports

    killed = ports.take_back([address], uid, PATIENCE)
    for user, pid in sorted(killed):
        say(f"killed PID {pid} of user {user}, which held this site's address {address}")
    return bool(killed)


def prefer_first(listener: socket.socket) -> None:
    """Have the kernel route all connections to the socket that listened first, which is the live slot's.

    Otherwise it balances them, and clients would reach a release that has not passed the health gate. When the first
    socket closes, the next one receives the connections.
    """
    # struct sock_filter: BPF_RET | BPF_K with 0, the index of the socket; struct sock_fprog: its length and address.
    program = ctypes.create_string_buffer(struct.pack("@HBBI", 0x06, 0, 0, 0))
    try:
        listener.setsockopt(
            socket.SOL_SOCKET, SO_ATTACH_REUSEPORT_CBPF, struct.pack("@HP", 1, ctypes.addressof(program))
        )
    except OSError as error:
        say(f"during a deploy, both slots receive connections of a port ({error})")


def hand_over(listeners: list[socket.socket]) -> None:
    """Move the sockets to the descriptors 3, 4, … as LISTEN_FDS requires."""
    # Moved away first: one may occupy a number that another one needs.
    parked = [fcntl.fcntl(listener.fileno(), fcntl.F_DUPFD_CLOEXEC, FIRST_FD + 64) for listener in listeners]
    for number, descriptor in enumerate(parked, start=FIRST_FD):
        os.dup2(descriptor, number, inheritable=True)
