"""gunicorn's config as Ansible renders it, read by gunicorn's own loader."""

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
from nginx_rig import client, evaluate, role_variables
from supervised import START


def config(folder: Path, **keys: Any) -> dict[str, Any]:
    """What the rendered file says, after gunicorn's own checks of each setting."""
    site = {"server_names": ["shop.test"], "source": {"path": "app"}, **keys}
    variables = role_variables({"shop": site}, site_name="shop")
    path = folder / "gunicorn.conf.py"
    path.write_text(
        evaluate("lookup('wsgi.sites.template', 'gunicorn/gunicorn.conf.py.j2', site=site_entry)", variables)
    )
    said = runpy.run_path(str(path))
    known = Config()
    for name in said.keys() & known.settings.keys():
        known.set(name, said[name])
    return {**said, "cfg": known}


def seen(said: dict[str, Any], peer: str, **headers: str) -> tuple[str, str]:
    """Address and scheme that the app gets to see."""
    found = {}
    app = said["one_trusted_hop"](lambda environ, _: found.update(environ) or [])
    environ = {"REMOTE_ADDR": peer, "wsgi.url_scheme": "http"}
    app(environ | {f"HTTP_X_FORWARDED_{name.upper()}": value for name, value in headers.items()}, None)
    return found["REMOTE_ADDR"], found["wsgi.url_scheme"]


def test_nobody_on_a_tcp_listener_is_believed_by_default(tmp_path: Path) -> None:
    said = config(tmp_path, bind=["127.0.0.1:9000"])
    assert said["cfg"].forwarded_allow_ips == [], "every local user could set SCRIPT_NAME and the scheme"
    assert seen(said, "127.0.0.1", **{"for": "6.6.6.6"}, proto="https") == ("127.0.0.1", "http")


def test_nginx_on_the_socket_is_believed_for_one_hop(tmp_path: Path) -> None:
    assert seen(config(tmp_path), "", **{"for": "6.6.6.6, 192.0.2.7"}, proto="https") == ("192.0.2.7", "https")


@pytest.mark.parametrize("peer", ["10.1.2.3", "::ffff:10.1.2.3", "2001:db8::7", "192.0.2.1"])
def test_named_proxies_are_believed_also_as_networks(tmp_path: Path, peer: str) -> None:
    said = config(tmp_path, trusted_proxies=["10.0.0.0/8", "2001:db8::/32", "192.0.2.1"])
    assert seen(said, peer, **{"for": "198.51.100.9"}, proto="https") == ("198.51.100.9", "https")
    assert seen(said, "192.0.2.2", **{"for": "198.51.100.9"}, proto="https") == ("192.0.2.2", "http")


def test_an_app_may_read_the_headers_itself(tmp_path: Path) -> None:
    assert "one_trusted_hop" not in config(tmp_path, proxy_fix=False)


APP = "def app(environ, start):\n    start('200 OK', [('Content-Length', '6')])\n    return [b'served']\n"


@pytest.fixture(params=["sync", "gthread"])
def encrypted(request, tmp_path: Path):
    """A server that speaks TLS on its socket and on a listener, where it asks for a certificate of `authority`."""
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
    """What a client gets at the slot's socket or at the listener, perhaps with a certificate of its own."""
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
def test_below_a_path_the_app_is_told_so_whatever_a_client_says(
    tmp_path: Path, proxy_fix: bool, asked: str, inside: str
) -> None:
    found = {}
    worker = SimpleNamespace(wsgi=lambda environ, _: found.update(environ) or [])
    config(tmp_path, path="/blog", proxy_fix=proxy_fix)["post_worker_init"](worker)
    forged = {"HTTP_SCRIPT_NAME": "/evil", "HTTP_X_SCRIPT_NAME": "/evil", "HTTP_X_FORWARDED_PREFIX": "/evil"}
    worker.wsgi({"SCRIPT_NAME": "", "PATH_INFO": asked, **forged}, None)
    assert (found["SCRIPT_NAME"], found["PATH_INFO"]) == ("/blog", inside)


def test_without_a_path_nothing_is_wrapped_for_it(tmp_path: Path) -> None:
    assert "below_path" not in config(tmp_path)


@pytest.mark.parametrize(
    ("keys", "cpus", "workers", "threads"),
    [
        ({}, "2", 5, 4),
        ({}, "1", 3, 4),
        ({"workers_max": 4}, "8", 4, 4),
        ({"workers": 2, "threads": "auto"}, "4", 2, 4),
        ({"threads": "auto"}, "4", 9, 1),
        ({"worker_class": "sync", "threads": 8}, "2", 5, 1),
        ({"worker_class": "gevent", "threads": 8}, "2", 5, 1),
    ],
)
def test_workers_follow_the_cpus_and_only_gthread_has_threads(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, keys: dict[str, Any], cpus: str, workers: int, threads: int
) -> None:
    monkeypatch.setenv("SITE_CPUS", cpus)
    found = config(tmp_path, **keys)["cfg"]
    assert (found.workers, found.threads) == (workers, threads)


def test_workers_that_follow_the_load_begin_as_the_launcher_says(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("SITE_CPUS", "2")
    keys = {"workers_min": 2, "threads": "auto", "workers": 2}
    assert config(tmp_path, **keys)["cfg"].workers == 2, "without a launcher"
    monkeypatch.setenv("SITE_WORKERS_FIRST", "4")
    found = config(tmp_path, workers_min=2, threads=3)["cfg"]
    assert (found.workers, found.threads) == (4, 3)
    assert config(tmp_path)["cfg"].workers == 5, "the page has not asked for it"


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
def test_behind_nginx_alone_a_worker_takes_no_more_than_its_threads_answer(
    tmp_path: Path, keys: dict[str, Any], connections: int, keepalive: int
) -> None:
    found = config(tmp_path, **keys)["cfg"]
    assert (found.worker_connections, found.keepalive) == (connections, keepalive)
