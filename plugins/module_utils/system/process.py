"""Processes of the host, identified by PID and start time."""

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
    """A PID with its start time (ticks since boot), which is unique although PIDs are reused."""

    pid: int
    start: int

    @property
    def alive(self) -> bool:
        """Whether it still runs; a zombie counts as ended."""
        return find(self.pid) == self and not is_gone(self.pid)

    def send(self, sign: int) -> bool:
        """Send a signal to exactly this process; returns whether it still existed."""
        return signal_if(self.pid, sign, lambda _: find(self.pid) == self)

    def ended(self, patience: float) -> bool:
        """Wait for its end at most so many seconds; returns whether it has ended."""
        with handle(self.pid) as number:
            if number is None or not self.alive:
                return True
            return bool(select.select([number], [], [], patience)[0])

    def began_after(self, moment: float) -> bool:
        """Whether it started later than ``moment`` (a file's time), and so has read that file."""
        since_boot = self.start * TICK
        began = time.time() - (time.clock_gettime(time.CLOCK_BOOTTIME) - since_boot)
        # The start time is rounded down to a kernel tick.
        return moment < began + TICK


@contextlib.contextmanager
def handle(pid: int) -> Iterator[int | None]:
    """A pidfd of the present process with this ID; None if there is none."""
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
    """Send a signal to the process with this ID if ``is_it`` accepts it; returns whether it was sent.

    The check runs after the pidfd was opened, so if the process ends and its PID is reused, no other process gets the
    signal.
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
    """The fields of /proc/PID/stat from the third on (the second may contain spaces); empty if it has ended."""
    try:
        return Path(f"/proc/{pid}/stat").read_text(encoding="utf-8", errors="replace").rpartition(")")[2].split()
    except OSError:
        return []


def find(pid: int) -> Process | None:
    """The present process with this ID, or None."""
    found = fields(pid)
    return Process(pid, int(found[19])) if len(found) > 19 else None


def is_gone(pid: int) -> bool:
    """Whether no process runs under this ID; a zombie counts as ended."""
    return fields(pid)[:1] in ([], ["Z"])


def parent(pid: int) -> int | None:
    """The parent of a process."""
    found = fields(pid)
    return int(found[1]) if len(found) > 1 else None


def descends(pid: int, ancestor: int) -> bool:
    """Whether a process is another one or its descendant; also true if it has ended meanwhile."""
    above: int | None = pid
    while above is not None and above > 1 and above != ancestor:
        above = parent(above)
    return above is None or above == ancestor


def children(pid: int) -> list[int]:
    """The children of a process, including adopted ones and zombies."""
    try:
        return [int(word) for word in Path(f"/proc/{pid}/task/{pid}/children").read_text(encoding="ascii").split()]
    except OSError:
        return []


def all_pids() -> list[int]:
    """The IDs of all processes."""
    return [int(folder.name) for folder in Path("/proc").iterdir() if folder.name.isdigit()]


def session(leader: int) -> list[int]:
    """The running processes in the session of this leader."""
    return [pid for pid in all_pids() if in_session(pid, leader)]


def in_session(pid: int, leader: int) -> bool:
    """Whether it runs in the session of this leader."""
    found = fields(pid)  # state, parent, group, session
    return found[3:4] == [str(leader)] and found[0] != "Z"


def user(pid: int) -> int | None:
    """The user of a process. Not the owner of /proc/PID, which is root for undumpable processes."""
    try:
        status = Path(f"/proc/{pid}/status").read_text(encoding="utf-8", errors="replace")
    except OSError:
        return None
    # The name in the first line, which the process can choose, is escaped.
    return next((int(line.split()[1]) for line in status.splitlines() if line.startswith("Uid:")), None)


def group(leader: int, uid: int) -> list[int]:
    """The running processes of a user in the process group of this leader."""
    return [pid for pid in all_pids() if in_group(pid, leader, uid)]


def in_group(pid: int, leader: int, uid: int) -> bool:
    """Whether it runs as this user in the process group of this leader."""
    found = fields(pid)  # state, parent, group
    return found[2:3] == [str(leader)] and found[0] != "Z" and user(pid) == uid


def name(pid: int) -> str:
    """The name of a process, which it can choose itself, made printable; empty if it has ended."""
    try:
        text = Path(f"/proc/{pid}/comm").read_text(encoding="utf-8", errors="replace").strip()
    except OSError:
        return ""
    return "".join(char if char.isprintable() else "?" for char in text)


def command(pid: int) -> str:
    """The beginning of a process's command line, which it can change; empty if it has ended."""
    try:
        return bounded(Path(f"/proc/{pid}/cmdline")).strip("\0")
    except OSError:
        return ""


def environment(pid: int) -> dict[str, str]:
    """The environment that a process was started with; empty if it has ended."""
    try:
        words = Path(f"/proc/{pid}/environ").read_bytes().decode().split("\0")
    except (OSError, UnicodeDecodeError):
        return {}
    return {name: value for name, separator, value in (word.partition("=") for word in words) if separator and name}
