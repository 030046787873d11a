#!/usr/bin/python3 -I
"""Let the live slot's gunicorn have as many workers as the load asks for.

    scaler ROOT SITE        one of the site's processes: the launcher starts it, as the site's user

It looks at the slot's socket four times a second. A request that waited at one look and still does at the next one is
reason enough for more workers; when for a while none has waited, and one worker less would have done, one goes, at a
moment at which no request is at work: gunicorn would take the oldest worker, whatever that is at. Between
SITE_WORKERS_MIN and SITE_WORKERS, each good for SITE_THREADS requests at once. It looks after its own release alone.

It tells gunicorn's master by SIGTTIN and SIGTTOU, for which it needs to be no more than the site's own user. Whatever
else connects meets the workers that are left, since all listen on the same socket.

It stands alone as the launcher does (standard library, the system's Python).
"""

from __future__ import annotations

import contextlib
import json
import math
import os
import signal
import socket
import struct
import sys
import time
from collections.abc import Iterator
from dataclasses import dataclass, field
from pathlib import Path

RUN = Path("/run/sites")
INTERVAL = 0.25
# Seconds that workers get to be at work before still more are asked for.
ARRIVAL = 2.0
# Seconds without a waiting request, after which a worker goes.
CALM = 30.0
# Seconds after which it is believed that there are fewer, or more, workers than were asked for: the master replaces one
# that has ended at once, and one that ends its requests takes its time.
FEWER, MORE = 5.0, 120.0

NETLINK_SOCK_DIAG = 4
SOCK_DIAG_BY_FAMILY = 20
NLM_F_REQUEST_DUMP = 0x301
NLMSG_ERROR, NLMSG_DONE = 2, 3
UDIAG_SHOW_NAME, UDIAG_SHOW_VFS, UDIAG_SHOW_ICONS, UDIAG_SHOW_RQLEN = 0x1, 0x2, 0x8, 0x10
UNIX_DIAG_NAME, UNIX_DIAG_VFS, UNIX_DIAG_ICONS, UNIX_DIAG_RQLEN = 0, 1, 3, 4
ESTABLISHED, LISTEN = 1, 10


@dataclass(frozen=True)
class Look:
    """What is seen of a server at one moment."""

    now: float
    workers: int
    # Who waits, each by a number of its own: a connection that nobody has taken yet, or of which nobody has read.
    waiting: frozenset[int]
    # How many connections workers have taken.
    taken: int


@dataclass
class Judge:
    """How many workers there should be. Knows nothing but what it is shown."""

    least: int
    most: int
    each: int
    wanted: int | None = None
    owed: int = 0
    waited: frozenset[int] = frozenset()
    calm_since: float = 0.0
    peak: int = 0
    more_from: float = 0.0
    seen: int = -1
    seen_since: float = 0.0
    why: str = field(default="")

    def judge(self, look: Look) -> int:
        """1 if a worker is to come, -1 if one is to go, else 0; `why` says so in words."""
        still, self.waited = self.waited & look.waiting, look.waiting
        if look.workers != self.seen:
            self.seen, self.seen_since = look.workers, look.now
        if not self.counted(look.now):
            return 0
        if still:
            self.calm_since, self.peak = look.now, 0
            if look.now >= self.more_from:
                self.owed = min(self.wanted, math.ceil(len(still) / self.each))
                self.more_from = look.now + ARRIVAL
                self.why = f"{len(still)} waiting"
        self.peak = max(self.peak, look.taken)
        if self.wanted < self.least:
            self.owed, self.why = max(self.owed, 1), "fewer than there should be"
        self.owed = min(self.owed, self.most - self.wanted)
        if self.owed > 0:
            self.owed -= 1
            self.wanted += 1
            return 1
        too_many = self.wanted > self.most
        if (too_many or self.is_calm(look.now)) and not look.taken:
            self.wanted -= 1
            self.calm_since, self.peak = look.now, look.taken
            self.why = "more than there should be" if too_many else "nobody has waited"
            return -1
        return 0

    def counted(self, now: float) -> bool:
        """Whether it is known how many workers the master is to have: as many as have been there for a while."""
        if self.wanted is None:
            if now - self.seen_since < ARRIVAL or not self.seen:
                return False
            self.wanted, self.calm_since = self.seen, now
        elif self.seen != self.wanted and now - self.seen_since > (FEWER if self.seen < self.wanted else MORE):
            self.wanted = self.seen
        return True

    def is_calm(self, now: float) -> bool:
        """Whether one worker less would have done, for all of the last while."""
        if self.wanted <= self.least or now - self.calm_since < CALM:
            return False
        if self.peak <= (self.wanted - 1) * self.each:
            return True
        self.calm_since, self.peak = now, 0
        return False


class Server:
    """The master of a slot, as the launcher has noted it."""

    def __init__(self, slot: str, note: dict) -> None:
        self.slot, self.note, self.pid = slot, note, note["pid"]
        self.handle = os.pidfd_open(self.pid)  # from here on the number means nobody else
        if self.stat()[19] != str(note["start"]):
            self.close()
            raise ProcessLookupError(self.pid)

    def stat(self) -> list[str]:
        """/proc/PID/stat from field 3 on: field 2, the command's name, stands in brackets and may hold anything."""
        return Path(f"/proc/{self.pid}/stat").read_text(encoding="ascii", errors="replace").rpartition(")")[2].split()

    def listens(self) -> bool:
        """Whether it takes signals yet. One that does not would be stopped by them."""
        status = Path(f"/proc/{self.pid}/status").read_text(encoding="utf-8", errors="replace")
        caught = next((int(line.split()[1], 16) for line in status.splitlines() if line.startswith("SigCgt:")), 0)
        return all(caught >> (sign - 1) & 1 for sign in (signal.SIGTTIN, signal.SIGTTOU))

    def workers(self) -> int:
        """How many it has, with those that are about to go."""
        return len(Path(f"/proc/{self.pid}/task/{self.pid}/children").read_text(encoding="ascii").split())

    def tell(self, sign: int) -> None:
        """Send a signal to this very process."""
        signal.pidfd_send_signal(self.handle, sign)

    def close(self) -> None:
        """Forget it."""
        os.close(self.handle)


def live(root: Path, site: str, release: str) -> tuple[str, dict]:
    """The live slot, and the launcher's note of who runs there.

    :raises ProcessLookupError: if another release is live; that one's own scaler looks after it, if it has one
    """
    slot = os.path.basename(os.readlink(root / "live"))
    if os.path.basename(os.readlink(root / "slots" / slot / "release")) != release:
        raise ProcessLookupError(slot)
    return slot, json.loads((RUN / f"{site}-{slot}.pid").read_text(encoding="utf-8"))


def crowd(path: Path) -> tuple[frozenset[int], int]:
    """Who waits at a unix socket, and how many connections to it were taken.

    :param path: where it is, in the folder in which it was bound
    """
    # The kernel keeps the name by which it was bound, before the launcher renamed it. A name alone could be anybody's,
    # in a mount namespace of his own; so it must be this very file as well.
    folder, file = os.fsencode(path.parent), path.stat().st_ino & 0xFFFFFFFF
    waiting: set[int] = set()
    taken = 0
    for state, attributes, inode in unix_sockets():
        name, seen = attributes.get(UNIX_DIAG_NAME, b""), attributes.get(UNIX_DIAG_VFS)
        if os.path.dirname(name) != folder or seen is None or struct.unpack_from("=I", seen)[0] != file:
            continue
        if state == LISTEN:
            clients = attributes.get(UNIX_DIAG_ICONS, b"")
            waiting.update(struct.unpack(f"={len(clients) // 4}I", clients))
        else:
            taken += 1
            unread, _ = struct.unpack("=II", attributes[UNIX_DIAG_RQLEN])
            if unread:
                waiting.add(inode)
    return frozenset(waiting), taken


def unix_sockets() -> Iterator[tuple[int, dict[int, bytes], int]]:
    """All that listen or are connected: state, attributes by their number, inode; as `ss` asks the kernel for them."""
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
                    raise OSError(number, f"the kernel does not tell of sockets: {os.strerror(number)}")
                # struct unix_diag_msg: family, type, state, padding, inode, cookie.
                state, inode = struct.unpack_from("=xxBxI", data, at + 16)
                yield state, attributes(data[at + 32 : at + length]), inode
                at += length + 3 & ~3


def attributes(data: bytes) -> dict[int, bytes]:
    """What follows a netlink message, by its number."""
    found, at = {}, 0
    while at + 4 <= len(data):
        length, kind = struct.unpack_from("=HH", data, at)
        found[kind] = data[at + 4 : at + length]
        at += length + 3 & ~3
    return found


def say(words: str) -> None:
    """Tell the log."""
    print(f"{time.strftime('[%Y-%m-%d %H:%M:%S %z]')} {words}", flush=True)


def follow(root: Path, server: Server, site: str, release: str, judge: Judge) -> None:
    """Look after one server for as long as it is the live one."""
    sock = root / "slots" / server.slot / "sock"
    while live(root, site, release) == (server.slot, server.note):
        if server.listens():
            step = judge.judge(Look(time.monotonic(), server.workers(), *crowd(sock)))
            if step:
                server.tell(signal.SIGTTIN if step > 0 else signal.SIGTTOU)
                say(f"{server.slot}: {judge.wanted - step} → {judge.wanted} workers ({judge.why})")
        time.sleep(INTERVAL)


def main(arguments: list[str]) -> None:
    """Entry point."""
    root, site, release = Path(arguments[0]), arguments[1], os.environ["SITE_RELEASE"]
    least, most, each = (int(os.environ[f"SITE_{word}"]) for word in ("WORKERS_MIN", "WORKERS", "THREADS"))
    # A kernel that does not tell ends it here, with its words.
    next(unix_sockets(), None)
    Path("/proc/thread-self/children").read_text(encoding="ascii")
    say(f"{site}: {least} to {most} workers, each for {each} at once")
    while True:
        # Whoever it was has ended, or has not come yet.
        with contextlib.suppress(FileNotFoundError, ProcessLookupError, ValueError, KeyError):
            server = Server(*live(root, site, release))
            try:
                follow(root, server, site, release, Judge(least, most, each))
            finally:
                server.close()
        time.sleep(INTERVAL)


if __name__ == "__main__":
    if len(sys.argv) != 3:
        sys.exit("usage: scaler ROOT SITE")
    try:
        main(sys.argv[1:])
    except (OSError, KeyError) as error:
        sys.exit(f"scaler: {type(error).__name__}: {error}")
