"""One process of the host, told from a later one with the same ID."""

from __future__ import annotations

import os
import time
from dataclasses import dataclass
from pathlib import Path

from ansible.module_utils.daemons.text import bounded

TICK = 1 / os.sysconf("SC_CLK_TCK")


@dataclass(frozen=True)
class Process:
    """A process ID may come back; together with its start time (ticks since boot) it does not."""

    pid: int
    start: int

    @property
    def alive(self) -> bool:
        return find(self.pid) == self

    def began_after(self, moment: float) -> bool:
        """Whether it started later than ``moment`` (a file's time), so that it has read what was there then."""
        since_boot = self.start * TICK
        began = time.time() - (time.clock_gettime(time.CLOCK_BOOTTIME) - since_boot)
        # Its start is known to a tick of the kernel's only, rounded down.
        return moment < began + TICK


def fields(pid: int) -> list[str]:
    """The fields of /proc/PID/stat from the third on (the second may hold blanks); empty if the process is gone."""
    try:
        return Path(f"/proc/{pid}/stat").read_text(encoding="utf-8", errors="replace").rpartition(")")[2].split()
    except OSError:
        return []


def find(pid: int) -> Process | None:
    """The process that has this ID now, unless it is gone."""
    found = fields(pid)
    return Process(pid, int(found[19])) if len(found) > 19 else None


def is_gone(pid: int) -> bool:
    """Whether nothing runs under this ID; a zombie has ended, only its parent has not noticed."""
    return fields(pid)[:1] in ([], ["Z"])


def parent(pid: int) -> int | None:
    """Who started a process, or adopted it."""
    found = fields(pid)
    return int(found[1]) if len(found) > 1 else None


def user(pid: int) -> int | None:
    """Whose process it is. Not the owner of /proc/PID: that is root for any process that has hidden its memory."""
    try:
        status = Path(f"/proc/{pid}/status").read_text(encoding="utf-8", errors="replace")
    except OSError:
        return None
    # Its own name, which it may choose, stands in the first line and is escaped there.
    return next((int(line.split()[1]) for line in status.splitlines() if line.startswith("Uid:")), None)


def group(leader: int, uid: int) -> list[int]:
    """The processes of a user in the process group that this one has led, without those that have ended."""
    pids = [int(folder.name) for folder in Path("/proc").iterdir() if folder.name.isdigit()]
    # state, parent, group
    members = [pid for pid in pids if (found := fields(pid))[2:3] == [str(leader)] and found[0] != "Z"]
    return [pid for pid in members if user(pid) == uid]


def command(pid: int) -> str:
    """What a process calls itself, the beginning of it; empty if it is gone."""
    try:
        return bounded(Path(f"/proc/{pid}/cmdline")).strip("\0")
    except OSError:
        return ""


def environment(pid: int) -> dict[str, str]:
    """What a process was started with; empty if it is gone."""
    try:
        words = Path(f"/proc/{pid}/environ").read_bytes().decode().split("\0")
    except (OSError, UnicodeDecodeError):
        return {}
    return {name: value for name, separator, value in (word.partition("=") for word in words) if separator and name}
