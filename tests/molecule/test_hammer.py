"""The hammer sees each kind of harm that a server can do, and none where there is none."""

from __future__ import annotations

import json
import socket
import threading
import zlib
from collections.abc import Iterator
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from pathlib import Path

import pytest
from hammer import Hammer, Report, Times
from reliability import Table


class Till(BaseHTTPRequestHandler):
    """A server on this machine that does harm on purpose: to each tenth request, as ``mishap`` says."""

    protocol_version = "HTTP/1.1"

    def answer(self) -> None:
        path, _, asked = self.path.partition("?")
        body = self.rfile.read(int(self.headers.get("Content-Length", 0)))
        number = int(asked.rpartition("-")[2])
        mishap = self.server.mishap if number % 20 in (1, 10) else ""
        if self.command == "POST" and mishap != "forgets":
            self.server.booked += [path.rpartition("/")[2]] * (2 if mishap == "doubles" else 1)
        if mishap == "hangs up":
            return self.hang_up()
        said = {"site": "till", "path": path, "release": "r1", "sum": zlib.crc32(body)}
        said["asked"] = "something else" if mishap == "answers another" else asked
        content = json.dumps(said).encode()
        self.send_response(502 if mishap == "refuses" else 200)
        self.send_header("Content-Length", str(len(content) + (5 if mishap == "cuts off" else 0)))
        self.end_headers()
        self.wfile.write(content)
        if mishap == "cuts off":
            return self.hang_up()
        if mishap == "retires":
            # As a server that reloads: it has answered, has not asked for an end, and closes.
            self.close_connection = True
        return None

    do_GET = do_POST = answer  # noqa: N815

    def hang_up(self) -> None:
        self.close_connection = True
        self.connection.shutdown(socket.SHUT_RDWR)

    def log_message(self, *_: object) -> None:
        """Keep still."""


@pytest.fixture
def server() -> Iterator[ThreadingHTTPServer]:
    server = ThreadingHTTPServer(("127.0.0.1", 0), Till)
    server.booked, server.mishap = [], ""
    thread = threading.Thread(target=server.serve_forever, kwargs={"poll_interval": 0.02})
    thread.start()
    yield server
    server.shutdown()
    thread.join()
    server.server_close()


def hammered(server: ThreadingHTTPServer, **limits: float) -> Hammer:
    limits = {"requests": 400, "seconds": 60, "pause": 0, **limits}
    with Hammer("127.0.0.1", "till.test", "till", port=server.server_port, **limits) as hammer:
        hammer.wait_for(10**9)
    return hammer


def test_a_server_without_fault_has_none(server: ThreadingHTTPServer) -> None:
    report = hammered(server).report(server.booked)
    assert report.harm == {}
    assert (report.requests, report.posts, report.idle_closes) == (400, 200, 0)
    assert report.releases == {"r1"}
    assert len(report.rest.taken) == 400
    assert report.during.taken == []


@pytest.mark.parametrize(
    ("mishap", "harm"),
    [
        ("forgets", {"lost"}),
        ("doubles", {"doubled"}),
        ("answers another", {"wrong"}),
        ("refuses", {"failed"}),
        ("cuts off", {"failed"}),
    ],
)
def test_it_sees(server: ThreadingHTTPServer, mishap: str, harm: set[str]) -> None:
    server.mishap = mishap
    report = hammered(server).report(server.booked)
    assert set(report.harm) == harm
    count = {"forgets": len(report.lost), "doubles": len(report.doubled), "answers another": len(report.wrong)}
    assert count.get(mishap, len(report.failed)) == (20 if mishap in ("forgets", "doubles") else 40)


def test_it_sees_a_request_that_was_done_and_not_answered(server: ThreadingHTTPServer) -> None:
    server.mishap = "hangs up"
    report = hammered(server, requests=40, clients=1).report(server.booked)  # one that keeps its connection
    assert "failed" in report.harm, "on a new connection there is no excuse"
    assert "doubled" in report.harm, "a kept one is asked again, so what was done is done twice"


def test_a_kept_connection_that_closes_at_rest_is_counted_apart_and_tried_again(server: ThreadingHTTPServer) -> None:
    server.mishap = "retires"
    report = hammered(server, requests=40, clients=1).report(server.booked)  # one that keeps its connection
    assert report.harm == {}
    assert report.idle_closes == 4


def test_nobody_there_is_a_failure(server: ThreadingHTTPServer) -> None:
    with socket.socket() as taken:
        taken.bind(("127.0.0.1", 0))  # does not listen
        with Hammer("127.0.0.1", "t", "till", port=taken.getsockname()[1], requests=20, pause=0) as hammer:
            hammer.wait_for(1)
    assert len(hammer.report([]).failed) == 20


def test_it_ends_by_itself(server: ThreadingHTTPServer) -> None:
    hammer = hammered(server, requests=10**9, seconds=0.2)
    assert not any(thread.is_alive() for thread in hammer.threads)
    assert hammer.report(server.booked).harm == {}


def test_what_happens_during_a_change_is_timed_apart(server: ThreadingHTTPServer) -> None:
    with (
        Hammer("127.0.0.1", "t", "till", port=server.server_port, requests=10_000, pause=0) as hammer,
        hammer.change(around=50),
    ):
        pass
    report = hammer.report(server.booked)
    assert len(report.rest.taken) >= 50
    assert len(report.during.taken) >= 1


def test_the_table_has_the_times_at_rest_beside_those_during_the_change(tmp_path: Path) -> None:
    rest, during = Times([0.001, 0.002]), Times([0.003, 0.04])
    report = Report(9, 4, [], [], [], [], 1, {"r1"}, rest, during, 0.05)
    table = Table(tmp_path / "build/table.md")
    table.add("new code", "sync", report)
    heads, _, row = ([cell.strip() for cell in line.split("|")] for line in table.path.read_text().splitlines())
    cells = dict(zip(heads, row, strict=True))
    assert cells["at rest: p50 / p99 / slowest, ms"] == "1.0 / 2.0 / 2.0"
    assert cells["during it: p50 / p99 / slowest, ms"] == "3.0 / 40.0 / 40.0"


def test_times() -> None:
    assert str(Times([0.001 * count for count in range(1, 101)])) == "50.0 / 99.0 / 100.0"
    assert str(Times()) == "nan / nan / nan"
