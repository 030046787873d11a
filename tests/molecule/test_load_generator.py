"""The load generator reports every kind of server fault, and none without a fault."""

from __future__ import annotations

import json
import socket
import threading
import zlib
from collections.abc import Iterator
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from pathlib import Path

import pytest
from load_generator import LoadGenerator, Report, Times
from reliability import Table


class FaultyShop(BaseHTTPRequestHandler):
    """A local server that applies ``fault`` to each tenth request."""

    protocol_version = "HTTP/1.1"

    def answer(self) -> None:
        path, _, query = self.path.partition("?")
        body = self.rfile.read(int(self.headers.get("Content-Length", 0)))
        number = int(query.rpartition("-")[2])
        fault = self.server.fault if number % 20 in (1, 10) else ""
        if self.command == "POST" and fault != "forgets":
            self.server.stored += [path.rpartition("/")[2]] * (2 if fault == "duplicates" else 1)
        if fault == "closes":
            return self.close()
        answer = {"site": "shop", "path": path, "release": "r1", "sum": zlib.crc32(body)}
        answer["query"] = "something else" if fault == "answers another" else query
        content = json.dumps(answer).encode()
        self.send_response(502 if fault == "refuses" else 200)
        self.send_header("Content-Length", str(len(content) + (5 if fault == "cuts off" else 0)))
        self.end_headers()
        self.wfile.write(content)
        if fault == "cuts off":
            return self.close()
        if fault == "retires":
            # Like a server that reloads: it closes after the response without announcing it.
            self.close_connection = True
        return None

    do_GET = do_POST = answer  # noqa: N815

    def close(self) -> None:
        self.close_connection = True
        self.connection.shutdown(socket.SHUT_RDWR)

    def log_message(self, *_: object) -> None:
        """Write no log."""


@pytest.fixture
def server() -> Iterator[ThreadingHTTPServer]:
    server = ThreadingHTTPServer(("127.0.0.1", 0), FaultyShop)
    server.stored, server.fault = [], ""
    thread = threading.Thread(target=server.serve_forever, kwargs={"poll_interval": 0.02})
    thread.start()
    yield server
    server.shutdown()
    thread.join()
    server.server_close()


def load(server: ThreadingHTTPServer, **limits: float) -> LoadGenerator:
    limits = {"requests": 400, "seconds": 60, "pause": 0, **limits}
    with LoadGenerator("127.0.0.1", "shop.test", "shop", port=server.server_port, **limits) as generator:
        generator.wait_for(10**9)
    return generator


def test_a_server_without_fault_has_none(server: ThreadingHTTPServer) -> None:
    report = load(server).report(server.stored)
    assert report.harm == {}
    assert (report.requests, report.posts, report.idle_closes) == (400, 200, 0)
    assert report.releases == {"r1"}
    assert len(report.baseline.durations) == 400
    assert report.during.durations == []


@pytest.mark.parametrize(
    ("fault", "harm"),
    [
        ("forgets", {"lost"}),
        ("duplicates", {"duplicated"}),
        ("answers another", {"wrong"}),
        ("refuses", {"failed"}),
        ("cuts off", {"failed"}),
    ],
)
def test_each_fault_is_reported(server: ThreadingHTTPServer, fault: str, harm: set[str]) -> None:
    server.fault = fault
    report = load(server).report(server.stored)
    assert set(report.harm) == harm
    count = {"forgets": len(report.lost), "duplicates": len(report.duplicated), "answers another": len(report.wrong)}
    assert count.get(fault, len(report.failed)) == (20 if fault in ("forgets", "duplicates") else 40)


def test_a_request_that_ran_without_a_response_is_reported(server: ThreadingHTTPServer) -> None:
    server.fault = "closes"
    report = load(server, requests=40, clients=1).report(server.stored)  # it uses keep-alive
    assert "failed" in report.harm, "on a new connection it is a failure"
    assert "duplicated" in report.harm, "on a keep-alive connection the client retries, so the order is stored twice"


def test_an_idle_keep_alive_connection_that_closes_is_counted_apart_and_retried(server: ThreadingHTTPServer) -> None:
    server.fault = "retires"
    report = load(server, requests=40, clients=1).report(server.stored)  # it uses keep-alive
    assert report.harm == {}
    assert report.idle_closes == 4


def test_a_refused_connection_is_a_failure(server: ThreadingHTTPServer) -> None:
    with socket.socket() as taken:
        taken.bind(("127.0.0.1", 0))  # does not listen
        with LoadGenerator("127.0.0.1", "t", "shop", port=taken.getsockname()[1], requests=20, pause=0) as generator:
            generator.wait_for(1)
    assert len(generator.report([]).failed) == 20


def test_the_load_stops_at_its_time_limit(server: ThreadingHTTPServer) -> None:
    generator = load(server, requests=10**9, seconds=0.2)
    assert not any(thread.is_alive() for thread in generator.threads)
    assert generator.report(server.stored).harm == {}


def test_responses_during_the_event_are_timed_apart(server: ThreadingHTTPServer) -> None:
    with (
        LoadGenerator("127.0.0.1", "t", "shop", port=server.server_port, requests=10_000, pause=0) as generator,
        generator.event(around=50),
    ):
        pass
    report = generator.report(server.stored)
    assert len(report.baseline.durations) >= 50
    assert len(report.during.durations) >= 1


def test_the_table_shows_the_times_during_the_event_beside_the_others(tmp_path: Path) -> None:
    baseline, during = Times([0.001, 0.002]), Times([0.003, 0.04])
    report = Report(9, 4, [], [], [], [], 1, {"r1"}, baseline, during, 0.05)
    table = Table(tmp_path / "build/table.md")
    table.add("new code", "sync", report)
    header, _, row = ([cell.strip() for cell in line.split("|")] for line in table.path.read_text().splitlines())
    cells = dict(zip(header, row, strict=True))
    assert cells["before and after: p50 / p99 / slowest, ms"] == "1.0 / 2.0 / 2.0"
    assert cells["during: p50 / p99 / slowest, ms"] == "3.0 / 40.0 / 40.0"


def test_times() -> None:
    assert str(Times([0.001 * count for count in range(1, 101)])) == "50.0 / 99.0 / 100.0"
    assert str(Times()) == "nan / nan / nan"
