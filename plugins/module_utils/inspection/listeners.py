"""Listening TCP sockets, and the processes that hold them."""

from __future__ import annotations

import os
import socket
from dataclasses import dataclass

from ansible_collections.wsgi.sites.plugins.module_utils.inspection.host import Host
from ansible_collections.wsgi.sites.plugins.module_utils.system.text import visible

LISTEN = "0A"


@dataclass(frozen=True)
class Listener:
    """A listening TCP socket."""

    address: str
    port: int
    inode: str


@dataclass(frozen=True)
class Holder:
    """The process that holds a socket."""

    pid: int
    name: str
    command: str
    cwd: str

    def __str__(self) -> str:
        return f"{self.name} (process {self.pid})"


def listeners(host: Host) -> list[Listener]:
    """All listening TCP sockets."""
    found = []
    for table, family in (("tcp", socket.AF_INET), ("tcp6", socket.AF_INET6)):
        for line in host.read(f"/proc/net/{table}").splitlines()[1:]:
            fields = line.split()
            if len(fields) > 9 and fields[3] == LISTEN:
                address, _, port = fields[1].partition(":")
                words = [bytes.fromhex(address[at : at + 8])[::-1] for at in range(0, len(address), 8)]
                found.append(Listener(socket.inet_ntop(family, b"".join(words)), int(port, 16), fields[9]))
    return found


def holders(host: Host, inodes: set[str]) -> dict[str, Holder]:
    """The holders of these sockets by inode. Slow on a host with many processes, so used for few sockets."""
    wanted = {f"socket:[{inode}]": inode for inode in inodes}
    found: dict[str, Holder] = {}
    if not wanted:
        return found
    for path in host.glob("/proc/[0-9]*"):
        try:
            handles = [os.readlink(entry) for entry in os.scandir(host.at(f"{path}/fd"))]
        except OSError:
            continue
        for handle in set(handles) & set(wanted):
            found.setdefault(wanted[handle], holder(host, path))
    return found


def holder(host: Host, path: str) -> Holder:
    """The process below a folder of /proc."""
    try:
        cwd = os.readlink(host.at(f"{path}/cwd"))
    except OSError:
        cwd = ""
    # A process sets both itself, and the first may be megabytes.
    name, command = (
        visible(host.beginning(f"{path}/{file}").replace("\0", " ").strip()) for file in ("comm", "cmdline")
    )
    return Holder(int(path.rpartition("/")[2]), name, command, cwd)
