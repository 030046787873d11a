"""Site keys that differ from the defaults are in effect."""

from __future__ import annotations

import base64
import json
from concurrent.futures import ThreadPoolExecutor

import pytest
from support import SITES, Machine, Site, run_playbook, wait_until


@pytest.fixture
def wordbook(machine: Machine) -> Site:
    """The Flask site: sync, with another user and another root."""
    return Site(machine, "wordbook", SITES["wordbook"])


@pytest.fixture
def handbook(machine: Machine) -> Site:
    """The plain WSGI site: gevent, with a listener of its own and an override."""
    return Site(machine, "handbook", SITES["handbook"])


@pytest.fixture
def leaflet(machine: Machine) -> Site:
    """The plain WSGI site on Debian's uWSGI."""
    return Site(machine, "leaflet", SITES["leaflet"])


def test_each_site_runs_with_its_own_worker_class(wordbook: Site, handbook: Site) -> None:
    for site, worker in ((wordbook, "sync"), (handbook, "gevent")):
        log = site.machine.output("cat /var/log/%s/server.log", site.name)
        assert log.rpartition("Using worker: ")[2].split()[0] == worker


def test_workers_start_when_requests_wait(wordbook: Site) -> None:
    with ThreadPoolExecutor(12) as pool:
        requests = [pool.submit(wordbook.get, "/probe?seconds=2", timeout=60) for _ in range(12)]
        wait_until(lambda: len(wordbook.workers) > 2, "there are more workers")
        answers = [each.result() for each in requests]
    assert {answer.status for answer in answers} == {200}
    assert len({answer.json["pid"] for answer in answers}) > 2
    assert "waiting)" in wordbook.machine.output("cat /var/log/wordbook/scaler.log")


def test_the_stats_socket_of_debians_uwsgi_lists_the_workers(leaflet: Site) -> None:
    machine = leaflet.machine
    assert machine.output("ps -o args= -p %s", str(leaflet.master)).startswith("/usr/bin/uwsgi ")
    read = "import socket, sys; s = socket.socket(socket.AF_UNIX); s.connect(sys.argv[1]); print(s.makefile().read())"
    stats = f"{leaflet.root}/shared/data/uwsgi-{leaflet.slot}.stats"
    status = json.loads(machine.output("runuser -u %s -- python3 -c %s %s", leaflet.user, read, stats))
    assert {worker["pid"] for worker in status["workers"]} == leaflet.workers


def test_names_may_have_a_wildcard(wordbook: Site) -> None:
    assert wordbook.machine.ask("/healthz", "any.wordbook.test", wordbook.port).json["site"] == "wordbook"


def test_every_value_of_the_environment_arrives_unchanged(wordbook: Site) -> None:
    # Not even root may read it from a running server, so a command that the launcher starts in the same way prints it.
    greeting = wordbook.machine.output("/usr/local/lib/sites/launcher %s run -- printenv GREETING", wordbook.root)
    assert greeting == SITES["wordbook"]["env"]["GREETING"]


def test_an_upload_over_the_limit_is_refused_before_python(wordbook: Site) -> None:
    assert wordbook.get("/", Content_Length=str(2 * 1024 * 1024)).status == 413


def test_headers_passwords_and_redirects_of_the_site_config_are_in_effect(wordbook: Site) -> None:
    page = wordbook.get("/")
    assert page.headers["X-Frame-Options"] == "DENY" and not page.headers["Permissions-Policy"]
    assert "default-src 'self'" in page.headers["Content-Security-Policy"]
    assert wordbook.get("/closed/").status == 401
    with_password = base64.b64encode(b"anna:only-for-tests").decode()
    assert wordbook.get("/closed/", Authorization=f"Basic {with_password}").status == 404
    assert wordbook.get("/old/1").headers["Location"] == "/words/1"


def test_only_nginx_reads_the_password_hashes(wordbook: Site) -> None:
    assert wordbook.machine.output("stat -c '%U:%G %a' /etc/wordbook/htpasswd:closed:") == "root:www-data 640"
    assert not wordbook.machine.succeeds_as(wordbook.user, "cat", "/etc/wordbook/htpasswd:closed:")


def test_a_masked_path_is_not_logged(wordbook: Site) -> None:
    wordbook.get("/account/reset/a-secret-key", Referer="http://wordbook.test/account/confirm/a-secret-key")
    log = wordbook.machine.output("cat /var/log/wordbook/access.log")
    assert "/account/reset/***" in log and "/account/confirm/***" in log and "a-secret-key" not in log


@pytest.mark.parametrize(("name", "port"), [("handbook", 5000), ("leaflet", 5001)])
def test_a_configured_listener_is_reached_without_nginx(machine: Machine, name: str, port: int) -> None:
    answer = machine.ask("/healthz", f"{name}.test", port)
    assert answer.json["release"] == Site(machine, name, SITES[name]).release
    assert "nginx" not in answer.headers.get("Server", "")


@pytest.mark.parametrize(("name", "port"), [("handbook", 5000), ("leaflet", 5001)])
def test_a_direct_client_cannot_forge_its_address(machine: Machine, name: str, port: int) -> None:
    answer = machine.ask("/whoami", f"{name}.test", port, X_Forwarded_For="203.0.113.9", X_Forwarded_Proto="https")
    assert answer.json["remote_addr"] == answer.client
    assert answer.json["scheme"] == "http"


def test_static_files_are_served_precompressed(wordbook: Site) -> None:
    plain = wordbook.get("/static/style.css")
    for encoding, suffix in (("br", "br"), ("gzip", "gz")):
        packed = wordbook.get("/static/style.css", Accept_Encoding=encoding)
        file = f"{wordbook.root}/live/release/app/static/style.css.{suffix}"
        assert packed.headers["Content-Encoding"] == encoding
        assert len(packed.body) == int(wordbook.machine.output("stat -c %%s %s", file)) < len(plain.body)
        assert "Accept-Encoding" in packed.headers["Vary"]


def test_the_micro_cache_serves_clients_without_cookies(wordbook: Site) -> None:
    assert wordbook.get("/kept/x").headers["X-Cache"] in ("MISS", "HIT")
    assert wordbook.get("/kept/x").headers["X-Cache"] == "HIT"
    assert wordbook.get("/kept/x", Cookie="a=b").headers["X-Cache"] == "BYPASS"
    assert wordbook.machine.output("stat -c '%U %a' /var/cache/nginx-wordbook") == "www-data 700"
    assert wordbook.get("/").headers["X-Cache"] is None


def test_an_override_fills_blocks_and_keeps_the_rest(handbook: Site) -> None:
    assert handbook.get("/robots.txt").body == b"User-agent: *\nDisallow: /\n"
    assert handbook.get("/pages/hello.html").headers["X-Handbook"] is None, "a location with its own headers"
    assert handbook.get("/healthz").headers["X-Handbook"] == "by an override"
    assert handbook.get("/whoami").json["remote_addr"]


def test_the_status_table_shows_every_site_and_its_health(machine: Machine) -> None:
    table = run_playbook("playbooks/status.yml", machine=machine).output
    for name, entry in SITES.items():
        site = Site(machine, name, entry)
        line = next(line for line in table.splitlines() if f" {name} " in line)
        assert line.split()[:5] == [machine.name, name, site.slot, site.release, "folder"]
        # The autoscaler is a process.
        processes = "1/1" if entry.get("workers_min") else "-"
        assert line.split()[-3:] == ["yes", processes, f"http://{site.server_name}:8080/"]
