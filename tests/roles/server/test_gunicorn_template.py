"""gunicorn's config as Ansible renders it, loaded by gunicorn."""

from __future__ import annotations

import runpy
import socket
import subprocess
import sys
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import pytest
from certificates import make
from gunicorn.config import Config
from nginx_rig import client
from supervised import START, server_files, worker_settings

from ansible_collections.wsgi.sites.plugins.module_utils.runtime import workers


def config(folder: Path, **keys: Any) -> dict[str, Any]:
    """The settings of the rendered file, validated by gunicorn."""
    for name, text in server_files(source={"path": "app"}, **keys).items():
        (folder / name).write_text(text)
    found = runpy.run_path(str(folder / "gunicorn.conf.py"))
    settings = Config()
    for name in found.keys() & settings.settings.keys():
        settings.set(name, found[name])
    return {**found, "cfg": settings}


def served(found: dict[str, Any], **environ: str) -> dict[str, Any]:
    """A request as the app sees it in a worker."""
    seen: dict[str, Any] = {}
    worker = SimpleNamespace(wsgi=lambda environ, _: seen.update(environ) or [])
    found["post_worker_init"](worker)
    worker.wsgi({"REMOTE_ADDR": "", "SCRIPT_NAME": "", "wsgi.url_scheme": "http", **environ}, None)
    return seen


def client_of(found: dict[str, Any], peer: str, **headers: str) -> tuple[str, str]:
    """Address and scheme of the client that the app sees."""
    headers = {f"HTTP_X_FORWARDED_{name.upper()}": value for name, value in headers.items()}
    seen = served(found, REMOTE_ADDR=peer, **headers)
    return seen["REMOTE_ADDR"], seen["wsgi.url_scheme"]


def test_no_client_of_a_tcp_listener_is_trusted_by_default(tmp_path: Path) -> None:
    found = config(tmp_path, bind=["127.0.0.1:9000"])
    assert found["cfg"].forwarded_allow_ips == [], "every local user could set SCRIPT_NAME and the scheme"
    assert client_of(found, "127.0.0.1", **{"for": "6.6.6.6"}, proto="https") == ("127.0.0.1", "http")


def test_nginx_on_the_socket_is_trusted_for_one_hop(tmp_path: Path) -> None:
    assert client_of(config(tmp_path), "", **{"for": "6.6.6.6, 192.0.2.7"}, proto="https") == ("192.0.2.7", "https")


@pytest.mark.parametrize("peer", ["10.1.2.3", "::ffff:10.1.2.3", "2001:db8::7", "192.0.2.1"])
def test_named_proxies_are_trusted_also_as_networks(tmp_path: Path, peer: str) -> None:
    found = config(tmp_path, trusted_proxies=["10.0.0.0/8", "2001:db8::/32", "192.0.2.1"])
    assert client_of(found, peer, **{"for": "198.51.100.9"}, proto="https") == ("198.51.100.9", "https")
    assert client_of(found, "192.0.2.2", **{"for": "198.51.100.9"}, proto="https") == ("192.0.2.2", "http")


def test_an_app_may_read_the_headers_itself(tmp_path: Path) -> None:
    found = config(tmp_path, proxy_fix=False)
    assert client_of(found, "", **{"for": "192.0.2.7"}, proto="https") == ("", "http")


APP = "def app(environ, start):\n    start('200 OK', [('Content-Length', '6')])\n    return [b'served']\n"


@pytest.fixture(params=["sync", "gthread"])
def encrypted(request, tmp_path: Path):
    """A server with TLS on its socket and on a listener that requests a certificate of `authority`."""
    authority = make(authority=True, common_name="clients")
    (tmp_path / "ca.pem").write_text(authority.pem)
    certfile, keyfile = make("shop.test").put(tmp_path, "server")
    tls = {"certfile": certfile, "keyfile": keyfile, "ca_certs": str(tmp_path / "ca.pem")}
    config(tmp_path, gunicorn=tls, worker_class=request.param, workers=1)
    (tmp_path / "app.py").write_text(APP)
    with socket.socket(socket.AF_UNIX) as slot, socket.create_server(("127.0.0.1", 0)) as listener:
        slot.bind(str(tmp_path / "sock"))
        slot.listen()
        handles = slot.fileno(), listener.fileno()
        command = [sys.executable, "-c", START, *map(str, handles), "--config", "gunicorn.conf.py", "app:app"]
        with subprocess.Popen(command, cwd=tmp_path, pass_fds=handles, stderr=subprocess.DEVNULL) as server:
            yield tmp_path / "sock", listener.getsockname(), authority
            server.terminate()


def answer(where: Path | tuple[str, int], show: tuple[str, str] | None = None) -> bytes:
    """The response at the slot's socket or at the listener, optionally with a client certificate."""
    family = socket.AF_UNIX if isinstance(where, Path) else socket.AF_INET
    with socket.socket(family) as plain:
        plain.settimeout(30)
        plain.connect(str(where) if isinstance(where, Path) else where)
        with client(show=show).wrap_socket(plain) as peer:
            peer.sendall(b"GET / HTTP/1.1\r\nHost: shop.test\r\nConnection: close\r\n\r\n")
            return b"".join(iter(lambda: peer.recv(65536), b""))


def test_clients_of_a_listener_show_a_certificate_and_nginx_on_the_socket_needs_none(encrypted, tmp_path: Path) -> None:
    slot, listener, authority = encrypted
    assert answer(slot).endswith(b"served")
    assert answer(listener, make(by=authority, common_name="ada").put(tmp_path, "ada")).endswith(b"served")
    with pytest.raises(OSError):
        answer(listener)
    stranger = make(by=make(authority=True, common_name="clients"), common_name="eve").put(tmp_path, "eve")
    with pytest.raises(OSError):
        answer(listener, stranger)


@pytest.mark.parametrize("proxy_fix", [True, False])
@pytest.mark.parametrize(
    ("asked", "inside"),
    [("/blog/words", "/words"), ("/blog/", "/"), ("/blog", ""), ("/healthz", "/healthz"), ("/blogger", "/blogger")],
)
def test_the_app_is_told_its_path_whatever_a_client_says(
    tmp_path: Path, proxy_fix: bool, asked: str, inside: str
) -> None:
    forged = {"HTTP_SCRIPT_NAME": "/evil", "HTTP_X_SCRIPT_NAME": "/evil", "HTTP_X_FORWARDED_PREFIX": "/evil"}
    seen = served(config(tmp_path, path="/blog", proxy_fix=proxy_fix), PATH_INFO=asked, **forged)
    assert (seen["SCRIPT_NAME"], seen["PATH_INFO"]) == ("/blog", inside)


def test_without_a_path_the_app_is_at_the_root(tmp_path: Path) -> None:
    seen = served(config(tmp_path), PATH_INFO="/blog/words")
    assert (seen["SCRIPT_NAME"], seen["PATH_INFO"]) == ("", "/blog/words")


@pytest.mark.parametrize(
    ("keys", "cpus", "count", "threads"),
    [
        ({}, 2, 5, 4),
        ({}, 1, 3, 4),
        ({"workers_max": 4}, 8, 4, 4),
        ({"workers": 2, "threads": "auto"}, 4, 2, 4),
        ({"threads": "auto"}, 4, 9, 1),
        ({"worker_class": "sync", "threads": 8}, 2, 5, 1),
        ({"worker_class": "gevent", "threads": 8}, 2, 5, 1),
        ({"workers_min": 2, "threads": 3}, 2, 2, 3),
    ],
)
def test_gunicorn_uses_the_workers_and_threads_of_the_launcher(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, keys: dict[str, Any], cpus: int, count: int, threads: int
) -> None:
    for name, value in workers.environment(worker_settings(**keys), cpus).items():
        monkeypatch.setenv(name, value)
    found = config(tmp_path, **keys)["cfg"]
    assert (found.workers, found.threads) == (count, threads)


def test_the_autoscaled_slot_starts_with_the_workers_of_the_live_one(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    keys = {"workers_min": 2, "threads": 3}
    for name, value in workers.environment(worker_settings(**keys), cpus=2, running=4).items():
        monkeypatch.setenv(name, value)
    found = config(tmp_path, **keys)["cfg"]
    assert (found.workers, found.threads) == (4, 3)


def test_without_a_launcher_gunicorns_own_defaults_apply(tmp_path: Path) -> None:
    found = config(tmp_path, workers=7)
    assert not {"workers", "threads", "worker_connections"} & found.keys()
    assert found["cfg"].workers == Config().workers


def test_a_default_file_is_short(tmp_path: Path) -> None:
    config(tmp_path)
    assert len((tmp_path / "gunicorn.conf.py").read_text().splitlines()) <= 50


@pytest.mark.parametrize(
    ("keys", "connections", "keepalive"),
    [
        ({}, 4, 0),
        ({"threads": 2}, 2, 0),
        ({"bind": ["127.0.0.1:9000"]}, 1000, 5),
        ({"worker_class": "gevent"}, 1000, 5),
        ({"worker_class": "gevent", "workers_min": 1}, 1000, 0),
    ],
)
def test_behind_nginx_alone_a_worker_accepts_one_connection_a_thread(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, keys: dict[str, Any], connections: int, keepalive: int
) -> None:
    for name, value in workers.environment(worker_settings(**keys), cpus=2).items():
        monkeypatch.setenv(name, value)
    found = config(tmp_path, **keys)["cfg"]
    assert (found.worker_connections, found.keepalive) == (connections, keepalive)
