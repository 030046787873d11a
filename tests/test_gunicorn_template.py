"""gunicorn's config as Ansible renders it, read by gunicorn's own loader."""

from __future__ import annotations

import runpy
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import pytest
from gunicorn.config import Config
from nginx_rig import evaluate, role_variables


def config(folder: Path, **keys: Any) -> dict[str, Any]:
    """What the rendered file says, after gunicorn's own checks of each setting."""
    site = {"server_names": ["shop.test"], "source": {"path": "app"}, **keys}
    variables = role_variables({"shop": site}, site_name="shop")
    path = folder / "gunicorn.conf.py"
    path.write_text(evaluate("lookup('layered', 'gunicorn/gunicorn.conf.py.j2', site=site_entry)", variables))
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
    assert "post_worker_init" not in config(tmp_path, proxy_fix=False)
