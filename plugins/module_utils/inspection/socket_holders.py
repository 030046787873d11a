"""The processes that hold sockets."""

from __future__ import annotations

import os
from dataclasses import dataclass

from ansible_collections.wsgi.sites.plugins.module_utils.inspection.host import Host
from ansible_collections.wsgi.sites.plugins.module_utils.system.text import visible


@dataclass(frozen=True)
class Holder:
    """The process that holds a socket."""

    pid: int
    name: str
    command: str
    cwd: str

    def __str__(self) -> str:
        return f"{self.name} (process {self.pid})"


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
