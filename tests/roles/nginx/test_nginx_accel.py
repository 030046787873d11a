"""X-Accel headers of an app are ignored."""

from __future__ import annotations

import itertools
import re
from collections.abc import Iterator
from io import BufferedReader
from pathlib import Path

import pytest
from nginx_rig import Rig, Upstream, ask, free_port, needs_nginx, private_nginx, render, whole_request

pytestmark = needs_nginx

HASH = "$6$saltsalt$TVLlQcbpFVof5W3Yz4DTP6gRstiNuHwwTt6GLc1E5n0U0aDehy0S5knV8wiOQSpT0Y77vwPZN.Pq.H91p5hVO1"
LIMITS = {"requests": "1r/m", "burst": 0}
SITES = {
    "town": {"aliases": {"/static/": "app/static"}, "micro_cache": {"seconds": 60}, "limits": {"requests": "900r/s"}},
    "blog": {
        "server_names": ["town.test"], "path": "/blog", "aliases": {"/static/": "app/static"}, "server": "uwsgi",
        "locations": {"/ben/": {"basic_auth": {"ben": HASH}, "limits": LIMITS}, "/far/": {"allow": ["192.0.2.1"]}},
    },
    "quick": {"server": "uwsgi", "aliases": {"/static/": "app/static"}},
}  # fmt: skip
TARGETS = [
    "/blog/", "/blog/ben/x", "/blog/far/x", "/blog/static/of.txt", "/static/of.txt", "/static/.again", "/",
    "@blog_by_http", "@quick_by_http", "/.sites-errors/html", "/.sites-errors/maintenance", "/nowhere",
]  # fmt: skip


class Taken(Upstream):
    """A compromised app: it sends the X-Accel headers of the URL."""

    def __init__(self, path: Path, name: str) -> None:
        super().__init__(path)
        self.name, self.heard = name, 0

    def respond(self, stream: BufferedReader) -> bytes:
        # The uwsgi protocol has a header of four bytes with the length of the rest.
        head = stream.peek(4)[:4]
        of_uwsgi = head[:1] == b"\0"
        request = stream.read(4 + int.from_bytes(head[1:3], "little")) if of_uwsgi else whole_request(stream)
        self.heard += 1
        to = re.search(rb"to=([^!]*)!", request)
        lines = f"X-Accel-Redirect: {to[1].decode()}\r\n" if to else ""
        words = f"of {self.name}"
        lines += f"Content-Length: {len(words)}\r\nConnection: close\r\n\r\n"
        return f"HTTP/1.1 200 OK\r\n{lines}{words}".encode()


@pytest.fixture
def hosted() -> Iterator[tuple[int, dict[str, Taken]]]:
    for rig in private_nginx():
        yield from started(rig)


def started(rig: Rig) -> Iterator[tuple[int, dict[str, Taken]]]:
    port, apps = free_port(), {}
    pages = {
        name: {"server_names": [f"{name}.test"], "source": {"path": "app"}, "http_port": port} | keys
        for name, keys in SITES.items()
    }
    rig.install(*render(pages, nginx_worker_processes=1))
    for name in SITES:
        root = rig.site(name)
        (root / "releases/two/app/static/of.txt").write_text(f"a file of {name}")
        apps[name] = Taken(root / "slots/blue/sock", name)
    # A release that uses the uwsgi protocol.
    (rig.folder / "srv/quick/releases/two/uwsgi.ini").touch()
    apps["uwsgi"] = Taken(rig.folder / "srv/quick/slots/blue/uwsgi.sock", "quick")
    for app in apps.values():
        app.start()
    assert rig.test() == ""
    rig.start()
    yield port, apps
    for app in apps.values():
        app.listener.close()


def test_x_accel_redirect_of_the_app_is_ignored(hosted: tuple[int, dict[str, Taken]]) -> None:
    """Neither to restricted sites below, nor to internal files and pages, nor from the cache."""
    port, apps = hosted
    for site, target, time in itertools.product(("town", "quick"), TARGETS, ("first", "again")):
        answer = ask(port, f"/?to={target}!", f"{site}.test")
        assert answer.split()[1] == "200" and answer.endswith(f"of {site}"), f"{site}: {target}, {time}"
        assert "a file of" not in answer and "X-Accel" not in answer
    assert apps["blog"].heard == 0 and apps["town"].heard and apps["uwsgi"].heard
    assert ask(port, "/static/of.txt", "town.test").endswith("a file of town"), "a client still gets the files"
