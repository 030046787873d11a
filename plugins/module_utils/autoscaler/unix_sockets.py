"""Unix sockets and their queues, as the kernel lists them (sock_diag)."""

from __future__ import annotations

import os
import socket
import struct
from collections.abc import Iterator
from pathlib import Path

NETLINK_SOCK_DIAG = 4
SOCK_DIAG_BY_FAMILY = 20
NLM_F_REQUEST_DUMP = 0x301
NLMSG_ERROR, NLMSG_DONE = 2, 3
UDIAG_SHOW_NAME, UDIAG_SHOW_VFS, UDIAG_SHOW_ICONS, UDIAG_SHOW_RQLEN = 0x1, 0x2, 0x8, 0x10
UNIX_DIAG_NAME, UNIX_DIAG_VFS, UNIX_DIAG_ICONS, UNIX_DIAG_RQLEN = 0, 1, 3, 4
ESTABLISHED, LISTEN = 1, 10


def queue(path: Path) -> tuple[frozenset[int], int]:
    """The connections that wait at a unix socket, and how many were accepted.

    :param path: the socket, in the folder in which it was bound
    """
    # The kernel keeps the name by which it was bound, before the launcher renamed it. A name alone could be that of
    # another socket in another mount namespace, so it must be this very file as well.
    folder, file = os.fsencode(path.parent), path.stat().st_ino & 0xFFFFFFFF
    waiting: set[int] = set()
    accepted = 0
    for state, attributes, inode in listing():
        name, seen = attributes.get(UNIX_DIAG_NAME, b""), attributes.get(UNIX_DIAG_VFS)
        if os.path.dirname(name) != folder or seen is None or struct.unpack_from("=I", seen)[0] != file:
            continue
        if state == LISTEN:
            clients = attributes.get(UNIX_DIAG_ICONS, b"")
            waiting.update(struct.unpack(f"={len(clients) // 4}I", clients))
        else:
            accepted += 1
            unread, _ = struct.unpack("=II", attributes[UNIX_DIAG_RQLEN])
            if unread:
                waiting.add(inode)
    return frozenset(waiting), accepted


def listing() -> Iterator[tuple[int, dict[int, bytes], int]]:
    """All unix sockets that listen or are connected: state, attributes by number, inode; as `ss` lists them."""
    show = UDIAG_SHOW_NAME | UDIAG_SHOW_VFS | UDIAG_SHOW_ICONS | UDIAG_SHOW_RQLEN
    states = 1 << ESTABLISHED | 1 << LISTEN
    # struct unix_diag_req: family, protocol, padding, states, inode (any), what to show, cookie (any).
    request = struct.pack("=BBHIIIII", socket.AF_UNIX, 0, 0, states, 0, show, 0xFFFFFFFF, 0xFFFFFFFF)
    head = struct.pack("=IHHII", 16 + len(request), SOCK_DIAG_BY_FAMILY, NLM_F_REQUEST_DUMP, 1, 0)
    with socket.socket(socket.AF_NETLINK, socket.SOCK_RAW, NETLINK_SOCK_DIAG) as kernel:
        kernel.send(head + request)
        while True:
            data = kernel.recv(1 << 18)
            at = 0
            while at < len(data):
                length, kind = struct.unpack_from("=IH", data, at)
                if kind == NLMSG_DONE:
                    return
                if kind == NLMSG_ERROR:
                    number = -struct.unpack_from("=i", data, at + 16)[0]
                    raise OSError(number, f"the kernel does not list sockets: {os.strerror(number)}")
                # struct unix_diag_msg: family, type, state, padding, inode, cookie.
                state, inode = struct.unpack_from("=xxBxI", data, at + 16)
                yield state, attributes(data[at + 32 : at + length]), inode
                at += length + 3 & ~3


def attributes(data: bytes) -> dict[int, bytes]:
    """The attributes of a netlink message, by number."""
    found, at = {}, 0
    while at + 4 <= len(data):
        length, kind = struct.unpack_from("=HH", data, at)
        found[kind] = data[at + 4 : at + length]
        at += length + 3 & ~3
    return found
