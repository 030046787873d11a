"""A site changes from gunicorn to uWSGI and back under load behind nginx."""

from __future__ import annotations

import os
import signal
import socket
from collections.abc import Iterator

import pytest
from nginx_rig import Rig, ask, needs_nginx, private_nginx
from shop_under_load import Clients, Shop, booked
from supervised import Host, eventually

from ansible_collections.wsgi.sites.plugins.module_utils.releases import deployment


@pytest.fixture
def rig() -> Iterator[Rig]:
    yield from private_nginx()


@needs_nginx
@pytest.mark.parametrize("page", ["uwsgi", "gunicorn"])
def test_a_change_of_server_and_back_loses_and_repeats_no_request(host: Host, rig: Rig, page: str) -> None:
    """With either order of the switch and nginx's new configuration."""
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
            ask(shop.port)  # nginx has decided on the other one by now, since a later one has a response
            shop.deploy(server)
            peer.sendall(b"cd")
            answer = b"".join(iter(lambda peer=peer: peer.recv(65536), b"")).decode()
        assert answer.startswith("HTTP/1.1 200"), answer
        assert answer.endswith(server)
    assert booked(shop.book) == {"/to-gunicorn": 1, "/to-uwsgi": 1}


@needs_nginx
@pytest.mark.parametrize("server", ["gunicorn", "uwsgi"])
def test_a_run_killed_around_the_switch_leaves_a_working_site(host: Host, rig: Rig, server: str) -> None:
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
