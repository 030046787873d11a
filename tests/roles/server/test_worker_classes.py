"""gunicorn's worker classes behind nginx: simultaneous requests, processes and threads."""

from __future__ import annotations

import contextlib
import http.client
import json
import os
import signal
import socket
import subprocess
import sys
from collections import Counter
from collections.abc import Iterator
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path
from typing import Any

import pytest
from nginx_rig import Rig, ask, free_port, needs_nginx, private_nginx, render
from shop_under_load import Clients
from slow_database import SlowDatabase, slow_database
from supervised import START, eventually, server_files, worker_settings

from ansible_collections.wsgi.sites.plugins.module_utils.runtime import workers

# A typical app: it is independent of worker classes and imports its drivers at the top.
APP = """
import json, os, socket, sys, threading
import psycopg, pymysql
WHERE = ("127.0.0.1", {port})
def plain():
    with socket.create_connection(WHERE) as peer:
        peer.recv(1)
def postgres():
    psycopg.connect(host=WHERE[0], port=WHERE[1], dbname="shop", user="shop", sslmode="disable", gssencmode="disable")
def mysql():
    pymysql.connect(host=WHERE[0], port=WHERE[1], user="shop", password="open-sesame")
def app(environ, start):
    if environ["PATH_INFO"] == "/refused":
        start("401 Unauthorized", [("Content-Length", "2")])
        return [b"no"]
    environ["wsgi.input"].read()
    try:
        globals().get(environ["PATH_INFO"][1:], str)()
    except (psycopg.OperationalError, pymysql.OperationalError):
        pass
    classes = [name for name in ("ggevent", "gthread", "gtornado", "sync") if "gunicorn.workers." + name in sys.modules]
    body = json.dumps({{"pid": os.getpid(), "thread": threading.get_ident(), "class": classes}}).encode()
    start("200 OK", [("Content-Length", str(len(body)))])
    return [body]
"""


@pytest.fixture
def rig() -> Iterator[Rig]:
    yield from private_nginx()


@pytest.fixture
def database() -> Iterator[SlowDatabase]:
    yield from slow_database()


@contextlib.contextmanager
def served(rig: Rig, database: SlowDatabase, **keys: Any) -> Iterator[tuple[int, int]]:
    """The site behind nginx, with both as they are rendered; nginx's port, and the PID of gunicorn's master."""
    port = free_port()
    site = {"server_names": ["shop.example.com"], "source": {"path": "app"}, "http_port": port, **keys}
    root = rig.site("shop")
    for name, text in server_files(**site).items():
        (root / "live/release" / name).write_text(text)
    app = root / "live/release/app"
    (app / "wsgi.py").write_text(APP.format(port=database.port))
    rig.install(*render({"shop": site}, nginx_worker_processes=1, nginx_client_connections=0))
    assert rig.test() == ""
    rig.start()
    with socket.socket(socket.AF_UNIX) as slot, socket.create_server(("127.0.0.1", 0)) as other:
        slot.bind(str(root / "live/sock"))
        (root / "live/sock").chmod(0o666)
        slot.listen(64)
        handles = slot.fileno(), other.fileno()
        command = [sys.executable, "-c", START, *map(str, handles), "--config", "../gunicorn.conf.py", "wsgi:app"]
        with (app / "log").open("wb") as log:
            counted = workers.environment(worker_settings(**keys), cpus=2)
            server = subprocess.Popen(
                command, cwd=app, pass_fds=handles, stdout=log, stderr=log, env={**os.environ, **counted}
            )
        try:
            eventually(lambda: ask(port).startswith("HTTP/1.1 200"))
            yield port, server.pid
        finally:
            server.terminate()
            server.wait(60)


def all_of(port: int, database: SlowDatabase, page: str, clients: int, at_once: int) -> list[dict[str, Any]]:
    """Send this many requests at once; release none before the expected number waits."""
    with ThreadPoolExecutor(clients) as pool:
        asked = [pool.submit(ask, port, page) for _ in range(clients)]
        for left in range(clients, 0, -1):
            eventually(lambda left=left: len(database.waiting) == min(left, at_once))
            database.let_go()
        answers = [each.result() for each in asked]
    assert all(answer.startswith("HTTP/1.1 200") for answer in answers), answers
    return [json.loads(answer.partition("\r\n\r\n")[2]) for answer in answers]


# How many of nine requests run at once, and how many processes and threads served all nine.
CLASSES = {
    "sync": ({"worker_class": "sync", "workers": 3, "threads": 9}, 3, 3, 3),
    "gthread": ({"worker_class": "gthread", "workers": 1, "threads": 3}, 3, 1, 3),
    "gevent": ({"worker_class": "gevent", "workers": 1, "threads": 9}, 9, 1, 9),
    "tornado": ({"worker_class": "tornado", "workers": 1, "threads": 9}, 1, 1, 1),
}


@needs_nginx
@pytest.mark.parametrize("name", CLASSES)
def test_each_worker_class_runs_the_expected_number_of_requests_at_once(
    rig: Rig, database: SlowDatabase, name: str
) -> None:
    keys, at_once, processes, threads = CLASSES[name]
    with served(rig, database, **keys) as (port, _):
        answers = all_of(port, database, "/plain", 9, at_once)
    assert database.most == at_once
    assert len({answer["pid"] for answer in answers}) == processes
    if name != "gevent":  # a thread there is a greenlet, whose number can be reused
        assert len({(answer["pid"], answer["thread"]) for answer in answers}) == threads
    module = {"gevent": "ggevent", "tornado": "gtornado"}.get(name, name)
    assert all(answer["class"] == [module] for answer in answers)


@needs_nginx
@pytest.mark.parametrize("driver", ["postgres", "mysql"])
def test_with_gevent_no_request_waits_for_the_database_of_another(
    rig: Rig, database: SlowDatabase, driver: str
) -> None:
    with served(rig, database, worker_class="gevent", workers=1) as (port, _):
        all_of(port, database, f"/{driver}", 6, 6)
    assert database.most == 6


@needs_nginx
@pytest.mark.parametrize("name", sorted(CLASSES.keys() - {"tornado"}))  # which cannot remove workers
def test_adding_and_removing_workers_loses_no_request(rig: Rig, database: SlowDatabase, name: str) -> None:
    with served(rig, database, worker_class=name, workers=1) as (port, master), Clients(port) as clients:

        def running() -> int:
            return len(Path(f"/proc/{master}/task/{master}/children").read_text().split())

        for _ in range(5):
            os.kill(master, signal.SIGTTIN)
            eventually(lambda: running() == 2)
            before = clients.served.total()
            eventually(lambda before=before: clients.served.total() > before + 100)
            os.kill(master, signal.SIGTTOU)
            eventually(lambda: running() == 1)
    assert clients.lost == []


@needs_nginx
@pytest.mark.parametrize("name", CLASSES)
def test_an_upload_that_the_app_does_not_read_gets_a_response(rig: Rig, database: SlowDatabase, name: str) -> None:
    with served(rig, database, worker_class=name, workers=1) as (port, _), ThreadPoolExecutor(4) as pool:

        def status(size: int) -> int:
            connection = http.client.HTTPConnection("127.0.0.1", port, timeout=30)
            connection.request("POST", "/refused", b"x" * size, {"Host": "shop.example.com"})
            with contextlib.closing(connection):
                return connection.getresponse().status

        found = Counter(pool.map(status, [400_000, 3_000_000] * 30))
    assert found == {401: 60}
