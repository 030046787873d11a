"""Properties of every page: layout, errors, security headers."""

from __future__ import annotations

import re
from html.parser import HTMLParser

import pytest
from conftest import PASSWORD, add_word, all_words, image, log_in
from flask import Flask, abort
from flask.testing import FlaskClient
from test_pictures import upload

PAGES = [
    "/",
    "/?q=tea",
    "/?q=nothing",
    "/words/1",
    "/words/1/edit",
    "/words/add",
    "/echo?a=1",
    "/cookies",
    "/account/login",
    "/account/register",
    "/account/reset",
    "/account/password",
    "/account/confirm",
    "/no-such-page",
]


class Elements(HTMLParser):
    """Every element of a page, with its attributes."""

    def __init__(self, text: str) -> None:
        super().__init__()
        self.found: list[tuple[str, dict[str, str | None]]] = []
        self.feed(text)

    def handle_starttag(self, tag: str, attributes: list[tuple[str, str | None]]) -> None:
        self.found.append((tag, dict(attributes)))


@pytest.fixture
def pages(app: Flask, anna: FlaskClient) -> dict[str, str]:
    """Each page, as a logged-in visitor sees it."""
    upload(anna, image(), "tea.png")
    number = all_words(app)[0].id
    return {path: anna.get(path.replace("/1", f"/{number}")).text for path in PAGES}


def test_no_page_refers_to_another_host(pages: dict[str, str], anna: FlaskClient) -> None:
    links = set()
    for path, text in pages.items():
        # The only URL with a host: the SVG namespace.
        assert "//" not in text.replace("http://www.w3.org/", ""), path
        for _, attributes in Elements(text).found:
            links |= {attributes[name].strip() for name in ("href", "src", "action") if attributes.get(name)}
    assert any(link.startswith("/bootstrap/static/") for link in links)
    assert any(link.startswith("/static/vendor/moment") for link in links)
    for link in links - {"#"}:
        with anna.get(link) as answer:
            assert answer.status_code in {200, 302, 405}, link
            if answer.mimetype == "text/css":
                assert not re.search(r"url\((?!\"?data:)", answer.text), "styles load nothing"


def test_a_strict_content_security_policy_fits(pages: dict[str, str]) -> None:
    """`default-src 'self'; img-src 'self' data:` needs no exception for any inline script or style."""
    for path, text in pages.items():
        for tag, attributes in Elements(text).found:
            assert tag != "style", path
            assert tag != "script" or attributes["src"], path
            assert "style" not in attributes, path
            assert not [name for name in attributes if name.startswith("on")], path
            assert not (attributes.get("href") or "").startswith("javascript:"), path


def test_times_are_written_by_a_script_in_a_file(pages: dict[str, str], client: FlaskClient) -> None:
    assert re.search(r'<time class="flask-moment" datetime="\S+\+00:00"', pages["/words/1"])
    script = client.get("/moment.js")
    assert script.mimetype == "text/javascript"
    assert script.text.rstrip().endswith('moment.locale("zh-cn");')
    assert "flask_moment_render_all" in script.text
    assert "max-age" in script.headers["Cache-Control"]


@pytest.mark.parametrize(
    ("code", "chinese"), [(400, "这个请求有问题"), (403, "你没有权限"), (404, "找不到这一页"), (413, "文件太大了")]
)
def test_errors_have_a_page_in_the_sites_layout(app: Flask, code: int, chinese: str) -> None:
    app.add_url_rule("/error", "error", lambda: abort(code))
    page = app.test_client().get("/error")
    assert page.status_code == code
    assert chinese in page.text
    assert "Back to the words" in page.text


def test_a_fault_gets_a_page_without_details_also_when_the_database_is_gone(make, anna_id: int, monkeypatch) -> None:
    app = make(PROPAGATE_EXCEPTIONS=False)
    anna = log_in(app, "anna@example.com")

    def gone(_: str) -> None:
        raise ValueError("a private detail")

    monkeypatch.setattr(app.login_manager, "_user_callback", gone)
    page = anna.get("/")
    assert page.status_code == 500
    assert "服务器出错了" in page.text
    assert "a private detail" not in page.text


def test_an_error_keeps_its_headers(app: Flask, anna: FlaskClient) -> None:
    assert set(anna.delete("/words/add").headers["Allow"].split(", ")) == {"GET", "HEAD", "OPTIONS", "POST"}
    upload(anna, image(), "tea.png")
    with anna.get(f"/media/{all_words(app)[0].picture}", headers={"Range": "bytes=9999-"}) as answer:
        assert answer.status_code == 416
        assert answer.headers["Content-Range"].startswith("bytes */")
        assert answer.headers.getlist("Content-Type") == ["text/html; charset=utf-8"]


@pytest.mark.parametrize("path", ["/", "/account/reset/token", "/no-such-page", "/api/words"])
def test_urls_stay_on_this_site(client: FlaskClient, path: str) -> None:
    """Links in mails are secrets that a Referer must not reveal; the site's own forms need one over TLS."""
    assert client.get(path).headers["Referrer-Policy"] == "same-origin"


def test_redirects_are_not_treated_as_errors(app: Flask) -> None:
    app.add_url_rule("/folder/", "folder", lambda: "here")
    assert app.test_client().get("/folder").status_code == 308


@pytest.mark.parametrize("given", ["nothing", "nonsense", "another's"])
def test_a_form_without_a_csrf_token_changes_nothing(make, anna_id: int, given: str) -> None:
    app = make(WTF_CSRF_ENABLED=True)
    anna, stranger = app.test_client(), app.test_client()
    token = token_of(anna)
    login = {"email": "anna@example.com", "password": PASSWORD, "csrf_token": token}
    assert anna.post("/account/login", data=login).status_code == 302
    forged = {"nothing": "", "nonsense": "x.y.z", "another's": token_of(stranger)}[given]
    for path in ("/words/add", f"/words/{add_word(app, owner_id=anna_id)}/delete", "/account/logout", "/cookies"):
        answer = anna.post(path, data={"english": "x", "chinese": "y", "csrf_token": forged})
        assert answer.status_code == 400, path
        assert "这个请求有问题" in answer.text
    assert [word.english for word in all_words(app)] == ["tea"]
    assert "anna@example.com" in anna.get("/").text


def token_of(client: FlaskClient) -> str:
    return re.search(r'name="csrf_token"[^>]*value="([^"]+)"', client.get("/account/login").text)[1]


def test_only_configured_host_names_are_served(make, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("SITE_HOSTS", "words.example.com, .example.org")
    client = make().test_client()
    for host, status in (("words.example.com", 200), ("www.example.org", 200), ("evil.example", 400)):
        assert client.get("/healthz", base_url=f"http://{host}").status_code == status
