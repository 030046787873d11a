"""A site changes from gunicorn to uWSGI and back, behind nginx, while clients ask and send."""

from __future__ import annotations

import http.client
import itertools
import os
import signal
import socket
import threading
from collections import Counter
from collections.abc import Iterator
from pathlib import Path

import pytest
from nginx_rig import Rig, ask, free_port, needs_nginx, private_nginx, render
from supervised import Host, eventually

from ansible_collections.wsgi.sites.plugins.module_utils.releases import deployment

# Books what is sent, by its name, and says by which server it came.
APP = """
import os
def app(environ, start):
    path = environ["PATH_INFO"]
    if environ["REQUEST_METHOD"] == "POST":
        environ["wsgi.input"].read()
        with open({book!r}, "a") as book:
            book.write(path + "\\n")
    body = ("uwsgi" if "uwsgi.version" in environ else "gunicorn").encode()
    start("200 OK", [("Content-Length", str(len(body)))])
    return [body]
"""


@pytest.fixture
def rig() -> Iterator[Rig]:
    yield from private_nginx()


class Shop:
    """The site, with an nginx that is told that its server is uWSGI, or gunicorn."""

    def __init__(self, host: Host, rig: Rig, page: str) -> None:
        self.host, self.rig, self.port, self.numbers = host, rig, free_port(), itertools.count()
        self.book = host.folder / "book"
        self.book.touch()
        self.book.chmod(0o666)
        rig.site("shop")  # for its logs
        self.write(page)
        rig.start()

    def write(self, page: str) -> None:
        """nginx's files for a page with this server."""
        site = {"server_names": ["shop.example.com"], "source": {"path": "app"}, "http_port": self.port}
        site |= {"server": page, "root": str(self.host.site.root)}
        files, links = render({"shop": site}, nginx_worker_processes=1, nginx_client_connections=0)
        for path in links:
            (self.rig.folder / path.lstrip("/")).unlink(missing_ok=True)
        self.rig.lay(files, links)
        assert self.rig.test() == ""

    def deploy(self, server: str) -> str:
        """Another release goes live."""
        release_id = f"r{next(self.numbers)}"
        slot = self.prepare(release_id, server)
        deployment.switch(self.host.site, slot, release_id, drain=0.5)
        return release_id

    def prepare(self, release_id: str, server: str) -> str:
        """Another release runs, and is not live yet."""
        self.host.release(release_id, server=server)
        (self.host.site.release(release_id) / "app/wsgi.py").write_text(APP.format(book=str(self.book)))
        return deployment.start(self.host.site, release_id)["slot"]


class Clients:
    """Clients that never stop: each asks and sends in turn, over connections kept for a while."""

    def __init__(self, port: int, count: int = 4) -> None:
        self.port, self.lost, self.sent, self.served = port, [], [], Counter()
        self.stop = threading.Event()
        self.threads = [threading.Thread(target=self.work, args=[number]) for number in range(count)]

    def work(self, client: int) -> None:
        names, connection = itertools.count(), None
        while not self.stop.is_set():
            number = next(names)
            if number % 50 == 0:
                connection = http.client.HTTPConnection("127.0.0.1", self.port, timeout=30)
            try:
                method, body = ("POST", b"x" * 20_000) if number % 2 else ("GET", None)
                connection.request(method, f"/{client}-{number}", body, {"Host": "shop.example.com"})
                if body:
                    self.sent.append(f"/{client}-{number}")
                answer = connection.getresponse()
                text = answer.read().decode()
                if answer.status == 200:
                    self.served[text] += 1
                else:
                    self.lost.append(f"{method} {answer.status} {text[:200]}")
            except Exception as error:  # noqa: BLE001 - whatever it is, it is a lost request
                self.lost.append(f"{method} {error!r}")
                names = itertools.count(number + 50 - number % 50)

    def __enter__(self) -> Clients:
        for thread in self.threads:
            thread.start()
        return self

    def __exit__(self, *_: object) -> None:
        self.stop.set()
        for thread in self.threads:
            thread.join()


def booked(path: Path) -> Counter[str]:
    return Counter(path.read_text().split())


@needs_nginx
@pytest.mark.parametrize("page", ["uwsgi", "gunicorn"])
def test_there_and_back_no_request_is_lost_and_none_runs_twice(host: Host, rig: Rig, page: str) -> None:
    """Whatever nginx has been told by then: a page that changes is obeyed by it a while before or after the switch."""
    shop = Shop(host, rig, page)
    shop.deploy("gunicorn")
    with Clients(shop.port) as clients:
        for server in ("uwsgi", "gunicorn", "uwsgi", "uwsgi", "gunicorn"):
            before = clients.served[server]
            shop.deploy(server)
            eventually(lambda server=server, before=before: clients.served[server] > before + 20)
    assert clients.lost == []
    books = booked(shop.book)
    assert set(books.values()) == {1}
    assert set(books) == set(clients.sent)
    print(dict(clients.served))


@needs_nginx
def test_an_upload_that_outlasts_the_change_arrives_once(host: Host, rig: Rig) -> None:
    shop = Shop(host, rig, "uwsgi")
    shop.deploy("uwsgi")
    for server in ("gunicorn", "uwsgi"):
        with socket.create_connection(("127.0.0.1", shop.port), timeout=30) as peer:
            head = "Host: shop.example.com\r\nConnection: close\r\nContent-Length: 4\r\n\r\n"
            peer.sendall(f"POST /to-{server} HTTP/1.1\r\n{head}ab".encode())
            ask(shop.port)  # nginx has decided on the other by now, since it has answered a later one
            shop.deploy(server)
            peer.sendall(b"cd")
            answer = b"".join(iter(lambda peer=peer: peer.recv(65536), b"")).decode()
        assert answer.startswith("HTTP/1.1 200"), answer
        assert answer.endswith(server)
    assert booked(shop.book) == {"/to-gunicorn": 1, "/to-uwsgi": 1}


@needs_nginx
@pytest.mark.parametrize("server", ["gunicorn", "uwsgi"])
def test_a_run_that_was_killed_before_or_after_the_switch_leaves_a_site_that_serves(
    host: Host, rig: Rig, server: str
) -> None:
    other = "uwsgi" if server == "gunicorn" else "gunicorn"
    shop = Shop(host, rig, "uwsgi")
    shop.deploy(other)
    shop.prepare("half", server)
    assert ask(shop.port).endswith(other), "before the switch"
    deployment._point(host.site, host.site.idle_slot(), "half")
    assert ask(shop.port).endswith(server), "after it, with both still running"
    shop.write(server)
    os.kill(rig.pid(), signal.SIGHUP)
    eventually(lambda: ask(shop.port).endswith(server))
    deployment.abort(host.site)
    assert ask(shop.port).endswith(server)
    assert not (host.site.slot(host.site.idle_slot()) / "uwsgi.sock").exists()
