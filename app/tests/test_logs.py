"""The log: one line a request, without secrets."""

from __future__ import annotations

import io
import json
import re

import pytest
from conftest import PASSWORD, add_user, log_in
from flask import Flask
from wordbook.extensions import mail


def lines(client, path: str, **request) -> list[str]:
    stream = io.StringIO()
    client.get(path, errors_stream=stream, **request)
    return stream.getvalue().splitlines()


def test_a_request_is_one_line_of_json(make) -> None:
    client = make(LOG_FORMAT="json", SITE_NAME="shop", SITE_RELEASE="R1").test_client()
    (line,) = lines(client, "/healthz?secret=1", headers={"X-Request-ID": "abc-123"})
    fields = json.loads(line)
    assert fields.pop("time").endswith("+00:00")
    assert fields.pop("ms") >= 0
    assert fields.pop("message").startswith("GET /healthz 200 ")
    assert fields == {
        "level": "INFO",
        "site": "shop",
        "release": "R1",
        "request_id": "abc-123",
        "method": "GET",
        "path": "/healthz",
        "status": 200,
    }


def test_a_request_can_be_one_line_of_text(make) -> None:
    client = make(LOG_FORMAT="text", SITE_NAME="shop", SITE_RELEASE="R1").test_client()
    (line,) = lines(client, "/?q=secret", headers={"X-Request-ID": "abc-123"})
    assert re.search(r"INFO shop R1 abc-123 GET / 200 [\d.]+ ms$", line)


@pytest.mark.parametrize("given", ["", "with blanks", "x" * 65, "new\x0bline", "{injection}", "茶"])
def test_an_invalid_request_id_is_replaced(app: Flask, given: str) -> None:
    answer = app.test_client().get("/healthz", headers={"X-Request-ID": given})
    assert re.fullmatch("[0-9a-f]{32}", answer.headers["X-Request-ID"])


def test_the_client_gets_the_request_id_also_with_an_error(app: Flask) -> None:
    answer = app.test_client().get("/no-such-page", headers={"X-Request-ID": "abc-123"})
    assert answer.headers["X-Request-ID"] == "abc-123"


@pytest.mark.parametrize("kind", ["json", "text"])
def test_clients_cannot_forge_log_lines(make, kind: str) -> None:
    client = make(LOG_FORMAT=kind).test_client()
    assert len(lines(client, "/a%0A2026-01-01T00:00:00 INFO all is well%0D%1b[31m")) == 1


def test_the_level_comes_from_the_environment(make, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("LOG_LEVEL", "warning")
    assert lines(make().test_client(), "/healthz") == []


def test_an_unknown_format_is_refused_at_startup(make) -> None:
    with pytest.raises(RuntimeError, match="json or text"):
        make(LOG_FORMAT="xml")


@pytest.mark.parametrize("kind", ["json", "text"])
def test_no_token_password_or_key_is_in_the_log(make, kind: str, capsys) -> None:
    key = "a key for this very test"
    app = make(LOG_FORMAT=kind, LOG_LEVEL="DEBUG", SECRET_KEY=key, PROPAGATE_EXCEPTIONS=False)
    add_user(app, "new@example.com", confirmed=False)
    client = log_in(app, "new@example.com")
    with app.app_context(), mail.record_messages() as outbox:
        client.post("/account/confirm")
        client.post("/account/reset", data={"email": "new@example.com"})
    addresses = [re.search(r"http://localhost(\S+)", message.body)[1] for message in outbox]
    tokens = [address.rpartition("/")[2] for address in addresses]
    assert len(tokens) == 2
    for address in addresses:
        app.test_client().get(address)
        app.test_client().get("/account/login", query_string={"next": address})
        client.get(address)
        client.get(address + "/more")
    broken = {"account.confirm": lambda token: 1 / 0, "account.reset": lambda token: 1 / 0}
    app.view_functions |= broken
    for address in addresses:
        assert client.get(address).status_code == 500
    log = capsys.readouterr().err
    assert "ZeroDivisionError" in log
    assert "/account/confirm/***" in log and "/account/reset/***" in log
    for secret in (*tokens, PASSWORD, key):
        assert secret not in log


def test_an_error_of_the_database_is_logged_without_its_values(make, capsys) -> None:
    app = make(PROPAGATE_EXCEPTIONS=False)
    add_user(app, "anna@example.com")
    app.add_url_rule("/twice", "twice", lambda: str(add_user(app, "anna@example.com")))
    assert app.test_client().get("/twice").status_code == 500
    log = capsys.readouterr().err
    assert "IntegrityError" in log
    assert "pbkdf2" not in log
