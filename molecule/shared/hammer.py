"""Clients that never stop asking a site, and know of each request what became of it.

Half of them keep their connection, half open one for each request. In turn they GET something that the answer must
repeat, and POST something under a name of its own, which the site must book exactly once (`molecule/deploy/till` does).
A hammer ends by itself: after so many seconds, or so many requests, whatever comes first.
"""

from __future__ import annotations

import contextlib
import itertools
import json
import math
import socket
import ssl
import threading
import time
import uuid
import zlib
from collections import Counter
from collections.abc import Iterable, Iterator
from dataclasses import dataclass, field
from typing import Any

SIZES = (0, 200, 4_000, 30_000)
NOTES = 20


# How a connection ends that the other side has closed, over TLS too.
CLOSING = (ConnectionError, ssl.SSLEOFError)


class Closed(Exception):
    """The connection was closed before any byte of an answer."""


class Failed(Exception):
    """No whole answer, or one that is an error."""


class Connection:
    """HTTP/1.1 over one connection, exact about how many bytes of an answer came."""

    def __init__(self, address: str, port: int, timeout: float, tls_name: str = "") -> None:
        self.socket = socket.create_connection((address, port), timeout)
        self.socket.setsockopt(socket.IPPROTO_TCP, socket.TCP_NODELAY, 1)
        if tls_name:
            context = ssl.SSLContext(ssl.PROTOCOL_TLS_CLIENT)
            context.check_hostname, context.verify_mode = False, ssl.CERT_NONE
            self.socket = context.wrap_socket(self.socket, server_hostname=tls_name)
        self.answers = 0
        self.usable = True

    def ask(self, request: bytes) -> tuple[int, bytes]:
        """Send a request and read its whole answer: status and body."""
        data = b""
        try:
            # What was answered before all of it was sent is an answer, too.
            with contextlib.suppress(BrokenPipeError, ConnectionResetError, ssl.SSLEOFError):
                self.socket.sendall(request)
            while b"\r\n\r\n" not in data:
                data += self._more()
            head, _, body = data.partition(b"\r\n\r\n")
            status, length = self._read_head(head)
            while len(body) < length:
                body += self._more()
        except OSError as error:
            if not data and isinstance(error, CLOSING):
                raise Closed(repr(error)) from error
            raise Failed(f"{error!r} after {len(data)} bytes") from error
        if len(body) > length:
            raise Failed(f"{len(body)} bytes instead of {length}")
        self.answers += 1
        return status, body

    def _more(self) -> bytes:
        chunk = self.socket.recv(65536)
        if not chunk:
            raise ConnectionAbortedError("closed by the other side")
        return chunk

    def _read_head(self, head: bytes) -> tuple[int, int]:
        first, *lines = head.decode("latin-1").split("\r\n")
        headers = {name.lower(): value.strip() for name, _, value in (line.partition(":") for line in lines)}
        words = first.split(" ", 2)
        if not words[0].startswith("HTTP/1.") or "content-length" not in headers:
            raise Failed(f"no HTTP/1.1 with a length: {first!r}")
        self.usable = headers.get("connection", "keep-alive").lower() != "close"
        return int(words[1]), int(headers["content-length"])

    def close(self) -> None:
        """Hang up."""
        self.socket.close()


@dataclass
class Times:
    """How long answers took, in milliseconds."""

    taken: list[float] = field(default_factory=list)

    def part(self, share: float) -> float:
        """The time within which that share of them came."""
        ordered = sorted(self.taken)
        return ordered[max(0, math.ceil(share * len(ordered)) - 1)] * 1000 if ordered else math.nan

    def __str__(self) -> str:
        return " / ".join(f"{self.part(share):.1f}" for share in (0.5, 0.99, 1))


@dataclass
class Report:
    """What became of all requests."""

    requests: int
    posts: int
    failed: list[str]
    wrong: list[str]
    lost: list[str]
    doubled: list[str]
    idle_closes: int
    releases: set[str]
    rest: Times
    during: Times
    away: float

    @property
    def harm(self) -> dict[str, list[str]]:
        """Whatever a user could have noticed; empty when nobody noticed anything."""
        found = {"failed": self.failed, "wrong": self.wrong, "lost": self.lost, "doubled": self.doubled}
        return {word: notes[:NOTES] for word, notes in found.items() if notes}


class Hammer:
    """Clients at work on one site, from ``with`` to its end.

    :param host: the name that the site is asked by, and ``site`` what it calls itself
    :param tls: whether they ask over https, whoever the certificate is of
    :param seconds: when they stop by themselves, as they do after that many ``requests``
    :param pause: seconds that each client rests between two requests
    """

    def __init__(
        self,
        address: str,
        host: str,
        site: str,
        *,
        port: int = 80,
        tls: bool = False,
        clients: int = 8,
        seconds: float = 900,
        requests: int = 400_000,
        pause: float = 0.02,
        timeout: float = 40,
    ) -> None:
        self.address, self.port, self.host, self.site = address, port, host, site
        self.tls_name = host if tls else ""
        self.pause, self.timeout, self.limit = pause, timeout, requests
        self.name = uuid.uuid4().hex[:12]
        self.end = time.monotonic() + seconds
        self.numbers = itertools.count()
        self.lock = threading.Lock()
        self.stopped = threading.Event()
        self.changing = False
        self.requests, self.idle_closes = 0, 0
        self.failed: list[str] = []
        self.wrong: list[str] = []
        self.releases: set[str] = set()
        self.sent: set[str] = set()
        self.booked: set[str] = set()
        self.rest, self.during = Times(), Times()
        self.good: list[float] = []
        # Of each request: when it was sent, how long it took, and whether all was well.
        self.history: list[tuple[float, float, bool]] = []
        self.threads = [
            threading.Thread(target=self._work, args=(number % 2 == 0,), daemon=True) for number in range(clients)
        ]

    def __enter__(self) -> Hammer:
        for thread in self.threads:
            thread.start()
        return self

    def __exit__(self, *_: object) -> None:
        self.stopped.set()
        for thread in self.threads:
            thread.join()

    @contextlib.contextmanager
    def change(self, around: int = 200) -> Iterator[None]:
        """What is done within counts as the change: some answers before it, some after it."""
        self.wait_for(around)
        self.changing = True
        yield
        self.wait_for(around)
        self.changing = False

    def wait_for(self, answers: int) -> None:
        """Wait until so many more good answers came, or all clients have stopped."""
        wanted = len(self.good) + answers
        while len(self.good) < wanted and any(thread.is_alive() for thread in self.threads):
            self.stopped.wait(0.01)

    def report(self, booked: Iterable[str]) -> Report:
        """Compare with what the site has booked, once the clients have stopped."""
        times = Counter(sale for sale in booked if sale.startswith(self.name))
        good = sorted(self.good)
        return Report(
            requests=self.requests,
            posts=len(self.sent),
            failed=self.failed,
            wrong=self.wrong,
            lost=sorted(self.booked - times.keys()),
            doubled=sorted(sale for sale, count in times.items() if count > 1),
            idle_closes=self.idle_closes,
            releases=self.releases,
            rest=self.rest,
            during=self.during,
            away=max((after - before for before, after in itertools.pairwise(good)), default=math.nan),
        )

    def _work(self, keeps: bool) -> None:
        connection = None
        while not self.stopped.is_set() and time.monotonic() < self.end:
            number = next(self.numbers)
            if number >= self.limit:
                break
            connection = self._one(number, keeps, connection)
            self.stopped.wait(self.pause)
        if connection:
            connection.close()

    def _one(self, number: int, keeps: bool, connection: Connection | None) -> Connection | None:
        """One request, from the sending to the verdict; returns the connection if it can be used again."""
        sale = f"{self.name}-{number}" if number % 2 else None
        body = (f"{self.name}{number:08}" * SIZES[-1])[: SIZES[number // 2 % len(SIZES)]].encode() if sale else b""
        path = f"/sales/{sale}" if sale else "/price"
        request = self._request(path, f"{self.name}-{number}", body, keeps, "POST" if sale else "GET")
        with self.lock:
            self.requests += 1
            if sale:
                self.sent.add(sale)
        began, during = time.monotonic(), self.changing
        try:
            connection = connection or self._connect()
            try:
                status, content = connection.ask(request)
            except Closed:
                connection.close()
                if not connection.answers:
                    raise
                # Any client does this, once: the other side had closed the connection while nothing was under way.
                with self.lock:
                    self.idle_closes += 1
                connection = self._connect()
                status, content = connection.ask(request)
            if status != 200:
                raise Failed(f"status {status}")
        except (OSError, ValueError, Closed, Failed) as error:
            with self.lock:
                self.failed.append(f"{number} {path}: {error!r}")
                self.history.append((began, time.monotonic() - began, False))
            if connection:
                connection.close()
            return None
        self._judge(path, number, body if sale else None, content)
        now = time.monotonic()
        with self.lock:
            self.good.append(now)
            self.history.append((began, now - began, True))
            (self.during if during else self.rest).taken.append(now - began)
            if sale:
                self.booked.add(sale)
        if keeps and connection.usable:
            return connection
        connection.close()
        return None

    def _connect(self) -> Connection:
        return Connection(self.address, self.port, self.timeout, self.tls_name)

    def _request(self, path: str, word: str, body: bytes, keeps: bool, method: str) -> bytes:
        lines = [f"{method} {path}?{word} HTTP/1.1", f"Host: {self.host}"]
        lines += [f"Connection: {'keep-alive' if keeps else 'close'}"]
        lines += [f"Content-Length: {len(body)}"] if method == "POST" else []
        return "\r\n".join([*lines, "", ""]).encode() + body

    def _judge(self, path: str, number: int, body: bytes | None, content: bytes) -> None:
        """Note an answer that is not the one to this very request."""
        wanted: dict[str, Any] = {"site": self.site, "path": path, "asked": f"{self.name}-{number}"}
        if body is not None:
            wanted["sum"] = zlib.crc32(body)
        try:
            said = json.loads(content)
            release = said["release"]
            if {key: said.get(key) for key in wanted} != wanted:
                raise ValueError("it answers something else")
        except (ValueError, TypeError, KeyError, AttributeError):
            with self.lock:
                self.wrong.append(f"{number} {path}: {content[:200]!r}")
            return
        with self.lock:
            self.releases.add(release)
