"""A load generator: clients that send requests to a site without a break, and record the outcome of every one.

Half of the clients use keep-alive, the others open a connection for each request. They alternate between a GET whose
response must repeat the query, and a POST of an order with an ID, which the site must store exactly once
(`molecule/shared/shop`). The generator stops by itself at its limit of seconds or of requests.
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
# How many cases of harm a failed test shows.
SHOWN = 20
# How a connection fails that the server has closed, over TLS too.
CLOSING = (ConnectionError, ssl.SSLEOFError)


class Closed(Exception):
    """The connection was closed before the first byte of a response."""


class Failed(Exception):
    """There was no complete response, or its status is an error."""


class Connection:
    """HTTP/1.1 over one connection, exact about the length of a response."""

    def __init__(self, address: str, port: int, timeout: float, tls_name: str = "") -> None:
        self.socket = socket.create_connection((address, port), timeout)
        self.socket.setsockopt(socket.IPPROTO_TCP, socket.TCP_NODELAY, 1)
        if tls_name:
            context = ssl.SSLContext(ssl.PROTOCOL_TLS_CLIENT)
            context.check_hostname, context.verify_mode = False, ssl.CERT_NONE
            self.socket = context.wrap_socket(self.socket, server_hostname=tls_name)
        self.responses = 0
        self.usable = True

    def send(self, request: bytes) -> tuple[int, bytes]:
        """Send a request and read the whole response: status and body."""
        data = b""
        try:
            # A response that comes before the request is complete counts too.
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
        self.responses += 1
        return status, body

    def _more(self) -> bytes:
        chunk = self.socket.recv(65536)
        if not chunk:
            raise ConnectionAbortedError("closed by the server")
        return chunk

    def _read_head(self, head: bytes) -> tuple[int, int]:
        first, *lines = head.decode("latin-1").split("\r\n")
        headers = {name.lower(): value.strip() for name, _, value in (line.partition(":") for line in lines)}
        words = first.split(" ", 2)
        if not words[0].startswith("HTTP/1.") or "content-length" not in headers:
            raise Failed(f"no HTTP/1.1 response with a length: {first!r}")
        self.usable = headers.get("connection", "keep-alive").lower() != "close"
        return int(words[1]), int(headers["content-length"])

    def close(self) -> None:
        """Close it."""
        self.socket.close()


@dataclass
class Times:
    """Response times, in seconds; printed in milliseconds."""

    durations: list[float] = field(default_factory=list)

    def percentile(self, share: float) -> float:
        """The time, in milliseconds, within which this share of the responses came."""
        ordered = sorted(self.durations)
        return ordered[max(0, math.ceil(share * len(ordered)) - 1)] * 1000 if ordered else math.nan

    def __str__(self) -> str:
        return " / ".join(f"{self.percentile(share):.1f}" for share in (0.5, 0.99, 1))


@dataclass
class Report:
    """The outcome of all requests."""

    requests: int
    posts: int
    failed: list[str]
    wrong: list[str]
    lost: list[str]
    duplicated: list[str]
    idle_closes: int
    releases: set[str]
    baseline: Times
    during: Times
    longest_gap: float

    @property
    def harm(self) -> dict[str, list[str]]:
        """Everything that a client could notice; empty if there is nothing."""
        found = {"failed": self.failed, "wrong": self.wrong, "lost": self.lost, "duplicated": self.duplicated}
        return {word: notes[:SHOWN] for word, notes in found.items() if notes}


class LoadGenerator:
    """Clients that send requests to one site inside a ``with`` block.

    :param host: the name of the site in requests; ``site`` is its name in its responses
    :param tls: whether to use https; the certificate is not verified
    :param seconds: a limit, as ``requests`` is one
    :param pause: seconds that a client waits between two requests
    """

    def __init__(
        self,
        address: str,
        host: str,
        site: str,
        *,
        port: int = 80,
        tls: bool = False,
        clients: int = 4,
        seconds: float = 900,
        requests: int = 400_000,
        pause: float = 0.05,
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
        self.in_event = False
        self.requests, self.idle_closes = 0, 0
        self.failed: list[str] = []
        self.wrong: list[str] = []
        self.releases: set[str] = set()
        self.sent: set[str] = set()
        self.acknowledged: set[str] = set()
        self.baseline, self.during = Times(), Times()
        self.good: list[float] = []
        # Of each request: when it was sent, how long it took, and whether it succeeded.
        self.history: list[tuple[float, float, bool]] = []
        self.threads = [
            threading.Thread(target=self._work, args=(number % 2 == 0,), daemon=True) for number in range(clients)
        ]

    def __enter__(self) -> LoadGenerator:
        for thread in self.threads:
            thread.start()
        return self

    def __exit__(self, *_: object) -> None:
        self.stopped.set()
        for thread in self.threads:
            thread.join()

    @contextlib.contextmanager
    def event(self, around: int = 50) -> Iterator[None]:
        """Responses inside this context count as during the event; so many come before it and after it."""
        self.wait_for(around)
        self.in_event = True
        yield
        self.wait_for(around)
        self.in_event = False

    def wait_for(self, responses: int) -> None:
        """Wait until so many more requests have succeeded, or all clients have stopped."""
        wanted = len(self.good) + responses
        while len(self.good) < wanted and any(thread.is_alive() for thread in self.threads):
            self.stopped.wait(0.01)

    def report(self, stored: Iterable[str]) -> Report:
        """Compare with the orders that the site has stored, after the clients have stopped."""
        times = Counter(order for order in stored if order.startswith(self.name))
        good = sorted(self.good)
        return Report(
            requests=self.requests,
            posts=len(self.sent),
            failed=self.failed,
            wrong=self.wrong,
            lost=sorted(self.acknowledged - times.keys()),
            duplicated=sorted(order for order, count in times.items() if count > 1),
            idle_closes=self.idle_closes,
            releases=self.releases,
            baseline=self.baseline,
            during=self.during,
            longest_gap=max((after - before for before, after in itertools.pairwise(good)), default=math.nan),
        )

    def _work(self, keep_alive: bool) -> None:
        connection = None
        while not self.stopped.is_set() and time.monotonic() < self.end:
            number = next(self.numbers)
            if number >= self.limit:
                break
            connection = self._one(number, keep_alive, connection)
            self.stopped.wait(self.pause)
        if connection:
            connection.close()

    def _one(self, number: int, keep_alive: bool, connection: Connection | None) -> Connection | None:
        """Send one request and record its outcome; return the connection if it can be used again."""
        order = f"{self.name}-{number}" if number % 2 else None
        body = self._body(number) if order else b""
        path = f"/orders/{order}" if order else "/price"
        request = self._request(path, f"{self.name}-{number}", body, keep_alive, "POST" if order else "GET")
        with self.lock:
            self.requests += 1
            if order:
                self.sent.add(order)
        began, during = time.monotonic(), self.in_event
        try:
            connection = connection or self._connect()
            try:
                status, content = connection.send(request)
            except Closed:
                connection.close()
                if not connection.responses:
                    raise
                # Any client retries once if the server closed the connection between two requests.
                with self.lock:
                    self.idle_closes += 1
                connection = self._connect()
                status, content = connection.send(request)
            if status != 200:
                raise Failed(f"status {status}")
        except (OSError, ValueError, Closed, Failed) as error:
            with self.lock:
                self.failed.append(f"{number} {path}: {error!r}")
                self.history.append((began, time.monotonic() - began, False))
            if connection:
                connection.close()
            return None
        self._judge(path, number, body if order else None, content)
        now = time.monotonic()
        with self.lock:
            self.good.append(now)
            self.history.append((began, now - began, True))
            (self.during if during else self.baseline).durations.append(now - began)
            if order:
                self.acknowledged.add(order)
        if keep_alive and connection.usable:
            return connection
        connection.close()
        return None

    def _body(self, number: int) -> bytes:
        size, text = SIZES[number // 2 % len(SIZES)], f"{self.name}{number:08}".encode()
        return (text * (size // len(text) + 1))[:size]

    def _connect(self) -> Connection:
        return Connection(self.address, self.port, self.timeout, self.tls_name)

    def _request(self, path: str, query: str, body: bytes, keep_alive: bool, method: str) -> bytes:
        lines = [f"{method} {path}?{query} HTTP/1.1", f"Host: {self.host}"]
        lines += [f"Connection: {'keep-alive' if keep_alive else 'close'}"]
        lines += [f"Content-Length: {len(body)}"] if method == "POST" else []
        return "\r\n".join([*lines, "", ""]).encode() + body

    def _judge(self, path: str, number: int, body: bytes | None, content: bytes) -> None:
        """Record a response that does not belong to this request."""
        wanted: dict[str, Any] = {"site": self.site, "path": path, "query": f"{self.name}-{number}"}
        if body is not None:
            wanted["sum"] = zlib.crc32(body)
        try:
            answer = json.loads(content)
            release = answer["release"]
            if {key: answer.get(key) for key in wanted} != wanted:
                raise ValueError("it answers another request")
        except (ValueError, TypeError, KeyError, AttributeError):
            with self.lock:
                self.wrong.append(f"{number} {path}: {content[:200]!r}")
            return
        with self.lock:
            self.releases.add(release)
