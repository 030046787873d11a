"""TCP sockets in the kernel's tables, and when two addresses conflict."""

from __future__ import annotations

import ipaddress
import sys
from pathlib import Path
from typing import NamedTuple

LISTENING = "0A"


class Socket(NamedTuple):
    """A TCP socket: its local address, owner and inode."""

    address: str
    port: int
    uid: int
    inode: str


def sockets(listening: bool = True, prefix: Path = Path("/")) -> list[Socket]:
    """All TCP sockets that listen, or all others.

    :param prefix: the folder that /proc is in; for tests
    """
    found = []
    for table in ("tcp", "tcp6"):
        try:
            lines = (prefix / "proc/net" / table).read_text(encoding="utf-8").splitlines()[1:]
        except OSError:  # no IPv6 here
            continue
        for line in lines:
            fields = line.split()
            if (fields[3] == LISTENING) == listening:
                address, _, port = fields[1].partition(":")
                found.append(Socket(_address(address), int(port, 16), int(fields[7]), fields[9]))
    return found


def _address(text: str) -> str:
    """Parse the kernel's notation: words of four bytes in the machine's byte order."""
    words = [text[i : i + 8] for i in range(0, len(text), 8)]
    raw = b"".join(int(word, 16).to_bytes(4, sys.byteorder) for word in words)
    return str(ipaddress.ip_address(raw))


def split(address: str) -> tuple[str, int]:
    """Split ADDR:PORT; an IPv6 address may be in brackets."""
    host, _, port = address.rpartition(":")
    return host.strip("[]") or "0.0.0.0", int(port)


def plain(address: str) -> ipaddress.IPv4Address | ipaddress.IPv6Address:
    """Parse an address; an IPv4-mapped one (`::ffff:127.0.0.1`) becomes IPv4."""
    found = ipaddress.ip_address(address.partition("%")[0])
    return getattr(found, "ipv4_mapped", None) or found


def overlap(one: str, other: str) -> bool:
    """Whether two listeners on one port conflict. `::` may accept IPv4 too, so it counts as overlapping."""
    first, second = plain(one), plain(other)
    if first == second or (first.version == second.version and (first.is_unspecified or second.is_unspecified)):
        return True
    return str(first) == "::" or str(second) == "::"
