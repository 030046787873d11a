"""Accounts and their mails."""

from __future__ import annotations

import re
import smtplib
import socket
import socketserver
import threading
import time
from contextlib import contextmanager

import pytest
from conftest import PASSWORD, add_user, log_in
from flask import Flask
from flask.testing import FlaskClient
from itsdangerous import TimestampSigner
from sqlalchemy import func, select
from wordbook.extensions import db, mail
from wordbook.models import User

NEW = {"email": "New@Example.com", "password": "a new one!", "again": "a new one!"}


def user(app: Flask, email: str) -> User | None:
    with app.app_context():
        return User.by_email(email)


def link(message) -> str:
    return re.search(r"http://localhost(\S+)", message.body)[1]


@contextmanager
def mails(app: Flask):
    with app.app_context(), mail.record_messages() as outbox:
        yield outbox


def later(monkeypatch: pytest.MonkeyPatch, seconds: int) -> None:
    now = time.time()
    monkeypatch.setattr(TimestampSigner, "get_timestamp", lambda self: int(now + seconds))


def test_register_confirm_and_add(app: Flask, client: FlaskClient) -> None:
    with mails(app) as outbox:
        assert client.post("/account/register", data=NEW).location == "/account/login"
    (message,) = outbox
    assert message.recipients == ["new@example.com"]
    assert "确认" in message.subject
    client = log_in(app, "new@example.com", "a new one!")
    assert client.get("/words/add").location == "/account/confirm"
    assert "Confirm" in client.get(link(message)).text
    assert user(app, NEW["email"]).confirmed_at is None, "opening the page does not confirm"
    assert client.post(link(message)).location == "/words/add"
    assert client.get("/words/add").status_code == 200


def test_passwords_are_kept_as_hashes(app: Flask, client: FlaskClient) -> None:
    client.post("/account/register", data=NEW)
    assert user(app, NEW["email"]).password_hash.startswith("pbkdf2:")


@pytest.mark.parametrize(
    "change",
    [
        {"email": "no address"},
        {"email": "用户@example.com"},
        {"email": "x" * 250 + "@a.com"},
        {"password": "short", "again": "short"},
        {"again": "another"},
    ],
)
def test_an_invalid_registration_is_refused(app: Flask, client: FlaskClient, change: dict[str, str]) -> None:
    assert client.post("/account/register", data=NEW | change).status_code == 422
    with app.app_context():
        assert db.session.scalar(select(func.count(User.id))) == 0


def test_registering_does_not_reveal_accounts(app: Flask, client: FlaskClient) -> None:
    with mails(app) as outbox:
        first = client.post("/account/register", data=NEW, follow_redirects=True)
        stolen = {"password": "stolen!!", "again": "stolen!!"}
        second = client.post("/account/register", data=NEW | stolen, follow_redirects=True)
    assert first.text == second.text
    assert "has an account already" in outbox[1].body, "its owner gets a mail"
    log_in(app, NEW["email"], "a new one!")


def test_a_link_of_another_account_confirms_nothing(app: Flask, anna: FlaskClient, client: FlaskClient) -> None:
    with mails(app) as outbox:
        client.post("/account/register", data=NEW)
    assert client.post(link(outbox[0])).location.startswith("/account/login")
    anna.post(link(outbox[0]))
    assert user(app, NEW["email"]).confirmed_at is None


@pytest.mark.parametrize("damage", ["tampered", "expired", "another purpose", "nonsense"])
def test_a_bad_token_confirms_nothing(app: Flask, damage: str, monkeypatch: pytest.MonkeyPatch) -> None:
    add_user(app, "new@example.com", confirmed=False)
    client = log_in(app, "new@example.com")
    with app.app_context():
        token = User.by_email("new@example.com").token("reset" if damage == "another purpose" else "confirm")
    if damage == "tampered":
        token = token[:-2] + ("AA" if token[-2:] != "AA" else "BB")
    if damage == "nonsense":
        token = "é.è"
    if damage == "expired":
        later(monkeypatch, app.config["CONFIRM_SECONDS"] + 1)
    page = client.post(f"/account/confirm/{token}", follow_redirects=True)
    assert "not valid, or too old" in page.text
    assert user(app, "new@example.com").confirmed_at is None


def test_the_mail_can_be_requested_again(app: Flask) -> None:
    add_user(app, "new@example.com", confirmed=False)
    with mails(app) as outbox:
        log_in(app, "new@example.com").post("/account/confirm")
    assert outbox[0].recipients == ["new@example.com"]


def test_log_in_and_out(app: Flask, anna: FlaskClient) -> None:
    assert "anna@example.com" in anna.get("/").text
    assert anna.get("/account/logout").status_code == 405, "no link of another site can do it"
    anna.post("/account/logout")
    assert "anna@example.com" not in anna.get("/").text


def test_a_failed_login_does_not_reveal_which_field_was_wrong(app: Flask, anna_id: int, client: FlaskClient) -> None:
    texts = set()
    for email in ("anna@example.com", "nobody@example.com"):
        answer = client.post("/account/login", data={"email": email, "password": "wrong"})
        texts.add(answer.text.replace(email, ""))
    assert len(texts) == 1
    assert "Wrong address or password" in texts.pop()


@pytest.mark.parametrize("email", ["anna@example.com", "nobody@example.com"])
def test_an_unknown_address_costs_one_hash_as_a_known_one_does(anna_id: int, client: FlaskClient, monkeypatch, email):
    hashed = []
    for name in ("check_password_hash", "generate_password_hash"):
        monkeypatch.setattr(f"wordbook.models.{name}", lambda *given: hashed.append(given))
    client.post("/account/login", data={"email": email, "password": "wrong"})
    assert len(hashed) == 1


@pytest.mark.parametrize(
    ("target", "location"),
    [
        ("/words/add", "/words/add"),
        ("/?q=茶", "/?q=%E8%8C%B6"),
        ("//evil.example", "/"),
        ("https://evil.example/", "/"),
        ("/\\evil.example", "/"),
        ("/\t/evil.example", "/"),
        ("evil.example", "/"),
        ("javascript:alert(1)", "/"),
        ("", "/"),
    ],
)
def test_the_redirect_after_login_stays_on_this_site(
    app: Flask, anna_id: int, client: FlaskClient, target, location
) -> None:
    data = {"email": "anna@example.com", "password": PASSWORD}
    assert client.post("/account/login", query_string={"next": target}, data=data).location == location


def test_the_session_is_renewed_at_login(app: Flask, anna_id: int, client: FlaskClient) -> None:
    with client.session_transaction() as session:
        session["planted"] = "by somebody else"
    client.post("/account/login", data={"email": "anna@example.com", "password": PASSWORD})
    with client.session_transaction() as session:
        assert "planted" not in session
        assert session["_fresh"] is True


def test_a_forgotten_password_can_be_reset(app: Flask, anna: FlaskClient, client: FlaskClient) -> None:
    remembered = log_in(app, "anna@example.com", remember="y")
    with mails(app) as outbox:
        client.post("/account/reset", data={"email": "ANNA@example.com"})
    address = link(outbox[0])
    assert client.post(address, data={"password": "a new one!", "again": "a new one!"}).location == "/account/login"
    log_in(app, "anna@example.com", "a new one!")
    assert client.get(address).location == "/account/reset", "the link is valid once"
    for other in (anna, remembered):
        assert "anna@example.com" not in other.get("/").text, "other sessions end as well"


def test_a_reset_link_expires(app: Flask, anna_id: int, client: FlaskClient, monkeypatch: pytest.MonkeyPatch) -> None:
    with mails(app) as outbox:
        client.post("/account/reset", data={"email": "anna@example.com"})
    later(monkeypatch, app.config["RESET_SECONDS"] + 1)
    before = user(app, "anna@example.com").password_hash
    client.post(link(outbox[0]), data={"password": "a new one!", "again": "a new one!"})
    assert user(app, "anna@example.com").password_hash == before


def test_requesting_a_reset_does_not_reveal_accounts(app: Flask, anna_id: int, client: FlaskClient) -> None:
    with mails(app) as outbox:
        answers = {
            client.post("/account/reset", data={"email": email}, follow_redirects=True).text
            for email in ("anna@example.com", "nobody@example.com")
        }
    assert len(answers) == 1
    assert len(outbox) == 1


def test_a_remembered_login_cannot_change_the_password(app: Flask, anna_id: int) -> None:
    client = log_in(app, "anna@example.com", remember="y")
    client.delete_cookie("session")
    assert "anna@example.com" in client.get("/").text
    assert client.get("/account/password").location.startswith("/account/login?next=")
    client.post("/account/login", data={"email": "anna@example.com", "password": PASSWORD})
    assert client.get("/account/password").status_code == 200
    new = {"password": "a new one!", "again": "a new one!"}
    assert client.post("/account/password", data=new).location == "/account/login"
    log_in(app, "anna@example.com", "a new one!")


@pytest.mark.parametrize(("scheme", "secure"), [("http", False), ("https", True)])
def test_cookies_have_the_flags_that_the_scheme_allows(app: Flask, anna_id: int, scheme: str, secure: bool) -> None:
    data = {"email": "anna@example.com", "password": PASSWORD, "remember": "y"}
    answer = app.test_client().post("/account/login", data=data, base_url=f"{scheme}://localhost")
    cookies = answer.headers.getlist("Set-Cookie")
    assert {cookie.partition("=")[0] for cookie in cookies} == {"session", "remember_token"}
    for cookie in cookies:
        assert "HttpOnly" in cookie and "SameSite=Lax" in cookie
        assert ("Secure" in cookie) is secure


@pytest.fixture
def silent_server():
    """A mail server that accepts connections and never answers."""
    with socket.create_server(("127.0.0.1", 0)) as server:
        yield server.getsockname()[1]


@pytest.mark.parametrize("down", ["refused", "silent"])
@pytest.mark.parametrize("path", ["/account/register", "/account/reset"])
def test_a_mail_server_that_is_down_is_reported_without_an_internal_error(
    make, silent_server: int, down: str, path: str
) -> None:
    port = silent_server if down == "silent" else 9
    app = make(MAIL_SERVER="127.0.0.1", MAIL_PORT=port, MAIL_SUPPRESS_SEND=False, MAIL_TIMEOUT=0.2)
    started = time.monotonic()
    page = app.test_client().post(path, data=NEW, follow_redirects=True)
    assert time.monotonic() - started < 3
    assert page.status_code == 200
    assert "The mail could not be sent" in page.text


def test_mail_is_sent_over_tls_with_the_password(make, monkeypatch: pytest.MonkeyPatch) -> None:
    calls = []

    class Server:
        def __init__(self, *given, **options):
            calls.append(("connect", given, options))

        def __getattr__(self, name):
            return lambda *given, **options: calls.append((name, given, options))

    monkeypatch.setattr(smtplib, "SMTP", Server)
    settings = {"MAIL_SERVER": "mail.example.com", "MAIL_PORT": 587, "MAIL_USE_TLS": True, "MAIL_USERNAME": "u"}
    app = make(**settings, MAIL_PASSWORD="p", MAIL_SUPPRESS_SEND=False)
    app.test_client().post("/account/register", data=NEW)
    names = [name for name, _, _ in calls]
    assert names == ["connect", "starttls", "login", "sendmail", "quit"]
    assert calls[0][2]["timeout"] == app.config["MAIL_TIMEOUT"]
    assert calls[1][2]["context"].check_hostname
    assert calls[2][1] == ("u", "p")


class SmallServer(socketserver.StreamRequestHandler):
    """A mail server that accepts every mail, without SMTPUTF8."""

    def handle(self) -> None:
        self.wfile.write(b"220 here\r\n")
        for line in self.rfile:
            if line.upper().startswith(b"RCPT"):
                self.server.recipients.append(re.search("<(.+)>", line.decode("ascii"))[1])
            if line.upper() == b"DATA\r\n":
                self.wfile.write(b"354 go on\r\n")
                while self.rfile.readline() != b".\r\n":
                    pass
            self.wfile.write(b"250 fine\r\n")


@pytest.fixture
def mail_server():
    with socketserver.TCPServer(("127.0.0.1", 0), SmallServer) as server:
        server.recipients = []
        thread = threading.Thread(target=server.serve_forever, args=(0.01,))
        thread.start()
        yield server
        server.shutdown()
        thread.join()


@pytest.mark.parametrize(
    ("email", "recipient"),
    [
        ("ok@example.com", "ok@example.com"),
        ("a@例子.测试", "a@xn--fsqu00a.xn--0zwm56d"),
        ("a@faß.de", "a@xn--fa-hia.de"),
        ("a@אב1.com", "a@xn--1-zhcd.com"),
        ("用户@example.com", None),
        ("é@example.com", None),
    ],
)
def test_an_undeliverable_address_is_refused(make, mail_server, email: str, recipient: str | None) -> None:
    app = make(MAIL_SERVER="127.0.0.1", MAIL_PORT=mail_server.server_address[1], MAIL_SUPPRESS_SEND=False)
    add_user(app, email)
    for path in ("/account/register", "/account/reset"):
        answer = app.test_client().post(path, data=NEW | {"email": email})
        assert answer.status_code == (302 if recipient else 422)
        assert recipient or "@ 之前只能是英文字母" in answer.text
    assert mail_server.recipients == ([recipient] * 2 if recipient else [])


@pytest.mark.parametrize("path", ["/account/register", "/account/reset"])
def test_production_without_a_mail_server_is_reported(make, path: str) -> None:
    app = make(TESTING=False, SECRET_KEY="Yd2fGq0vZk3sVtqXo8LcUw")
    client = app.test_client()
    for page in (client.get(path), client.post(path, data=NEW)):
        assert page.status_code == 200
        assert "本站还不能发送邮件" in page.text
        assert 'name="password"' not in page.text
    assert user(app, NEW["email"]) is None


def test_in_development_mail_is_printed_to_the_console(make, monkeypatch, capsys) -> None:
    monkeypatch.setenv("FLASK_DEBUG", "1")
    make(TESTING=False).test_client().post("/account/register", data=NEW)
    assert "/account/confirm/" in capsys.readouterr().out
