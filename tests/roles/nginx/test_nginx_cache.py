"""The response cache of a real nginx: keys, lifetime, and stale responses."""

from __future__ import annotations

import http.client
import re
import socketserver
import threading
from collections.abc import Callable, Iterator
from concurrent.futures import ThreadPoolExecutor
from contextlib import ExitStack, contextmanager
from pathlib import Path
from typing import Any

import pytest
from nginx_rig import Rig, ask, free_port, needs_nginx, private_nginx, render, wait_for, whole_request
from project import load

pytestmark = needs_nginx

OTHER = "127.0.0.2"
ANNA = "Authorization: Basic YW5uYTpzZWNyZXQ=\r\n"
HASH = "$6$saltsalt$TVLlQcbpFVof5W3Yz4DTP6gRstiNuHwwTt6GLc1E5n0U0aDehy0S5knV8wiOQSpT0Y77vwPZN.Pq.H91p5hVO1"
LONG = {"micro_cache": {"seconds": 60, "wait": 20}}
SITES: dict[str, dict[str, Any]] = {
    "shop": {**LONG, "locations": {"/live/": {"stream": True}, "/fresh/": {"micro_cache": {"seconds": 0}}}},
    "quick": {"micro_cache": {"seconds": 1}},
    "strict": {"micro_cache": {"seconds": 1, "stale": 0}},
    "partly": {"locations": {"/kept/": LONG}},
    "closed": {
        **LONG,
        "deny": [OTHER],
        "locations": {
            "/anna/": {"basic_auth": {"anna": HASH}},
            "/often/": {"limits": {"requests": "1r/m", "burst": 1}},
        },
    },
    "town": LONG,
    "blog": {**LONG, "server_names": ["town.test"], "path": "/blog"},
}
# Response headers of the app, by path.
HEADERS = {
    "/cookie": "Set-Cookie: session=anna",
    "/private": "Cache-Control: private, max-age=600",
    "/no-store": "Cache-Control: no-store",
    "/no-cache": "Cache-Control: no-cache",
    "/revalidate": "Cache-Control: max-age=600, must-revalidate",
    "/short": "Cache-Control: max-age=59",
    "/short-shared": "Cache-Control: max-age=600, s-maxage=5",
    "/nothing": "Cache-Control: max-age=0",
    "/twice": "Cache-Control: public\r\nCache-Control: No-Store",
    "/expired": "Expires: Thu, 01 Jan 1970 00:00:01 GMT",
    "/star": "Vary: *",
    "/long": "Cache-Control: public, max-age=600",
    "/exactly": "Cache-Control: max-age=60",
    "/both": "Cache-Control: max-age=600\r\nExpires: Thu, 01 Jan 1970 00:00:01 GMT",
    "/vary": "Vary: Accept-Language",
}
UNKEPT = ["/cookie", "/private", "/no-store", "/no-cache", "/revalidate", "/short", "/short-shared", "/nothing",
          "/twice", "/expired", "/star", "/chunked", "/endless", "/big", "/broken", "/refused"]  # fmt: skip
STATUS = {"/broken": "500 Broken", "/refused": "403 Refused", "/missing": "404 Missing", "/moved": "302 Found"}


class App(socketserver.ThreadingMixIn, socketserver.UnixStreamServer):
    """An app that numbers its responses and can be made to wait."""

    daemon_threads = True
    request_queue_size = 128

    def __init__(self, path: Path) -> None:
        self.heard: list[bytes] = []
        self.broken, self.goes = False, threading.Event()
        self.goes.set()
        super().__init__(str(path), Answer)
        path.chmod(0o666)
        threading.Thread(target=self.serve_forever, args=[0.05], daemon=True).start()

    def hold(self) -> None:
        self.goes.clear()


class Answer(socketserver.StreamRequestHandler):
    """One request."""

    server: App

    def handle(self) -> None:
        head = whole_request(self.rfile)
        if not head:
            return
        self.server.heard.append(head)
        number = len(self.server.heard)
        path = re.sub(r"^/blog", "", re.split(r"[?]", head.split()[1].decode())[0])
        self.server.goes.wait(20)
        status = "500 Broken" if self.server.broken else STATUS.get(path, "200 OK")
        lines = [f"HTTP/1.1 {status}", "Connection: close", "X-Cache: the app's", 'ETag: "1"']
        lines += [HEADERS[path]] if path in HEADERS else []
        lines += ["Content-Type: text/event-stream"] if path == "/endless" else []
        body = f"answer {number}"
        if path == "/chunked":
            lines, body = [*lines, "Transfer-Encoding: chunked"], f"{len(body):x}\r\n{body}\r\n0\r\n\r\n"
        elif path != "/endless" and not path.startswith("/live/"):
            body = body.ljust(1_000_000) if path == "/big" else body
            lines.append(f"Content-Length: {len(body)}")
        self.wfile.write(("\r\n".join(lines) + "\r\n\r\n" + body).encode())


class Host:
    """One nginx with all of these sites."""

    def __init__(self, rig: Rig, stack: ExitStack, sites: dict[str, dict[str, Any]]) -> None:
        self.rig, self.stack, self.port = rig, stack, free_port()
        self.apps: dict[str, App] = {}
        pages = {
            name: {"server_names": [f"{name}.test"], "source": {"path": "app"}, "http_port": self.port} | keys
            for name, keys in sites.items()
        }
        files, links = render(pages, nginx_worker_processes=1)
        rig.install(files, links)
        for name in sites:
            self.start(name, rig.site(name) / "slots/blue/sock")
        (rig.folder / "etc/closed").mkdir(parents=True, exist_ok=True)
        (rig.folder / "etc/closed/htpasswd:anna:").write_text(f"anna:{HASH}\n")
        assert rig.test() == ""
        rig.start()

    def start(self, name: str, path: Path) -> None:
        app = App(path)
        self.stack.callback(app.server_close)
        self.stack.callback(app.shutdown)
        self.apps[name] = app

    def ask(self, name: str, path: str, headers: str = "", host: str = "", **how: str) -> tuple[int, str, str]:
        """Status, cache status and body."""
        head, _, body = ask(self.port, path, host or f"{name}.test", headers, **how).partition("\r\n\r\n")
        said = re.findall(r"\r\nX-Cache: ([^\r]*)", head)
        return int(head.split()[1]), ",".join(said), body

    def heard(self, name: str) -> int:
        return len(self.apps[name].heard)

    def without_app(self, name: str) -> None:
        """Stop the app's listener, as after a kill."""
        self.apps[name].shutdown()
        self.apps[name].server_close()


own_nginx = contextmanager(private_nginx)


def hosted(sites: dict[str, dict[str, Any]]) -> Iterator[Host]:
    with own_nginx() as rig, ExitStack() as stack:
        yield Host(rig, stack, sites)


@pytest.fixture(scope="module")
def host() -> Iterator[Host]:
    yield from hosted(SITES)


@pytest.fixture
def own() -> Iterator[Host]:
    """An nginx of its own, for tests that change its state."""
    yield from hosted({"quick": SITES["quick"], "strict": SITES["strict"], "closed": SITES["closed"]})


def until(what: Callable[[], Any], cache: str) -> Any:
    """Repeat the request until it has this cache status."""
    return wait_for(lambda: found if (found := what())[1] == cache else None)


# --- Simultaneous clients ------------------------------------------------------------------------------------------


def crowd(host: Host, path: str, size: int = 50) -> list[tuple[int, str, str]]:
    """Send simultaneous requests while the app handles the first one."""
    app = host.apps["shop"]
    app.hold()
    with ThreadPoolExecutor(size) as clients:
        asked = [clients.submit(host.ask, "shop", path) for _ in range(size)]
        log = host.rig.folder / "var/log/shop/access.log"
        before = len(log.read_text().splitlines())
        wait_for(lambda: connected(host.port) >= size)
        assert len(log.read_text().splitlines()) == before, "no client has a response yet"
        app.goes.set()
        return [each.result() for each in asked]


def connected(port: int) -> int:
    """The number of nginx's connections there."""
    lines = Path("/proc/net/tcp").read_text().splitlines()
    return sum(1 for line in lines if line.split()[1].endswith(f":{port:04X}") and line.split()[3] == "01")


def test_fifty_simultaneous_clients_cost_the_app_one_request(host: Host):
    before = host.heard("shop")
    answers = crowd(host, "/crowd")
    assert host.heard("shop") == before + 1
    assert {(status, body) for status, _, body in answers} == {(200, f"answer {before + 1}")}
    assert sorted(said for _, said, _ in answers) == ["HIT"] * 49 + ["MISS"]


def test_an_uncacheable_page_is_fetched_for_each_of_many_clients(host: Host):
    before = host.heard("shop")
    answers = crowd(host, "/cookie?crowd", 4)
    assert host.heard("shop") == before + 4
    assert len({body for _, _, body in answers}) == 4


# --- Clients -------------------------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    "headers",
    [
        "Cookie: session=anna\r\n",
        "Cookie: 0\r\n",
        "Cookie:  \r\nCookie: a=b\r\n",
        "Authorization: Bearer token\r\n",
        "Authorization: 0\r\n",
        "Content-Length: 1\r\n\r\n0",
        "Content-Length: 2000000\r\n\r\n" + "x" * 2000000,
        "Transfer-Encoding: chunked\r\n\r\n1\r\nx\r\n0\r\n",
    ],
    ids=["cookie", "cookie 0", "two cookies", "token", "token 0", "body", "long body", "chunked body"],
)
def test_identified_clients_bypass_the_cache_and_leave_nothing_in_it(host: Host, headers: str):
    path = f"/somebody?{abs(hash(headers))}"
    first = host.ask("shop", path, headers)
    assert first[:2] == (200, "BYPASS")
    stranger = host.ask("shop", path)
    assert stranger[1] == "MISS", "nothing of the first was kept"
    again = host.ask("shop", path, headers)
    assert again[1] == "BYPASS" and len({first[2], stranger[2], again[2]}) == 3
    assert host.ask("shop", path) == (200, "HIT", stranger[2]), "nor put there"


def test_posts_reach_the_app(host: Host):
    assert host.ask("shop", "/post")[1] == "MISS"
    numbers = {host.ask("shop", "/post", method="POST")[2] for _ in range(3)}
    assert len(numbers) == 3


def test_cached_pages_of_restricted_paths_reach_no_other_client(host: Host):
    assert host.ask("closed", "/page")[:2] == (200, "MISS")
    assert host.ask("closed", "/page")[:2] == (200, "HIT")
    assert host.ask("closed", "/page", source=OTHER)[0] == 403
    first = host.ask("closed", "/anna/page", ANNA)
    assert first[:2] == (200, "BYPASS") and host.ask("closed", "/anna/page", ANNA)[2] != first[2]
    for headers in ("", "Authorization: Basic YW5uYTp3cm9uZw==\r\n"):
        assert host.ask("closed", "/anna/page", headers)[0] == 401
    # Nor by another spelling of the path.
    for path in ("/%61nna/page", "//anna/page", "/x/../anna/page", "/anna//page"):
        assert host.ask("closed", path)[0] == (400 if ".." in path else 401)


def test_limits_count_cached_responses_too(host: Host):
    assert [host.ask("closed", "/often/x")[0] for _ in range(3)] == [200, 200, 429]


def test_stale_responses_are_for_anonymous_clients_only(own: Host):
    assert own.ask("closed", "/page")[0] == 200
    own.without_app("closed")
    assert own.ask("closed", "/page")[:2] == (200, "HIT")
    assert own.ask("closed", "/page", source=OTHER)[0] == 403


# --- Cacheable responses -------------------------------------------------------------------------------------------


@pytest.mark.parametrize("path", UNKEPT)
def test_uncacheable_responses_are_not_cached(host: Host, path: str):
    answers = [host.ask("shop", path) for _ in range(3)]
    assert [said for _, said, _ in answers] == ["MISS"] * 3
    assert len({body for _, _, body in answers}) == 3


@pytest.mark.parametrize("path", ["/", "/long", "/exactly", "/both", "/missing", "/moved", "/vary"])
def test_cacheable_responses_are_cached(host: Host, path: str):
    first, *others = [host.ask("shop", f"{path}?kept") for _ in range(3)]
    assert first[1] == "MISS"
    assert others == [(first[0], "HIT", first[2])] * 2


def test_variants_by_vary_are_cached_separately(host: Host):
    german, other = (host.ask("shop", "/vary", f"Accept-Language: {each}\r\n") for each in ("de", "en"))
    assert german[2] != other[2]
    assert host.ask("shop", "/vary", "Accept-Language: de\r\n") == (200, "HIT", german[2])


def test_head_and_range_requests_use_the_cached_response(host: Host):
    assert host.ask("shop", "/whole", method="HEAD")[:2] == (200, "MISS")
    body = host.ask("shop", "/whole")[2]
    assert body.startswith("answer")
    assert host.ask("shop", "/whole", 'If-None-Match: "1"\r\n') == (304, "HIT", "")
    assert host.ask("shop", "/whole", method="HEAD") == (200, "HIT", "")


@pytest.mark.parametrize("path", ["/live/x", "/fresh/x"])
def test_a_path_can_be_excluded_from_the_cache(host: Host, path: str):
    first, second = (host.ask("shop", path) for _ in range(2))
    assert first[1] == second[1] == "" and first[2] != second[2]


def test_a_single_path_can_be_cached(host: Host):
    assert [host.ask("partly", "/kept/x")[1] for _ in range(2)] == ["MISS", "HIT"]
    assert [host.ask("partly", "/x")[1] for _ in range(2)] == ["", ""]


# --- Separation ----------------------------------------------------------------------------------------------------


def test_each_address_is_cached_separately(host: Host):
    hosts = ["shop.test", "shop.test:81", "SHOP.test:82"]
    paths = ["/apart", "/apart?", "/apart?a=1", "/apart?a=2", "/%61part", "/apart/"]
    answers = [host.ask("shop", path, host=name) for name in hosts for path in paths]
    assert {said for _, said, _ in answers} == {"MISS"}
    assert host.ask("shop", "/apart", host="SHOP.TEST")[1] == "HIT", "names are case-insensitive"


def test_two_sites_of_one_name_have_separate_caches(host: Host):
    for site in ("town", "blog"):
        before = host.heard(site)
        path = "/blog/page" if site == "blog" else "/page"
        assert [host.ask("town", path)[1] for _ in range(2)] == ["MISS", "HIT"]
        assert host.heard(site) == before + 1


def test_no_request_gets_the_cached_response_of_another(host: Host):
    """For any request line, Host, method or headers: never another site's, name's or variant's response."""
    path, kept = "/same?q=1", {}
    for site in ("shop", "town"):
        kept[site] = host.ask(site, path)[2]
        assert host.ask(site, path) == (200, "HIT", kept[site])
    before = host.heard("shop"), host.heard("town")
    # The request line selects the site, also for the cache, and the app gets the same name.
    assert host.ask("", f"http://town.test{path}", host="shop.test")[1:] == ("HIT", kept["town"])
    assert (host.heard("shop"), host.heard("town")) == before
    assert host.ask("", f"http://town.test{path}", host="shop.test:99")[1] == "MISS"
    assert b"\r\nHost: town.test:99\r\n" in host.apps["town"].heard[-1]
    hostile = [
        {"headers": "X-Forwarded-Host: town.test\r\nX-Forwarded-Proto: https\r\nX-Original-URL: /other\r\n"},
        {"headers": "X-HTTP-Method-Override: POST\r\nForwarded: host=town.test\r\n"},
        {"headers": "Accept-Encoding: gzip, br\r\nAccept: application/json\r\n"},
        {"headers": "Range: bytes=0-\r\nIf-Range: x\r\n"},
    ]
    for how in hostile:
        assert host.ask("shop", path, **how)[1:] == ("HIT", kept["shop"]), "it reaches no app, so it changes nothing"
    for method in ("POST", "PUT", "DELETE", "OPTIONS", "PROPFIND", "get"):
        answer = host.ask("shop", path, method=method)
        assert answer[0] in (400, 405) or answer[2] != kept["shop"], method
    assert host.ask("shop", path)[1:] == ("HIT", kept["shop"])
    for name in ("town.test shop.test", "shop.test@town.test", "shop.test/../town.test", "shop.test\tx", "town.test,x"):
        answer = ask(host.port, path, name)
        assert not answer or answer.split()[1] == "400", name
    # Variants, in both orders.
    for language in ("de", "fr", "", "de, fr"):
        assert host.ask("shop", "/vary?same", f"Accept-Language: {language}\r\n")[1] == "MISS"


def test_only_nginx_can_read_cached_responses(host: Host):
    host.ask("shop", "/read")
    folder = host.rig.folder / "var/cache/nginx-shop"
    assert folder.stat().st_mode & 0o777 == 0o700 and folder.owner() == "www-data"


def test_after_a_switch_no_cached_response_of_the_old_release_is_shown(own: Host):
    root = own.rig.folder / "srv/quick"
    old = own.ask("quick", "/page")
    (root / "slots/green").mkdir()
    (root / "slots/green/release").symlink_to("../../releases/one")
    blue = own.apps["quick"]
    own.start("quick", root / "slots/green/sock")
    own.apps["quick"].heard = [b""] * 1000
    (root / "next").symlink_to("slots/green")
    (root / "next").replace(root / "live")
    assert own.ask("quick", "/page")[1:] == ("MISS", "answer 1001")
    blue.broken = own.apps["quick"].broken = True
    (root / "next").symlink_to("slots/blue")
    (root / "next").replace(root / "live")
    assert own.ask("quick", "/page")[2] == old[2], "and its own again after a rollback"


# --- Stale responses -----------------------------------------------------------------------------------------------


@pytest.mark.parametrize("how", ["killed", "broken"])
def test_stale_responses_are_shown_while_the_app_fails(own: Host, how: str):
    first = own.ask("quick", "/page")
    assert first[:2] == (200, "MISS")
    if how == "killed":
        own.without_app("quick")
    else:
        own.apps["quick"].broken = True
    assert own.ask("quick", "/other")[0] == (502 if how == "killed" else 500)
    assert own.ask("quick", "/page", "Cookie: a=b\r\n")[0] == (502 if how == "killed" else 500)
    assert until(lambda: own.ask("quick", "/page"), "STALE") == (200, "STALE", first[2])


def test_no_stale_response_is_shown_with_stale_0(own: Host):
    assert own.ask("strict", "/page")[0] == 200
    own.without_app("strict")
    wait_for(lambda: own.ask("strict", "/page")[0] == 502)


def test_stale_responses_are_updated_in_the_background(own: Host):
    app = own.apps["quick"]
    first = own.ask("quick", "/page")
    app.hold()

    def promptly() -> tuple[int, str, str]:
        """The response as soon as it is complete, without waiting for the connection's end."""
        connection = http.client.HTTPConnection("127.0.0.1", own.port, timeout=10)
        connection.request("GET", "/page", headers={"Host": "quick.test"})
        answer = connection.getresponse()
        return answer.status, answer.headers["X-Cache"], answer.read().decode()

    # One client's request fetches it in the background; all others get the status UPDATING.
    assert until(promptly, "STALE")[2] == first[2]
    assert [promptly() for _ in range(5)] == [(200, "UPDATING", first[2])] * 5
    wait_for(lambda: own.heard("quick") > 1)
    assert own.heard("quick") == 2
    app.goes.set()
    wait_for(lambda: own.ask("quick", "/page")[2] != first[2])


@pytest.mark.parametrize("limit", [1, 5, 9, 10, 60, 305, 3600])
def test_the_pattern_of_numbers_below_a_limit(limit: int):
    below = load("plugins/plugin_utils/nginx/cache.py").below
    found = {number for number in range(4000) if re.fullmatch(f"0*(?:{below(limit)})", str(number))}
    assert found == set(range(limit))
