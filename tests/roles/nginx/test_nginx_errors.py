"""Error pages and maintenance mode, served by a real nginx."""

from __future__ import annotations

import json
import re
import socket
import threading
from collections import Counter
from collections.abc import Iterator
from contextlib import ExitStack, contextmanager
from pathlib import Path
from typing import Any

import pytest
from nginx_app import ALIASES, ANNA, HASH, SECURITY, App, header, serve
from nginx_rig import Rig, ask, free_port, needs_nginx, private_nginx, render, say

pytestmark = needs_nginx

ME, OTHER = "127.0.0.1", "127.0.0.2"
SITES: dict[str, dict[str, Any]] = {
    "shop": {
        "aliases": ALIASES,
        "redirects": {"/old": "/new"},
        "client_max_body_size": "1k",
        "proxy_timeout": 1,
        "locations": {
            "/closed/": {"deny": [ME]},
            "/known/": {"basic_auth": {"anna": HASH}},
            "/login": {"limits": {"requests": "1r/m", "burst": 0}},
        },
        "maintenance": {"allow": [OTHER], "retry_after": 120},
    },
    "own": {"error_pages": "app/errors", "client_max_body_size": "1k"},
    "town": {"aliases": ALIASES, "locations": {"/closed/": {"deny": [ME]}}},
    "blog": {
        "server_names": ["town.test"],
        "path": "/blog",
        "aliases": ALIASES,
        "redirects": {"/old": "/new"},
        "error_pages": "app/errors/",
        "maintenance": {"allow": [OTHER]},
    },
    "kept": {"deny": [ME], "basic_auth": {"anna": HASH}, "error_pages": "app/errors"},
    "guarded": {"deny": [ME], "basic_auth": {"anna": HASH}, "limits": {"requests": "1r/m", "burst": 1}},
}


class Sites:
    """One nginx with all of these, each with its app."""

    def __init__(self, rig: Rig, stack: ExitStack) -> None:
        self.rig, self.port = rig, free_port()
        sites = {
            name: {"server_names": [f"{name}.test"], "source": {"path": "app"}, "http_port": self.port} | keys
            for name, keys in SITES.items()
        }
        files, links = render(sites, nginx_worker_processes=1)
        rig.install(files, links)
        self.apps: dict[str, App] = {name: serve(rig, name, stack) for name in sites}
        for file in ("shop/htpasswd:known:", "guarded/htpasswd", "kept/htpasswd"):
            path = rig.folder / "etc" / file
            path.parent.mkdir(parents=True, exist_ok=True)
            path.write_text(f"anna:{HASH}\n")
        for folder, pages in (
            ("own/releases/two/app/errors", ("404", "413", "502", "maintenance")),
            ("blog/releases/two/app/errors", ("404",)),
            ("kept/releases/two/app/errors", ("401", "403", "maintenance")),
        ):
            (rig.folder / "srv" / folder).mkdir(parents=True)
            for page in pages:
                text = f'our own {page}: <!--# echo var="request_id" -->'
                (rig.folder / "srv" / folder / f"{page}.html").write_text(text)
        self.flags = rig.folder / "var/lib/sites/maintenance"
        self.flags.mkdir(parents=True)
        assert rig.test() == ""
        rig.start()

    def ask(self, name: str, path: str = "/", **how: Any) -> str:
        return ask(self.port, path, f"{name}.test", **how)

    @contextmanager
    def maintenance(self, name: str) -> Iterator[None]:
        """Maintenance is on within this context."""
        flag = self.flags / name
        flag.touch(0o600)
        try:
            yield
        finally:
            flag.unlink()

    @contextmanager
    def down(self, name: str) -> Iterator[None]:
        """No slot is live within this context."""
        live = self.rig.folder / f"srv/{name}/live/sock"
        away = live.rename(live.with_name("away"))
        try:
            yield
        finally:
            away.rename(live)

    def error_log(self, name: str) -> str:
        return (self.rig.folder / f"var/log/{name}/error.log").read_text()


own_nginx = contextmanager(private_nginx)


@pytest.fixture(scope="module")
def sites() -> Iterator[Sites]:
    with own_nginx() as rig, ExitStack() as stack:
        yield Sites(rig, stack)


def status(answer: str) -> int:
    return int(answer.split()[1])


def body(answer: str) -> str:
    return answer.split("\r\n\r\n", 1)[1]


def is_page(answer: str, code: int) -> bool:
    """Whether it is the default error page for this status: complete, with the request ID, without nginx's name."""
    text, known = body(answer), header(answer, "X-Request-ID")
    assert status(answer) == code, answer
    assert len(known) == 1 and f"Request <code>{known[0]}</code>" in text and f'nonce="{known[0]}"' in text
    assert f"'nonce-{known[0]}'" in header(answer, "Content-Security-Policy")[0]
    assert f'<p class="status">{code}</p>' in text and text.rstrip().endswith("</main>")
    assert header(answer, "Content-Type") == ["text/html; charset=utf-8"]
    assert "nginx" not in answer.lower().replace("server: nginx\r\n", "")
    assert header(answer, "Cache-Control") == ["no-store"] and "Accept" in header(answer, "Vary")
    assert {name: len(header(answer, name)) for name in SECURITY} == dict.fromkeys(SECURITY, 1)
    return True


# --- Errors --------------------------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("path", "code", "how"),
    [
        ("/static/none", 404, {}),
        ("/static/none.1a2b3c4d.js", 404, {}),
        ("/static/none", 404, {"method": "POST", "headers": "Content-Length: 0\r\n"}),
        ("/static/style.css", 405, {"method": "POST", "headers": "Content-Length: 0\r\n"}),
        ("/media/.x", 404, {}),
        ("/closed/", 403, {}),
        ("/known/", 401, {}),
        ("/", 413, {"method": "POST", "headers": "Content-Length: 2000\r\n"}),
        ("/", 400, {"headers": f"Cookie: {'x' * 9000}\r\n"}),
        ("/.sites-errors/html", 404, {}),
        ("/.sites-errors/maintenance", 404, {}),
        ("/.sites-errors/json?maintenance", 404, {}),
        ("/static/.again", 404, {}),
    ],
)
def test_an_error_of_nginx_is_a_page_with_the_request_id(sites: Sites, path: str, code: int, how: dict[str, Any]):
    answer = sites.ask("shop", path, **how)
    assert is_page(answer, code)
    assert len(header(answer, "WWW-Authenticate")) == (code == 401)


def test_a_connection_with_too_large_a_body_is_closed(sites: Sites):
    head = "POST / HTTP/1.1\r\nHost: shop.test\r\nContent-Length: 100000\r\n\r\n"
    answer = say(sites.port, head + "x" * 100000)
    assert is_page(answer, 413) and header(answer, "Connection") == ["close"]


@pytest.mark.parametrize("method", ["GET", "POST", "DELETE"])
def test_an_app_that_is_down_gives_502(sites: Sites, method: str):
    with sites.down("shop"):
        assert is_page(sites.ask("shop", "/", method=method, headers="Content-Length: 0\r\n"), 502)
        assert body(sites.ask("shop", "/", method="HEAD")) == ""


def test_clients_that_exceed_a_limit_get_an_error_page(sites: Sites):
    answers = [sites.ask("shop", "/login", method="POST", headers="Content-Length: 0\r\n") for _ in range(2)]
    assert status(answers[0]) == 200 and is_page(answers[1], 429)


def test_an_app_that_takes_too_long_gives_504(sites: Sites):
    with sites.down("shop"), socket.socket(socket.AF_UNIX) as silent:
        path = sites.rig.folder / "srv/shop/live/sock"
        silent.bind(str(path))
        path.chmod(0o666)
        silent.listen()
        answer = sites.ask("shop")
        path.unlink()
    assert is_page(answer, 504)


def test_error_responses_of_the_app_pass_unchanged(sites: Sites):
    answer = sites.ask("shop", "/broken")
    assert status(answer) == 500 and body(answer).startswith("GET /broken") and not header(answer, "Vary")


@pytest.mark.parametrize(
    ("accept", "kind"),
    [
        ("application/json", "json"),
        ("application/problem+json, */*;q=0.5", "json"),
        ("application/json;charset=utf-8", "json"),
        ("application/json, text/html", "json"),
        ("text/html,application/xhtml+xml,application/json;q=0.9,*/*;q=0.8", "html"),
        ("application/json;q=0.1, text/html", "html"),
        ("*/*", "html"),
        ("text/json-like", "html"),
        ("", "html"),
    ],
)
def test_clients_that_prefer_json_get_it(sites: Sites, accept: str, kind: str):
    answer = sites.ask("shop", "/static/none", headers=f"Accept: {accept}\r\n" if accept else "")
    if kind == "html":
        assert is_page(answer, 404)
        return
    assert header(answer, "Content-Type") == ["application/json; charset=utf-8"] and status(answer) == 404
    told = json.loads(body(answer))
    assert told["status"] == 404 and told["error"].startswith("There is no such page.")
    assert header(answer, "X-Request-ID") == [told["request_id"]]
    assert {name: len(header(answer, name)) for name in SECURITY} == dict.fromkeys(SECURITY, 1)


def test_clients_without_access_still_get_the_error_page(sites: Sites):
    assert is_page(sites.ask("guarded"), 403)
    assert is_page(sites.ask("guarded", source=OTHER), 401)
    for _ in range(2):
        sites.ask("guarded", source="127.0.0.4", headers=ANNA)
    assert is_page(sites.ask("guarded", source="127.0.0.4", headers=ANNA), 429)


def test_clients_without_access_get_the_error_page_of_the_release(sites: Sites):
    assert own_page(sites.ask("kept"), "403") and own_page(sites.ask("kept", source=OTHER), "401")
    with sites.maintenance("kept"):
        assert own_page(sites.ask("kept"), "maintenance") and own_page(sites.ask("kept", source=OTHER), "maintenance")


def own_page(answer: str, page: str) -> bool:
    """Whether it is the error page of the site, with the request ID."""
    return body(answer).endswith(f"our own {page}: {header(answer, 'X-Request-ID')[0]}") or bool(
        re.search(rf"our own {page}: {header(answer, 'X-Request-ID')[0]}\r\n0\r\n\r\n$", answer)
    )


@pytest.mark.parametrize("method", ["GET", "POST", "PUT"])
def test_an_error_page_of_the_release_wins(sites: Sites, method: str):
    empty = {"method": method, "headers": "Content-Length: 0\r\n"}
    with sites.down("own"):
        answer = sites.ask("own", "/", **empty)
        assert status(answer) == 502 and own_page(answer, "502")
        assert {name: len(header(answer, name)) for name in SECURITY} == dict.fromkeys(SECURITY, 1)
        told = sites.ask("own", "/", method=method, headers="Content-Length: 0\r\nAccept: application/json\r\n")
        assert json.loads(body(told))["status"] == 502
    answer = sites.ask("own", "/.sites-errors/html", **empty)
    assert status(answer) == 404 and own_page(answer, "404")
    answer = sites.ask("own", "/", method="POST", headers="Content-Length: 3000\r\n")
    assert status(answer) == 413 and own_page(answer, "413") and header(answer, "Connection") == ["close"]


def test_an_error_page_cannot_include_restricted_pages(sites: Sites):
    """Of a site below a path, whose release is not that of the site above."""
    assert status(sites.ask("town", "/closed/x")) == 403
    page = sites.rig.folder / "srv/blog/releases/two/app/errors/404.html"
    before = page.read_text()
    page.write_text(before + '<!--# include virtual="/closed/x" -->')
    heard = len(sites.apps["town"].heard)
    try:
        answer = sites.ask("town", "/blog/static/none.css")
    finally:
        page.write_text(before)
    assert status(answer) == 404 and "GET /closed/x" not in answer and len(sites.apps["town"].heard) == heard


def test_the_default_page_replaces_a_missing_error_page(sites: Sites):
    cookie = f"Cookie: {'x' * 9000}\r\n"
    assert is_page(sites.ask("own", headers=cookie), 400)
    pages = sites.rig.folder / "srv/own/live/public/app/errors"
    away = pages.rename(pages.with_name("gone"))
    try:
        with sites.down("own"):
            assert is_page(sites.ask("own"), 502)
    finally:
        away.rename(pages)


def test_an_unreadable_error_page_leads_nowhere_else(sites: Sites):
    page = sites.rig.folder / "srv/own/releases/two/app/errors/502.html"
    page.chmod(0)
    try:
        with sites.down("own"):
            assert status(sites.ask("own")) in (403, 502)
    finally:
        page.chmod(0o644)


def test_a_site_below_a_path_has_error_pages_of_its_own(sites: Sites):
    for path in ("/blog/static/none.css", "/blog/.sites-errors/html"):
        answer = sites.ask("town", path)
        assert status(answer) == 404 and own_page(answer, "404"), path
    assert is_page(sites.ask("town", "/static/none.css"), 404)


# --- Maintenance ---------------------------------------------------------------------------------------------------

EVERYWHERE = ["/", "/any?x=y", "/static/style.css", "/static/none", "/media/photo.svg", "/old", "/closed/", "/known/"]


@pytest.mark.parametrize("path", EVERYWHERE)
@pytest.mark.parametrize("method", ["GET", "POST", "DELETE"])
def test_maintenance_answers_every_path(sites: Sites, path: str, method: str):
    heard = len(sites.apps["shop"].heard)
    with sites.maintenance("shop"):
        answer = sites.ask("shop", path, method=method, headers="Content-Length: 3\r\n\r\nabc")
        assert is_page(answer, 503) and "<h1>Back soon</h1>" in answer
        assert header(answer, "Retry-After") == ["120"] and not header(answer, "Location")
    assert len(sites.apps["shop"].heard) == heard


def test_maintenance_answers_programs_in_json(sites: Sites):
    with sites.maintenance("shop"):
        answer = sites.ask("shop", "/api/words", headers="Accept: application/json\r\n")
    assert status(answer) == 503 and json.loads(body(answer))["error"].startswith("Back soon.")
    assert header(answer, "Retry-After") == ["120"]


def test_maintenance_answers_uploads_of_any_size(sites: Sites):
    head = "POST / HTTP/1.1\r\nHost: shop.test\r\nContent-Length: 100000\r\nConnection: close\r\n\r\n"
    with sites.maintenance("shop"):
        assert is_page(say(sites.port, head + "x" * 100000), 503)


def test_exempt_clients_reach_the_site_during_maintenance(sites: Sites):
    with sites.maintenance("shop"):
        assert status(sites.ask("shop", source=OTHER)) == 200
        assert status(sites.ask("shop", "/static/style.css", source=OTHER)) == 200
        assert is_page(sites.ask("shop", "/static/none", source=OTHER), 404)
        assert not header(sites.ask("shop", "/static/none", source=OTHER), "Retry-After")
        assert status(sites.ask("shop", source=OTHER, headers=f"X-Forwarded-For: {ME}\r\n")) == 200
        assert status(sites.ask("shop", headers=f"X-Forwarded-For: {OTHER}\r\nX-Real-IP: {OTHER}\r\n")) == 503
        assert status(sites.ask("own")) == status(sites.ask("town")) == 200
    assert status(sites.ask("shop")) == 200


@pytest.mark.parametrize(
    "path",
    ["/.sites-errors/", "/.sites-errors/html", "/.sites-errors/../", "/.sites-errors//x", "//.sites-errors/x",
     "/.well-known/acme-challenge/x", "/x/../.sites-errors/x"],
)  # fmt: skip
def test_no_spelling_of_a_path_gets_around_maintenance(sites: Sites, path: str):
    heard = len(sites.apps["shop"].heard)
    with sites.maintenance("shop"):
        assert status(sites.ask("shop", path)) in (400, 404, 503)
    assert len(sites.apps["shop"].heard) == heard


def test_maintenance_shows_the_page_of_the_release(sites: Sites):
    with sites.maintenance("own"):
        for method in ("GET", "POST"):
            answer = sites.ask("own", "/x", method=method, headers="Content-Length: 0\r\n")
            assert status(answer) == 503 and own_page(answer, "maintenance")
            assert header(answer, "Retry-After") == ["300"]


def test_sites_of_one_name_have_separate_maintenance(sites: Sites):
    below = ["/blog", "/blog/", "/blog/x", "/blog/static/style.css", "/blog/old"]
    above = ["/", "/x", "/static/style.css", "/blogs", "/blo"]
    for name, closed, opened in (("blog", below, above), ("town", above, below)):
        with sites.maintenance(name):
            assert [status(sites.ask("town", path)) for path in closed] == [503] * len(closed)
            assert {status(sites.ask("town", path)) for path in opened} <= {200, 301}
    with sites.maintenance("blog"):
        assert status(sites.ask("town", "/blog/", source=OTHER)) == 200
        assert is_page(sites.ask("town", "/blog/"), 503)
    with sites.maintenance("town"):
        assert status(sites.ask("town", source=OTHER)) == 503


def test_maintenance_on_and_off_loses_no_request(sites: Sites):
    """Each client gets the complete site or maintenance page; nginx is not reloaded."""
    seen: Counter[int] = Counter()
    done = threading.Event()

    def keep_asking() -> None:
        while not done.is_set():
            answer = sites.ask("town", "/x")
            assert status(answer) == 200 or is_page(answer, 503)
            seen[status(answer)] += 1

    workers = sites.rig.pid()
    threads = [threading.Thread(target=keep_asking) for _ in range(4)]
    for thread in threads:
        thread.start()
    for number in range(20):
        before = sum(seen.values())
        if number % 2:
            (sites.flags / "town").unlink()
        else:
            (sites.flags / "town").touch()
        while sum(seen.values()) < before + 10 and any(thread.is_alive() for thread in threads):
            pass
    alive = [thread.is_alive() for thread in threads]
    done.set()
    for thread in threads:
        thread.join()
    assert alive == [True] * 4 and set(seen) == {200, 503} and sites.rig.pid() == workers


def test_only_root_reads_the_maintenance_flag_and_logs_stay_quiet(sites: Sites):
    with sites.maintenance("town"):
        assert (sites.flags / "town").stat().st_mode & 0o777 == 0o600
        assert status(sites.ask("town")) == 503
    assert "uninitialized" not in sites.error_log("town") and "[crit]" not in sites.error_log("town")


def test_the_error_page_is_short_enough_for_nginx() -> None:
    """nginx limits the length of such a text."""
    text = (Path(__file__).parents[3] / "roles/nginx/templates/errors.conf.j2").read_text()
    assert all(len(each.encode()) < 4000 for each in re.findall(r"'[^']*'", text))


def test_an_error_page_of_an_override_wins_except_during_maintenance() -> None:
    with own_nginx() as rig, ExitStack() as stack:
        port = free_port()
        site = {"server_names": ["shop.test"], "source": {"path": "app"}, "http_port": port, "aliases": ALIASES}
        files, links = render({"shop": site}, nginx_worker_processes=1)
        place = "/etc/nginx/sites-available/shop.conf"
        own = "error_page 404 503 /own; location = /own { internal; return 200 mine; }\n"
        ours = "    # nginx's own error responses"
        rig.install(files | {place: files[place].replace(ours, f"    {own}{ours}")}, links)
        serve(rig, "shop", stack)
        rig.start()
        assert body(ask(port, "/static/none", "shop.test")) == "mine"
        (rig.folder / "var/lib/sites/maintenance").mkdir(parents=True)
        (rig.folder / "var/lib/sites/maintenance/shop").touch()
        assert is_page(ask(port, "/static/none", "shop.test"), 503)
