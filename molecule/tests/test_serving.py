"""Responses to a client on the network, through nginx."""

from __future__ import annotations

import ssl
from collections.abc import Iterator
from contextlib import contextmanager

import pytest
from support import Machine, Site, wait_until


def test_a_request_reaches_the_right_site_and_its_live_release(site: Site) -> None:
    health = site.get("/healthz")
    assert health.status == 200
    assert health.json["status"] == "ok"
    assert health.json["site"] == site.name
    assert health.json["release"] == site.release


def test_the_app_sees_the_client_itself(site: Site) -> None:
    answer = site.get("/whoami")
    assert answer.json["remote_addr"] == answer.client
    assert answer.json["scheme"] == site.scheme
    assert answer.json["host"].split(":")[0] == site.server_name


def test_forged_forwarding_headers_do_not_reach_the_app(site: Site) -> None:
    answer = site.get(
        "/whoami",
        X_Forwarded_For="203.0.113.9, 198.51.100.7",
        X_Forwarded_Proto="gopher",
        X_Forwarded_Host="forged.test",
        X_Real_IP="203.0.113.9",
        Forwarded='for=203.0.113.9;proto=https;host="forged.test"',
    )
    assert answer.json["remote_addr"] == answer.client
    assert answer.json["scheme"] == site.scheme
    assert answer.json["host"].split(":")[0] == site.server_name
    assert answer.json["forwarded_for"] == answer.client


def test_a_request_for_an_unknown_name_gets_no_site(machine: Machine, site: Site) -> None:
    tls = site.scheme == "https"
    with pytest.raises(ssl.SSLError if tls else ConnectionResetError):
        machine.ask("/", "unknown.test", site.port, tls=tls)


def test_each_request_is_logged_with_its_timings_and_its_id(site: Site) -> None:
    request_id = site.get("/healthz").headers["X-Request-ID"]
    line = wait_until(
        lambda: site.machine.host.run("grep -F %s /var/log/%s/access.log", request_id, site.name).stdout,
        "the request is logged",
    )
    assert '"GET /healthz HTTP/1.1" 200' in line
    assert "upstream_time=0." in line


@contextmanager
def stopped(site: Site) -> Iterator[None]:
    """Stop all processes of the site, so that Python cannot respond."""
    pids = " ".join(map(str, sorted(site.processes)))
    site.machine.output(f"kill -STOP {pids}")
    try:
        yield
    finally:
        site.machine.output(f"kill -CONT {pids}")


def test_static_files_come_from_nginx_without_python(site: Site) -> None:
    if "/static/" not in site.entry.get("aliases", {}):
        pytest.skip(f"{site.name} has no static files")
    with stopped(site):
        css = site.get("/static/style.css")
        assert css.status == 200
        assert css.headers["Content-Type"].startswith("text/css")
        assert f"max-age={site.entry.get('static_max_age', 3600)}" in css.headers["Cache-Control"]
        with pytest.raises(TimeoutError):
            site.get("/healthz", timeout=1)
    wait_until(site.is_healthy, f"{site.name} is healthy again")


def test_text_is_served_as_utf_8(site: Site) -> None:
    assert "charset=utf-8" in site.get("/").headers["Content-Type"].lower()
