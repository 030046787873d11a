"""A site behind nginx with clients that send requests continuously."""

from __future__ import annotations

import http.client
import itertools
import threading
from collections import Counter
from pathlib import Path

from nginx_rig import Rig, free_port, render
from supervised import Host

from ansible_collections.wsgi.sites.plugins.module_utils.releases import deployment

# Stores each request by its name, and responds with the server that it came through.
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


class Shop:
    """The site, with an nginx configured for uWSGI or gunicorn."""

    def __init__(self, host: Host, rig: Rig, page: str) -> None:
        self.host, self.rig, self.port, self.numbers = host, rig, free_port(), itertools.count()
        self.book = host.folder / "book"
        self.book.touch()
        self.book.chmod(0o666)
        rig.site("shop")  # for its logs
        self.write(page)
        rig.start()

    def write(self, page: str) -> None:
        """nginx's files for a site config with this server."""
        site = {"server_names": ["shop.example.com"], "source": {"path": "app"}, "http_port": self.port}
        site |= {"server": page, "root": str(self.host.site.root)}
        files, links = render({"shop": site}, nginx_worker_processes=1, nginx_client_connections=0)
        for path in links:
            (self.rig.folder / path.lstrip("/")).unlink(missing_ok=True)
        self.rig.install(files, links)
        assert self.rig.test() == ""

    def deploy(self, server: str) -> str:
        """Another release goes live."""
        release_id = f"r{next(self.numbers)}"
        slot = self.prepare(release_id, server)
        deployment.switch(self.host.site, slot, release_id, drain=0.5)
        return release_id

    def prepare(self, release_id: str, server: str) -> str:
        """Start another release without switching to it."""
        self.host.release(release_id, server=server)
        (self.host.site.release(release_id) / "app/wsgi.py").write_text(APP.format(book=str(self.book)))
        return deployment.start(self.host.site, release_id)["slot"]


class Clients:
    """Continuous clients: each sends GET and POST in turn over keep-alive connections."""

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
