"""One process of the host, told from a later one with the same ID."""

from __future__ import annotations

import contextlib
import os
import select
import signal
import time
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import NamedTuple

from ansible_collections.wsgi.sites.plugins.module_utils.system.text import bounded

TICK = 1 / os.sysconf("SC_CLK_TCK")


class Process(NamedTuple):
    """A process ID may be used again; together with the start time (ticks since boot) it is unique."""

    pid: int
    start: int

    @property
    def alive(self) -> bool:
        """Whether it still runs; a zombie has ended, and only its parent has not noticed."""
        return find(self.pid) == self and not is_gone(self.pid)

    def send(self, sign: int) -> bool:
        """Send a signal to this very process; whether it was there to get it."""
        return signal_if(self.pid, sign, lambda _: find(self.pid) == self)

    def ended(self, patience: float) -> bool:
        """Wait until it has ended, at most so many seconds; whether it has."""
        with handle(self.pid) as number:
            if number is None or not self.alive:
                return True
            return bool(select.select([number], [], [], patience)[0])

    def began_after(self, moment: float) -> bool:
        """Whether it started later than ``moment`` (a file's time), so that it has read what was there then."""
        since_boot = self.start * TICK
        began = time.time() - (time.clock_gettime(time.CLOCK_BOOTTIME) - since_boot)
        # Its start is known to a tick of the kernel's only, rounded down.
        return moment < began + TICK


@contextlib.contextmanager
def handle(pid: int) -> Iterator[int | None]:
    """A descriptor of the process that has this ID now, for which no later one stands in; None if there is none."""
    try:
        number = os.pidfd_open(pid)
    except ProcessLookupError:
        yield None
        return
    try:
        yield number
    finally:
        os.close(number)


def signal_if(pid: int, sign: int, is_it: Callable[[int], bool]) -> bool:
    """Send a signal to the process with this ID if it is the one that is meant; whether it got it.

    It is looked at only once there is a descriptor of it: should it end and another one get its number after that,
    the signal goes nowhere.
    """
    with handle(pid) as number:
        if number is None or not is_it(pid):
            return False
        try:
            signal.pidfd_send_signal(number, sign)
        except ProcessLookupError:
            return False
        return True


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


def descends(pid: int, ancestor: int) -> bool:
    """Whether a process is another one or its descendant; true also for one that has ended meanwhile."""
    above: int | None = pid
    while above is not None and above > 1 and above != ancestor:
        above = parent(above)
    return above is None or above == ancestor


def children(pid: int) -> list[int]:
    """The processes that a process has started, or adopted, and not waited for."""
    try:
        return [int(word) for word in Path(f"/proc/{pid}/task/{pid}/children").read_text(encoding="ascii").split()]
    except OSError:
        return []


def everybody() -> list[int]:
    """The IDs of all processes."""
    return [int(folder.name) for folder in Path("/proc").iterdir() if folder.name.isdigit()]


def session(leader: int) -> list[int]:
    """The processes in the session that this one has begun, without those that have ended."""
    return [pid for pid in everybody() if in_session(pid, leader)]


def in_session(pid: int, leader: int) -> bool:
    """Whether it runs in the session that another one has begun."""
    found = fields(pid)  # state, parent, group, session
    return found[3:4] == [str(leader)] and found[0] != "Z"


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
    return [pid for pid in everybody() if in_group(pid, leader, uid)]


def in_group(pid: int, leader: int, uid: int) -> bool:
    """Whether it runs as a user in the process group that another one has led."""
    found = fields(pid)  # state, parent, group
    return found[2:3] == [str(leader)] and found[0] != "Z" and user(pid) == uid


def name(pid: int) -> str:
    """The name of what a process runs, which the process may choose; made printable. Empty if it is gone."""
    try:
        text = Path(f"/proc/{pid}/comm").read_text(encoding="utf-8", errors="replace").strip()
    except OSError:
        return ""
    return "".join(char if char.isprintable() else "?" for char in text)


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
