"""Access rules, limits, headers and request validation of a real nginx."""

from __future__ import annotations

import functools
import json
import re
import socket
from collections.abc import Iterator
from contextlib import ExitStack, contextmanager
from select import select
from socket import MSG_PEEK
from typing import Any

import certificates
import pytest
from hostile import FORGED, SHAPES, over_http2
from http2 import Conversation, pseudo
from nginx_app import ALIASES, ANNA, HASH, SECURITY, App, header, serve
from nginx_rig import (
    NGINX,
    Rig,
    ask,
    client,
    evaluate,
    free_port,
    needs_nginx,
    private_nginx,
    render,
    role_variables,
    say,
    wait_for,
)

from ansible_collections.wsgi.sites.plugins.module_utils.system.kernel import nginx_version

pytestmark = needs_nginx

BALANCER, CLIENT, OTHER = "127.0.0.9", "127.0.0.1", "127.0.0.2"
APR1 = "$apr1$saltsalt$LrttParrLPdxvgutaSXWJ0"
BEN = "Authorization: Basic YmVuOnNlY3JldA==\r\n"
# A listener for HTTP/2 beside plain HTTP.
HTTPS = {"mode": "provided", "redirect": False}
SITES: dict[str, dict[str, Any]] = {
    "shop": {
        "tls": HTTPS,
        "aliases": ALIASES,
        "redirects": {"/old": "/new", "/was/": "/is/", "/top/": "/", "/far": "https://a.test/x"},
    },
    "quiet": {"headers": {"X-Frame-Options": "", "X-Robots-Tag": "noindex"}, "aliases": ALIASES},
    "balanced": {"trusted_balancers": [BALANCER], "allow": ["198.51.100.0/24", "203.0.113.7"]},
    "believing": {"tls": HTTPS, "trusted_balancers": [BALANCER, "10.0.0.0/8"]},
    "closed": {
        "deny": [OTHER],
        "allow": ["127.0.0.0/8"],
        "basic_auth": {"anna": HASH},
        "aliases": ALIASES,
        "locations": {
            "/open/": {"allow": [], "deny": [], "basic_auth": {}},
            "/ben/": {"basic_auth": {"ben": APR1}},
            # A colon is special to nginx: neither site shares its passwords with the other.
            "/a/b": {"basic_auth": {"anna": HASH}},
            "/a:b": {"basic_auth": {"ben": APR1}, "limits": {"requests": "100r/s", "connections": 9}},
            "/static/": {"basic_auth": {}, "allow": []},
            "/exact": {"allow": [OTHER], "deny": []},
        },
    },
    "limited": {
        "limits": {"requests": "1r/m", "burst": 2, "connections": 1},
        "aliases": ALIASES,
        "locations": {
            "/login": {"limits": {"requests": "1r/m", "burst": 0}},
            "/free/": {"limits": {}},
            "/hook": {"limits": {}},
        },
    },
    "live": {
        "proxy_timeout": 1,
        "locations": {
            "/events/": {"stream": True},
            "/upload/": {"client_max_body_size": "1k"},
            "/patient/": {"proxy_timeout": 30},
        },
    },
    "masked": {"mask_paths": ["/account/reset/", "/confirm/"]},
    "town": {"deny": [OTHER], "aliases": ALIASES},
    "blog": {
        "server_names": ["town.test"],
        "path": "/blog",
        "aliases": ALIASES,
        "headers": {"X-Robots-Tag": "noindex"},
        "redirects": {"/old": "/new", "/was/": "/is/", "/far": "https://a.test/"},
        "locations": {"/ben/": {"basic_auth": {"ben": APR1}}, "/hello": {"deny": []}, "/ws/": {"stream": True}},
        "mask_paths": ["/reset/"],
    },
    "alone": {"path": "/a/b"},
    "starred": {"server_names": ["*.starred.test", "::1"]},
}


class Host:
    """One nginx with all of these sites."""

    def __init__(self, rig: Rig, stack: ExitStack) -> None:
        self.rig, self.port, self.https = rig, free_port(), free_port()
        self.apps: dict[str, App] = {}
        ports = {"http_port": self.port, "https_port": self.https}
        sites = {
            name: {"server_names": [f"{name}.test"], "source": {"path": "app"}, **ports} | keys
            for name, keys in SITES.items()
        }
        files, links = render(sites, nginx_worker_processes=1, nginx_version=nginx_version(NGINX))
        rig.install(files, links)
        for name in sites:
            self.apps[name] = serve(rig, name, stack)
            self.passwords(sites, name)
            certificates.place(rig.folder / f"etc/{name}/tls", certificates.make(f"{name}.test"))
        assert rig.test() == ""
        rig.start()

    def passwords(self, sites: dict[str, Any], name: str) -> None:
        """As `nginx_config` writes them, which has tests of its own."""
        for path, users in evaluate("__nginx_site.passwords", role_variables(sites, site_name=name)).items():
            file = self.rig.folder / path.lstrip("/")
            file.parent.mkdir(parents=True, exist_ok=True)
            file.write_text("# a comment\n" + "".join(f"{user}:{text}\n" for user, text in users.items()))

    def ask(self, name: str, path: str = "/", version: str = "1.1", **how: str) -> str:
        if version != "2":
            return ask(self.port, path, f"{name}.test", version=version, **how)
        lines = [line.partition(": ") for line in how.pop("headers", "").splitlines()]
        with self.http2(name, **how) as conversation:
            return conversation.ask([*pseudo(path, f"{name}.test"), *((key.lower(), value) for key, _, value in lines)])

    @contextmanager
    def http2(self, name: str, source: str = CLIENT) -> Iterator[Conversation]:
        with (
            socket.create_connection(("127.0.0.1", self.https), timeout=20, source_address=(source, 0)) as plain,
            client("h2").wrap_socket(plain, server_hostname=f"{name}.test") as peer,
        ):
            yield Conversation(peer)

    def status(self, name: str, path: str = "/", **how: str) -> int:
        return int(self.ask(name, path, **how).split()[1])

    def log(self, name: str) -> str:
        return (self.rig.folder / f"var/log/{name}/access.log").read_text()


own_nginx = contextmanager(private_nginx)


@pytest.fixture(scope="module")
def host() -> Iterator[Host]:
    with own_nginx() as rig, ExitStack() as stack:
        yield Host(rig, stack)


def received(answer: str, name: str) -> list[str]:
    """All values of a header that the app received."""
    return re.findall(rf"(?im)^{name}: (.*?)\r?$", answer.split("\r\n\r\n", 1)[1])


# --- Headers for browsers ------------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("path", "status"),
    [("/", 200), ("/broken", 500), ("/static/style.css", 200), ("/static/none", 404), ("/media/photo.svg", 200),
     ("/media/.x", 404), ("/old", 301), ("/was/x", 301)],
)  # fmt: skip
def test_every_response_has_each_security_header_once(host: Host, path: str, status: int):
    answer = host.ask("shop", path)
    assert answer.startswith(f"HTTP/1.1 {status} ")
    assert {name: len(header(answer, name)) for name in SECURITY} == dict.fromkeys(SECURITY, 1)
    assert header(answer, "X-Content-Type-Options") == ["nosniff"]
    assert len(header(answer, "X-Request-ID")) == 1


def test_error_pages_have_the_security_headers_too(host: Host):
    live = host.rig.folder / "srv/shop/live"
    live.unlink()
    try:
        answer = host.ask("shop", "/")
    finally:
        live.symlink_to("slots/blue")
    assert answer.startswith("HTTP/1.1 502") and [len(header(answer, name)) for name in SECURITY] == [1] * 5
    assert "nginx/" not in answer, "nginx's version is not shown"


def test_a_header_of_the_app_replaces_the_one_of_nginx(host: Host):
    answer = host.ask("shop", "/own")
    assert header(answer, "Content-Security-Policy") == ["default-src 'none'"]
    assert header(answer, "X-Frame-Options") == ["SAMEORIGIN"]


def test_uploads_have_their_own_security_policy(host: Host):
    policy = header(host.ask("shop", "/media/photo.svg"), "Content-Security-Policy")
    assert len(policy) == 1 and "sandbox" in policy[0]


def test_headers_can_be_removed_and_added(host: Host):
    for path in ("/", "/static/style.css"):
        answer = host.ask("quiet", path)
        assert not header(answer, "X-Frame-Options") and header(answer, "X-Robots-Tag") == ["noindex"]
        assert "frame-ancestors 'self'" in header(answer, "Content-Security-Policy")[0]


def test_many_sites_with_the_longest_names_fit_into_the_hash_tables():
    site = {
        "source": {"path": "app"},
        "headers": {"x" * 50: "y"},
        "mask_paths": ["/x/"],
        "trusted_balancers": [BALANCER],
    }
    names = [f"{'s' * 27}{number}" for number in range(100, 200)]
    files, links = render({name: {**site, "server_names": [f"{name}.test"], "http_port": 8080} for name in names})
    with own_nginx() as rig:
        rig.install(files, links)
        for name in names:
            rig.site(name)
        assert rig.test() == ""


# --- The client's address ------------------------------------------------------------------------------------------

VERSIONS = ["1.0", "1.1", "2"]


@pytest.mark.parametrize("version", VERSIONS)
@pytest.mark.parametrize("name", ["shop", "believing"])
def test_forwarded_headers_of_clients_are_not_trusted(host: Host, name: str, version: str):
    answer = host.ask(name, headers=FORGED, version=version)
    assert received(answer, "X-Forwarded-For") == received(answer, "X-Real-IP") == [CLIENT]
    assert received(answer, "X-Forwarded-Proto") == ["https" if version == "2" else "http"]
    assert received(answer, "X-Forwarded-Host") == received(answer, "Host") == [f"{name}.test"]
    assert received(answer, "Forwarded") == [] and received(answer, "X-Request-ID") != ["forged"]
    assert "evil.test" not in answer


@pytest.mark.parametrize("version", VERSIONS)
def test_a_trusted_balancer_sets_address_and_scheme_of_the_client(host: Host, version: str):
    answer = host.ask("believing", headers=FORGED, version=version, source=BALANCER)
    assert received(answer, "X-Forwarded-For") == received(answer, "X-Real-IP") == ["203.0.113.7"], (
        "one hop, as without it"
    )
    assert received(answer, "X-Forwarded-Proto") == ["https"]
    assert received(answer, "X-Forwarded-Host") == ["believing.test"], (
        "the name that selected the site, for every client"
    )
    assert received(answer, "Forwarded") == [] and received(answer, "X-Request-ID") != ["forged"]
    assert re.search(r"^203\.0\.113\.7 - - .* host=believing\.test", host.log("believing"), re.MULTILINE)


@pytest.mark.parametrize(
    ("forwarded", "client"),
    [
        ("198.51.100.1, 203.0.113.7", "203.0.113.7"),
        ("198.51.100.1, 203.0.113.7, 10.1.2.3", "203.0.113.7"),
        ("evil, 203.0.113.7", "203.0.113.7"),
        ("203.0.113.7:4711", "203.0.113.7"),
        ("2001:db8::1", "2001:db8::1"),
        ("nonsense", BALANCER),
        ("", BALANCER),
    ],
)
def test_the_client_is_the_last_address_that_is_not_a_balancer(host: Host, forwarded: str, client: str):
    answer = host.ask("believing", headers=f"X-Forwarded-For: {forwarded}\r\n", source=BALANCER)
    assert received(answer, "X-Forwarded-For") == [client]


@pytest.mark.parametrize(
    ("said", "scheme"), [("http", "http"), ("HTTPS", "https"), ("https, http", "http"), ("x", "http")]
)
def test_the_scheme_of_a_balancer_is_http_or_https(host: Host, said: str, scheme: str):
    answer = host.ask("believing", headers=f"X-Forwarded-Proto: {said}\r\n", source=BALANCER)
    assert received(answer, "X-Forwarded-Proto") == [scheme]


def test_one_connection_of_a_balancer_carries_many_clients(host: Host):
    ask_one = "GET / HTTP/1.1\r\nHost: believing.test\r\n{}\r\n"
    both = ask_one.format("X-Forwarded-For: 198.51.100.1\r\n") + ask_one.format("Connection: close\r\n")
    answer = say(host.port, both, BALANCER)
    assert re.findall(r"\nX-Forwarded-For: (\S+)", answer) == ["198.51.100.1", BALANCER]


def test_access_rules_apply_to_the_real_client(host: Host):
    through = {"source": BALANCER}
    assert host.status("balanced", headers="X-Forwarded-For: 203.0.113.7\r\n", **through) == 200
    assert host.status("balanced", headers="X-Forwarded-For: 203.0.113.8\r\n", **through) == 403
    assert host.status("balanced", headers="X-Forwarded-For: 203.0.113.7, 203.0.113.8\r\n", **through) == 403
    assert host.status("balanced", **through) == 403
    assert host.status("balanced", headers="X-Forwarded-For: 203.0.113.7\r\n") == 403, "the client is not a balancer"


class TestProxyProtocol:
    """A listener with the PROXY protocol."""

    @pytest.fixture(scope="class")
    @staticmethod
    def port() -> Iterator[int]:
        port = free_port()
        site = {"server_names": ["shop.test"], "source": {"path": "app"}, "http_port": port}
        files, links = render({"shop": site | {"proxy_protocol": True, "trusted_balancers": [BALANCER]}})
        with own_nginx() as rig, ExitStack() as stack:
            rig.install(files, links)
            serve(rig, "shop", stack)
            assert rig.test() == ""
            rig.start()
            yield port

    @staticmethod
    def ask(port: int, proxy: str, source: str, host: str = "shop.test") -> str:
        return say(port, f"{proxy}GET / HTTP/1.1\r\nHost: {host}\r\nConnection: close\r\n{FORGED}\r\n", source)

    LINE = "PROXY TCP4 198.51.100.5 192.0.2.1 4711 80\r\n"

    def test_the_proxy_protocol_sets_the_client_and_not_the_scheme(self, port: int):
        answer = self.ask(port, self.LINE, BALANCER)
        assert received(answer, "X-Forwarded-For") == ["198.51.100.5"]
        assert received(answer, "X-Forwarded-Proto") == ["http"], (
            "a balancer with the PROXY protocol passes on the headers of clients"
        )

    def test_the_proxy_protocol_of_others_is_not_trusted(self, port: int):
        assert received(self.ask(port, self.LINE, CLIENT), "X-Forwarded-For") == [CLIENT]

    @pytest.mark.parametrize("source", [CLIENT, BALANCER])
    def test_a_connection_without_the_proxy_protocol_gets_no_answer(self, port: int, source: str):
        assert self.ask(port, "", source) == ""

    def test_an_unknown_name_gets_no_site_by_the_proxy_protocol(self, port: int):
        assert self.ask(port, self.LINE, BALANCER, "other.test") == ""


# --- Access --------------------------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("path", "source", "headers", "status"),
    [
        ("/", CLIENT, "", 401),
        ("/", CLIENT, ANNA, 200),
        ("/", CLIENT, "Authorization: Basic YW5uYTp3cm9uZw==\r\n", 401),
        ("/", CLIENT, BEN, 401),
        ("/", OTHER, ANNA, 403),
        ("/media/photo.svg", CLIENT, "", 401),
        ("/media/photo.svg", CLIENT, ANNA, 200),
        ("/media/photo.svg", OTHER, ANNA, 403),
        # A key of a path replaces that of the site; the other keys are inherited.
        ("/open/x", OTHER, "", 200),
        ("/ben/", CLIENT, BEN, 200),
        ("/ben/", CLIENT, ANNA, 401),
        ("/ben/", OTHER, BEN, 403),
        ("/a/b", CLIENT, ANNA, 200),
        ("/a/b", CLIENT, BEN, 401),
        ("/a:b", CLIENT, BEN, 200),
        ("/a:b", CLIENT, ANNA, 401),
        ("/static/style.css", CLIENT, "", 200),
        ("/static/style.css", OTHER, "", 403),
        ("/exact", CLIENT, ANNA, 403),
        ("/exact", OTHER, ANNA, 200),
        ("/exact/", OTHER, ANNA, 403),
    ],
)
def test_access_by_address_and_password(host: Host, path: str, source: str, headers: str, status: int):
    answer = host.ask("closed", path, source=source, headers=headers)
    assert answer.startswith(f"HTTP/1.1 {status} ")
    assert (status == 401) == ("WWW-Authenticate: Basic realm=" in answer)


@pytest.mark.parametrize(
    "path",
    ["/open/../secret", "/open/%2e%2e/secret", "/open/..%2fsecret", "/open//../secret", "/open/./../secret",
     "//secret", "/open%2f..%2fsecret", "/OPEN/x", "/open", "/open;/x", "/open%00/", "http://closed.test/secret",
     "/secret#/../open/x", "/secret?/open/"],
)  # fmt: skip
def test_no_spelling_of_a_path_gets_around_its_restrictions(host: Host, path: str):
    """A path that nginx matches with /open/ is below it; all others need a password or are invalid."""
    before = len(host.apps["closed"].heard)
    assert host.status("closed", path) in (301, 400, 401)
    assert len(host.apps["closed"].heard) == before


@pytest.mark.parametrize("name", ["closed", "blog"])
@pytest.mark.parametrize("way", ["..", "%2e%2E", ".%2e", "x%2f..%2f..", "x/../..", "%23/../.."])
def test_no_path_passes_through_a_restricted_location_to_another(host: Host, name: str, way: str):
    """nginx matches the normalized path, but the app sees the raw one and may serve everything below its start."""
    mount, site = ("/blog", "town") if name == "blog" else ("", name)
    before = [len(app.heard) for app in host.apps.values()]
    for end in ("open/x", "open/x?y=/../z", "open/..", "open/../"):
        answer = host.ask(site, f"{mount}/ben/{way}/{end}", headers=ANNA)
        assert answer.startswith("HTTP/1.1 400 ") and "This request cannot be read" in answer
    assert [len(app.heard) for app in host.apps.values()] == before
    assert host.status(site, f"{mount}/open/x?next=/../..", headers=ANNA) == 200
    assert host.status(site, f"{mount}/open/...x/a..b/..c", headers=ANNA) == 200


def test_an_exact_path_does_not_match_with_a_newline(host: Host):
    """A request that does not match is not limited."""
    assert [host.status("limited", "/hook", source="127.0.0.6") for _ in range(5)] == [200] * 5
    assert 429 in [host.status("limited", "/hook%0A", source="127.0.0.6") for _ in range(5)]


@pytest.mark.parametrize("sign", ["#", "?", "@", "\\", "<", '"', "%2f"])
def test_a_wildcard_matches_only_characters_of_host_names(host: Host, sign: str):
    """With a "#" there, a link that the app mails would lead to the attacker."""
    assert "\r\n\r\nGET / HTTP/1.1\r\nHost: a-b.c_d.starred.test\r\n" in ask(host.port, "/", "A-b.c_d.starred.test")
    assert ask(host.port, "/", "[::1]").startswith("HTTP/1.1 200")
    before = len(host.apps["starred"].heard)
    assert ask(host.port, "/", f"evil.test{sign}.starred.test") == "" and len(host.apps["starred"].heard) == before


# --- Limits --------------------------------------------------------------------------------------------------------


def test_clients_that_exceed_the_rate_get_429_and_others_do_not(host: Host):
    assert [host.status("limited") for _ in range(5)] == [200, 200, 200, 429, 429]
    assert host.status("limited", source=OTHER) == 200
    refused = host.ask("limited")
    assert refused.startswith("HTTP/1.1 429") and len(header(refused, "X-Frame-Options")) == 1
    assert [host.status("limited", "/static/style.css") for _ in range(5)] == [200] * 5, "files are not limited"
    assert [host.status("limited", "/free/x") for _ in range(5)] == [200] * 5
    assert [host.status("limited", "/login", source="127.0.0.5") for _ in range(2)] == [200, 429]
    assert host.status("limited", source="127.0.0.5") == 200, "a path with limits of its own is counted separately"


def test_the_simultaneous_requests_of_a_client_are_limited(host: Host):
    mine = "127.0.0.3"
    with socket.create_connection(("127.0.0.1", host.port), source_address=(mine, 0)) as waiting:
        waiting.sendall(b"GET /wait HTTP/1.1\r\nHost: limited.test\r\n\r\n")
        app = host.apps["limited"]
        wait_for(lambda: any(b"/wait" in head for head in app.heard))
        assert host.status("limited", source=mine) == 429
        assert host.status("limited", source="127.0.0.4") == 200
        assert host.status("limited", "/static/style.css", source=mine) == 200
        app.go_on.set()


def test_an_ipv6_client_is_its_whole_network():
    """A client with 2^64 addresses counts as one."""
    port = free_port()
    site = {"server_names": ["shop.test"], "source": {"path": "app"}, "http_port": port, "trusted_balancers": [CLIENT]}
    files, links = render({"shop": site | {"limits": {"requests": "1r/m", "burst": 0}, "redirects": {"/r": "/s"}}})
    with own_nginx() as rig, ExitStack() as stack:
        rig.install(files, links)
        serve(rig, "shop", stack)
        rig.start()

        def status(client: str) -> str:
            return ask(port, "/", "shop.test", headers=f"X-Forwarded-For: {client}\r\n").split()[1]

        clients = ["2001:db8:1:1::1", "2001:db8:1:1:ffff::2", "2001:db8:1:2::1", "192.0.2.1", "192.0.2.2"]
        assert [status(client) for client in clients] == ["200", "429", "200", "200", "200"]


# --- Paths ---------------------------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("path", "location"),
    [
        ("/old", "/new"),
        ("/old?a=1&b=%20", "/new?a=1&b=%20"),
        ("/far?x=1", "https://a.test/x?x=1"),
        ("/was/a/b?x=1", "/is/a/b?x=1"),
        ("/was/", "/is/"),
        ("/top/a", "/a"),
    ],
)
def test_redirects_keep_the_query(host: Host, path: str, location: str):
    answer = host.ask("shop", path)
    assert answer.startswith("HTTP/1.1 301") and header(answer, "Location") == [location]


@pytest.mark.parametrize("path", ["/top/%5cevil.test", "/top//evil.test", "/top/%2fevil.test", "/top/%2f%2fevil.test"])
def test_redirects_stay_on_the_host(host: Host, path: str):
    places = header(host.ask("shop", path), "Location")
    assert not [place for place in places if re.match(r"[/\\]{2}|\w+:", place)], places


def test_redirects_cannot_be_split_into_headers(host: Host):
    for path in ("/was/x%0d%0aSet-Cookie:%20a=b", "/old?x=%0d%0aSet-Cookie:%20a=b", "/top/x%0aSet-Cookie:a=b"):
        assert not header(host.ask("shop", path), "Set-Cookie")


def test_redirects_match_whole_paths(host: Host):
    assert host.status("shop", "/older") == host.status("shop", "/old/x") == 200


def test_a_path_has_a_body_size_and_a_timeout_of_its_own(host: Host):
    def send(path: str, size: int) -> int:
        body = "x" * size
        head = f"POST {path} HTTP/1.1\r\nHost: live.test\r\nConnection: close\r\nContent-Length: {size}\r\n\r\n"
        return int(say(host.port, head + body).split()[1])

    assert (send("/upload/x", 2000), send("/upload/x", 1000), send("/x", 2000)) == (413, 200, 200)
    files, _ = render({"live": {"server_names": ["live.test"], "source": {"path": "app"}, **SITES["live"]}})
    text = files["/etc/nginx/sites-available/live.conf"]
    assert re.findall(r"proxy_read_timeout (\d+)s;", text) == ["1", "3600", "30"]


def test_a_stream_is_not_buffered(host: Host):
    app = host.apps["live"]
    with socket.create_connection(("127.0.0.1", host.port), timeout=20) as peer:
        peer.sendall(b"GET /events/all HTTP/1.1\r\nHost: live.test\r\nConnection: close\r\n\r\n")
        seen = b""
        while b"first\n" not in seen:
            piece = peer.recv(4096)
            assert piece, seen
            seen += piece
        assert b"second" not in seen
        app.go_on.set()
        while piece := peer.recv(4096):
            seen += piece
    assert b"second\n" in seen


UPGRADE = "Upgrade: {}\r\nConnection: Upgrade\r\nSec-WebSocket-Key: x\r\n"


def test_a_websocket_outlasts_the_proxy_timeout(host: Host):
    with socket.create_connection(("127.0.0.1", host.port), timeout=20) as peer:
        peer.sendall(f"GET /events/ws HTTP/1.1\r\nHost: live.test\r\n{UPGRADE.format('websocket')}\r\n".encode())
        seen = b""
        while b"\r\n\r\n" not in seen:
            piece = peer.recv(4096)
            assert piece, seen
            seen += piece
        assert seen.startswith(b"HTTP/1.1 101 ")
        for number in range(2):
            peer.sendall(b"hello %d" % number)
            assert peer.recv(4096) == b"echo hello %d" % number


@pytest.mark.parametrize(("path", "protocol"), [("/x", "websocket"), ("/events/x", "h2c"), ("/x", "h2c")])
def test_connections_upgrade_only_to_websockets_and_only_on_streams(host: Host, path: str, protocol: str):
    app = host.apps["live"]
    app.go_on.set()
    before = len(app.heard)
    host.ask("live", path, headers=UPGRADE.format(protocol))
    heard = b"".join(app.heard[before:])
    assert b"Sec-WebSocket-Key" in heard and b"Upgrade" not in heard and b"\r\nConnection" not in heard


# --- Below a path --------------------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("path", "app"),
    [
        ("/", "town"), ("/blogger", "town"), ("/Blog/x", "town"), ("/blog%2e/x", "town"), ("/blog/../x", "town"),
        ("/blog/", "blog"), ("/blog/x?y=1", "blog"), ("//blog/./y", "blog"), ("/%62log/x", "blog"),
    ],
)  # fmt: skip
def test_two_sites_of_one_name_get_their_own_paths(host: Host, path: str, app: str):
    before = {name: len(host.apps[name].heard) for name in ("town", "blog")}
    assert host.status("town", path) == 200
    heard = {name: host.apps[name].heard[number:] for name, number in before.items()}
    assert [name for name in heard if heard[name]] == [app]
    assert heard[app][0].startswith(f"GET {path} HTTP/1.1\r\n".encode())
    assert f'"GET {path} HTTP/1.1" 200' in host.log(app)


def test_a_site_below_a_path_has_its_own_settings_there(host: Host):
    style = host.rig.folder / "srv/blog/releases/two/app/static/style.css"
    style.write_text("of the blog")
    assert host.ask("town", "/blog/static/style.css").endswith("of the blog")
    (host.rig.folder / "srv/blog/releases/one/app/static/app.0a1b2c3d.js").write_text("the blog's")
    host.rig.publish("blog")
    assert host.ask("town", "/blog/static/app.0a1b2c3d.js").endswith("the blog's")
    assert host.status("town", "/static/app.0a1b2c3d.js") == 404
    assert host.ask("town", "/static/style.css").endswith("body {}")
    for path, place in (("/blog?x=1", "/blog/?x=1"), ("/blog/old", "/blog/new"), ("/blog/was/x", "/blog/is/x")):
        assert header(host.ask("town", path), "Location") == [place]
    assert header(host.ask("town", "/blog/far"), "Location") == ["https://a.test/"]
    answer = host.ask("town", "/blog/x")
    assert header(answer, "X-Robots-Tag") == ["noindex"] and not header(host.ask("town"), "X-Robots-Tag")
    assert [len(header(answer, name)) for name in [*SECURITY, "X-Request-ID"]] == [1] * 6
    assert received(answer, "X-Forwarded-For") == [CLIENT] and received(answer, "Host") == ["town.test"]
    assert host.status("town", "/blog/ben/") == 401 and host.status("town", "/blog/ben/", headers=BEN) == 200
    websocket = host.ask("town", "/blog/ws/", headers=UPGRADE.format("websocket"))
    assert received(websocket, "Upgrade") == ["websocket"]
    host.ask("town", "/blog/reset/t0ken")
    assert '"GET /blog/reset/*** ' in host.log("blog") and "t0ken" not in host.log("blog")


def test_restrictions_of_a_name_hold_for_sites_below_it(host: Host):
    assert host.status("town", "/blog/x", source=OTHER) == 403
    assert host.status("town", "/blog/hello", source=OTHER) == 200, "unless it says otherwise"


def test_a_site_with_its_own_name_can_stand_below_a_path(host: Host):
    assert host.status("alone", "/a/b/x") == 200
    assert header(host.ask("alone", "/a/b"), "Location") == ["/a/b/"]
    assert host.status("alone") == host.status("alone", "/a/") == host.status("alone", "/a/bc") == 404


# --- Logs ----------------------------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    "path",
    ["/account/reset/t0ken", "/confirm/t0ken?next=t0ken", "/account/reset/t0ken/a%20b", "http://masked.test/confirm/t0ken",
     "/CONFIRM/t0ken"],
)  # fmt: skip
def test_secret_paths_are_masked_in_the_log(host: Host, path: str):
    before = host.log("masked")
    host.ask("masked", path)
    host.ask("masked", "/next", headers="Referer: https://masked.test/account/reset/t0ken?x=t0ken\r\n")
    lines = host.log("masked").removeprefix(before)
    assert "t0ken" not in lines and '"https://masked.test/account/reset/***"' in lines
    assert re.search(r'"GET \S*/(account/reset|confirm|CONFIRM)/\*\*\* HTTP/1.1" \d+ ', lines)
    assert '"GET /next HTTP/1.1"' in lines


def test_an_invalid_request_line_leaves_no_secret_in_any_log(host: Host):
    assert host.status("masked", "/account/reset/t0ken/a b") == 400
    logs = list((host.rig.folder / "var/log").rglob("*.log"))
    assert logs and not [log.name for log in logs if "t0ken" in log.read_text()]


def test_clients_cannot_forge_log_lines(host: Host):
    for name in ("shop", "masked"):
        before = host.log(name)
        forged = '" 200 0 "-" "-" host=evil\\'
        host.ask(name, "/x", headers=f"User-Agent: {forged}\x1b[2J\x7f\t\r\nReferer: {forged}茶\r\n")
        line = host.log(name).removeprefix(before)
        assert line.count("\n") == 1 and line.count('"') == 6, line
        assert "\\x22" in line and "\\x5C" in line and "\x1b" not in line and line.isascii()


# --- Invalid requests ----------------------------------------------------------------------------------------------

MANY = "".join(f"X{number}: {'y' * 500}\r\n" for number in range(100))


@pytest.mark.parametrize("shape", SHAPES.values(), ids=SHAPES.keys())
def test_ambiguous_requests_are_refused_or_normalized(host: Host, shape: str):
    """Either nginx refuses it, or what the app gets is one request with one length, and no second one within it."""
    app = host.apps["shop"]
    before = len(app.heard)
    answer = say(host.port, f"POST /first HTTP/1.1\r\nHost: shop.test\r\nConnection: close\r\n{shape}")
    heard = app.heard[before:]
    assert len(heard) <= 1 and not any(head.startswith(b"POST /orders/smuggled") for head in heard)
    for head in heard:
        top = head.split(b"\r\n\r\n")[0].lower()
        assert (
            top.count(b"content-length:") == 1
            and b"transfer-encoding" not in top
            and b"\r" not in top.replace(b"\r\n", b"")
        )
    if not heard:
        assert re.match(r"HTTP/1\.1 (400|413|501) ", answer), answer


OVER_HTTP2 = over_http2("shop.test")


@pytest.mark.parametrize("shape", OVER_HTTP2.values(), ids=OVER_HTTP2.keys())
def test_http_2_requests_become_one_http_1_request_or_are_refused(host: Host, shape: tuple):
    app = host.apps["shop"]
    before = len(app.heard)
    with host.http2("shop") as conversation:
        answer = conversation.ask(*shape)
    heard = app.heard[before:]
    assert len(heard) <= 1
    for request in heard:
        head, _, body = request.partition(b"\r\n\r\n")
        first, *lines = head.lower().split(b"\r\n")
        names = [line.partition(b":")[0] for line in lines]
        assert re.fullmatch(rb"(get|post) (/first|\*) http/1\.1", first)
        assert b"host: shop.test" in lines and names.count(b"host") == 1
        assert names.count(b"content-length") == (1 if body or first.startswith(b"post") else 0)
        assert not {b"transfer-encoding", b"connection", b"upgrade"} & set(names)
        assert len(head) < 32 << 10, "as long as `nginx_header_buffers` lets it be"
        assert b"6.6.6.6" not in request and b"x-forwarded-for: 127.0.0.1" in lines and b"\n" not in b"".join(lines)
    if not heard:
        assert answer == "" or re.match(r"HTTP/2 (400|405|413|414|421|501) ", answer), answer
    assert host.ask("shop", version="2").startswith("HTTP/2 200 ")


def test_bare_newlines_are_normalized(host: Host):
    app = host.apps["shop"]
    before = len(app.heard)
    say(host.port, "GET /bare HTTP/1.1\nHost: shop.test\nConnection: close\nX: y\n\n")
    (heard,) = app.heard[before:]
    assert b"\r\nX: y\r\n" in heard and b"\n" not in heard.replace(b"\r\n", b"")


@pytest.mark.parametrize(
    "line",
    ["Content_Length: 5", "X_Forwarded_For: 6.6.6.6", "X Forwarded For: 6.6.6.6", "Scr\xefpt: 6.6.6.6", ": 6.6.6.6"],
)
def test_headers_with_invalid_names_never_reach_the_app(host: Host, line: str):
    answer = host.ask("shop", headers=f"{line}\r\n")
    assert answer.startswith("HTTP/1.1 400") or "6.6.6.6" not in answer.split("\r\n\r\n", 1)[1]
    assert "Content_Length" not in answer


@pytest.mark.parametrize(
    ("request_text", "status"),
    [
        ("GET /{} HTTP/1.1\r\nHost: shop.test\r\n\r\n".format("x" * 9000), 414),
        ("GET / HTTP/1.1\r\nHost: shop.test\r\nX: {}\r\n\r\n".format("x" * 9000), 400),
        (f"GET / HTTP/1.1\r\nHost: shop.test\r\n{MANY}\r\n", 400),
        ("GET / HTTP/1.1\r\n\r\n", 400),
        ("GET / HTTP/1.1\r\nHost: shop.test\r\nHost: other.test\r\n\r\n", 400),
        ("GET / HTTP/1.1\r\nHost: shop.test/x\r\n\r\n", 400),
        ("GET / HTTP/1.1 x\r\nHost: shop.test\r\n\r\n", 400),
        ("GET / HTTP/3.7\r\nHost: shop.test\r\n\r\n", 505),
        ("get / HTTP/1.1\r\nHost: shop.test\r\n\r\n", 400),
        ("CONNECT / HTTP/1.1\r\nHost: shop.test\r\n\r\n", 405),
        ("TRACE / HTTP/1.1\r\nHost: shop.test\r\n\r\n", 405),
        ("\x16\x03\x01\x02", 400),
    ],
    ids=["long line", "long header", "many headers", "no host", "two hosts", "a path as host",
         "words after the version", "a version that is none", "a small method", "connect", "trace", "tls"],
)  # fmt: skip
def test_invalid_requests_are_answered_without_the_app(host: Host, request_text: str, status: int):
    app = host.apps["shop"]
    before = len(app.heard)
    answer = say(host.port, request_text)
    assert answer == "" or int(answer.split()[1]) == status, answer
    assert len(app.heard) == before
    assert host.status("shop") == 200


def test_password_hashes_are_in_no_file_that_others_read():
    """Only nginx's workers read the hashes; other files name the password file."""
    sites = {"closed": {"server_names": ["c.test"], "source": {"path": "app"}, **SITES["closed"]}}
    files, _ = render(sites)
    assert HASH not in json.dumps(files) and APR1 not in json.dumps(files)
    assert set(evaluate("__nginx_site.passwords", role_variables(sites, site_name="closed"))) == {
        "/etc/closed/htpasswd", "/etc/closed/htpasswd:ben:", "/etc/closed/htpasswd:a:b",
        "/etc/closed/htpasswd:a%3Ab",
    }  # fmt: skip


# --- Slow clients --------------------------------------------------------------------------------------------------

HEAD = "GET /{} HTTP/1.1\r\nHost: shop.test\r\n"
SLOW = {
    # Incomplete header; incomplete body; unread response.
    "head": (HEAD.format("slow-head"), "X: y\r\n"),
    "body": ("POST /slow-body HTTP/1.1\r\nHost: shop.test\r\nContent-Length: 100000\r\n\r\n", "x"),
    "read": (HEAD.format("static/large") + "Connection: close\r\n\r\n", ""),
}


@pytest.fixture(scope="module")
def patient() -> Iterator[tuple[Rig, int, App]]:
    """An nginx with short timeouts and few connections for one client."""
    port = free_port()
    host = {
        "nginx_worker_processes": 1, "nginx_client_connections": 20, "nginx_client_header_timeout": 3,
        "nginx_client_body_timeout": 3, "nginx_send_timeout": 3,
    }  # fmt: skip
    site = {"server_names": ["shop.test"], "source": {"path": "app"}, "http_port": port, "aliases": ALIASES}
    files, links = render({"shop": site}, **host)
    with own_nginx() as rig, ExitStack() as stack:
        rig.install(files, links)
        app = serve(rig, "shop", stack)
        with open(rig.folder / "srv/shop/releases/two/app/static/large", "wb") as large:
            large.truncate(64 << 20)
        rig.start()
        yield rig, port, app


def closed(peer: socket.socket, drip: str) -> bool:
    """Whether nginx has closed the connection; if not, send one more byte."""
    try:
        if drip:
            peer.send(drip.encode())
            return bool(select([peer], [], [], 0)[0]) and peer.recv(65536) == b""
        # A client that reads nothing still gets a reset.
        return bool(peer.getsockopt(socket.SOL_SOCKET, socket.SO_ERROR)) or tcp_state(peer) != ESTABLISHED
    except (ConnectionResetError, BrokenPipeError):
        return True


ESTABLISHED = 1


def tcp_state(peer: socket.socket) -> int:
    return peer.getsockopt(socket.IPPROTO_TCP, socket.TCP_INFO, 1)[0]


@pytest.mark.parametrize("kind", SLOW)
def test_slow_clients_do_not_block_others(patient: tuple[Rig, int, App], kind: str):
    _, port, app = patient
    first, drip = SLOW[kind]
    before = len(app.heard)
    with ExitStack() as stack:
        slow = []
        for _ in range(200):
            peer = stack.enter_context(socket.socket())
            peer.setsockopt(socket.SOL_SOCKET, socket.SO_RCVBUF, 2048)
            peer.bind((OTHER, 0))
            peer.connect(("127.0.0.1", port))
            peer.sendall(first.encode())
            slow.append(peer)
        for _ in range(20):
            assert ask(port, "/", "shop.test").startswith("HTTP/1.1 200")
            assert ask(port, "/static/style.css", "shop.test").startswith("HTTP/1.1 200")
        if kind != "head":
            # Body and response may be arbitrarily slow, but the number of connections is limited.
            refused = [peer for peer in slow if select([peer], [], [], 0)[0] and b" 429 " in peer.recv(200, MSG_PEEK)]
            assert len(refused) == 180
        assert not [head for head in app.heard[before:] if b"/slow" in head], "the app is not blocked"
        if kind != "body":
            # The whole header has a timeout, and a client that reads no response is disconnected.
            for peer in slow:
                wait_for(functools.partial(closed, peer, drip))
    assert ask(port, "/", "shop.test", source=OTHER).startswith("HTTP/1.1 200")
