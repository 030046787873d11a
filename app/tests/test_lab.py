"""Echo, cookies, whoami and the probe."""

from __future__ import annotations

import os
import threading
from io import BytesIO

import pytest
from flask import Flask
from flask.testing import FlaskClient
from wordbook.lab.proxies import proxy_kind


def test_echo_shows_the_request(client: FlaskClient) -> None:
    answer = client.post("/echo?a=1&a=二&b=3", data={"text": "你好"}, headers={"Accept": "application/json"}).json
    assert answer["query"] == {"a": ["1", "二"], "b": ["3"]}
    assert answer["query_first"] == {"a": "1", "b": "3"}
    assert answer["form"] == {"text": ["你好"]}
    assert answer["body"] == "text=%E4%BD%A0%E5%A5%BD"
    raw = client.post("/echo", data=b"\xff" * 5000, headers={"Accept": "application/json"}).json
    assert (raw["length"], len(raw["body"])) == (5000, 2000)


def test_echo_is_bounded_and_runs_nothing(client: FlaskClient) -> None:
    body = BytesIO(b"x" * (64 * 1024 + 1))
    # As gunicorn does: it knows the end of the body.
    answer = client.post(
        "/echo", input_stream=body, content_length=64 * 1024 + 1, environ_overrides={"wsgi.input_terminated": True}
    )
    assert answer.status_code == 413
    # A client that is still sending would get no response from a server that closes.
    assert body.read() == b""
    page = client.post("/echo?a=<script>alert(1)</script>", data="<script>alert(2)</script>")
    assert page.status_code == 200
    assert page.text.count("&lt;script&gt;") >= 3
    assert "<script>" not in page.text


def test_cookies_are_set_and_deleted(client: FlaskClient) -> None:
    answer = client.post("/cookies", data={"name": "greeting", "value": "你好; a=b", "days": "3"})
    header = answer.headers["Set-Cookie"]
    assert header.startswith("demo_greeting=%E4%BD%A0%E5%A5%BD%3B%20a%3Db;")
    assert "Max-Age=259200" in header and "HttpOnly" in header and "SameSite=Lax" in header
    assert "Secure" not in header
    assert "你好; a=b" in client.get("/cookies").text
    client.post("/cookies/greeting/delete")
    assert client.get_cookie("demo_greeting") is None


@pytest.mark.parametrize("change", [{"name": "a=b"}, {"name": "a\r\nSet-Cookie: x"}, {"name": "茶"}, {"days": "999"}])
def test_an_invalid_cookie_is_refused(client: FlaskClient, change: dict[str, str]) -> None:
    answer = client.post("/cookies", data={"name": "a", "value": "b", "days": "1"} | change)
    assert answer.status_code == 422
    assert "Set-Cookie" not in answer.headers


def test_the_session_cookie_cannot_be_changed(client: FlaskClient) -> None:
    client.get("/cookies")
    client.post("/cookies/session/delete")
    assert "You have seen this page 2 times" in client.get("/cookies").text


def test_the_session_works_in_other_workers_and_releases(make) -> None:
    first = make(SECRET_KEY="the same in every worker", SITE_RELEASE="one").test_client()
    first.get("/cookies")
    cookie = first.get_cookie("session").value
    for key, times in (("the same in every worker", 2), ("another key altogether", 1)):
        other = make(SECRET_KEY=key, SITE_RELEASE="two").test_client()
        other.set_cookie("session", cookie)
        assert f"You have seen this page {times} times" in other.get("/cookies").text


@pytest.mark.parametrize(
    ("kind", "via", "told", "mine"),
    [
        # What a site can detect by itself.
        ("none or elite", "", "", None),
        ("none or elite", " ", " ", None),
        ("transparent", "1.1 squid", "192.0.2.7", None),
        ("transparent", "1.1 squid", "192.0.2.7, 10.0.0.1", None),
        ("transparent", "1.1 squid", "[2001:db8::7]:80", None),
        ("transparent", "", "192.0.2.7", None),
        ("anonymous", "1.1 squid", "", None),
        ("anonymous", "1.1 squid", "unknown", None),
        ("distorting", "1.1 squid", "nonsense", None),
        ("distorting", "1.1 squid", "999.1.1.1", None),
        ("distorting", "1.1 squid", "0.0.0.0", None),
        # A client that gives its own address gets the exact result.
        ("none", "", "", "198.51.100.1"),
        ("none", "", "", "::ffff:198.51.100.1"),
        ("elite", "", "", "192.0.2.7"),
        ("transparent", "1.1 squid", "192.0.2.7", "192.0.2.7"),
        ("transparent", "1.1 squid", "192.0.2.7:1234", "192.0.2.7"),
        ("distorting", "1.1 squid", "203.0.113.9", "192.0.2.7"),
        ("distorting", "1.1 squid", "nonsense", "192.0.2.7"),
        ("anonymous", "1.1 squid", "", "192.0.2.7"),
        ("anonymous", "1.1 squid", "unknown", "192.0.2.7"),
    ],
)
def test_the_kind_of_proxy_is_detected(kind: str, via: str, told: str, mine: str | None) -> None:
    assert proxy_kind("198.51.100.1", via, told, mine) == kind


def test_whoami_shows_the_request_as_the_app_sees_it(client: FlaskClient) -> None:
    answer = client.get("/whoami", base_url="https://words.example.com", environ_base={"REMOTE_ADDR": "192.0.2.7"})
    assert answer.json == {
        "remote_addr": "192.0.2.7",
        "scheme": "https",
        "host": "words.example.com",
        "forwarded_for": None,
        "pid": os.getpid(),
        "chain": {"REMOTE_ADDR": "192.0.2.7", "Via": None, "X-Forwarded-For": None},
        "proxy": "none or elite",
    }


def test_whoami_reports_forwarded_headers_but_does_not_trust_them(client: FlaskClient) -> None:
    forged = {"X-Forwarded-For": "203.0.113.9", "X-Forwarded-Proto": "https", "X-Forwarded-Host": "evil.example"}
    answer = client.get("/whoami", headers=forged).json
    assert answer["forwarded_for"] == "203.0.113.9"
    assert (answer["remote_addr"], answer["scheme"], answer["host"]) == ("127.0.0.1", "http", "localhost")


@pytest.mark.parametrize(
    ("headers", "query", "kind"),
    [
        ({"X-Forwarded-For": "127.0.0.1"}, "", "none or elite"),  # written by our own nginx
        ({"X-Forwarded-For": "127.0.0.1", "X-Client-Via": "1.1 p"}, "", "anonymous"),
        (
            {"X-Forwarded-For": "127.0.0.1", "X-Client-Via": "1.1 p", "X-Client-Forwarded-For": "192.0.2.7"},
            "",
            "transparent",
        ),
        ({"Via": "1.1 p", "X-Forwarded-For": "192.0.2.7"}, "", "transparent"),
        ({"Via": "1.1 p", "X-Forwarded-For": "192.0.2.7"}, "?my_address=192.0.2.8", "distorting"),
        ({}, "?my_address=127.0.0.1", "none"),
        ({}, "?my_address=192.0.2.7", "elite"),
    ],
)
def test_whoami_names_the_kind_of_proxy(client: FlaskClient, headers: dict[str, str], query: str, kind: str) -> None:
    assert client.get(f"/whoami{query}", headers=headers).json["proxy"] == kind


def test_an_invalid_address_is_refused(client: FlaskClient) -> None:
    assert client.get("/whoami?my_address=here").status_code == 400


def test_the_probe_is_off_by_default_and_bounded(app: Flask, make) -> None:
    assert app.test_client().get("/probe").status_code == 404
    client = make(PROBE_MAX_SECONDS=0.05).test_client()
    answer = client.get("/probe?seconds=0.01").json
    assert answer["pid"] == os.getpid()
    assert answer["thread"] == threading.get_ident()
    assert answer["worker_class"] == "development"
    for seconds in ("1", "-1", "nan", "inf"):
        assert client.get(f"/probe?seconds={seconds}").status_code == 400


def test_the_probe_counts_the_running_requests_of_a_process(make, monkeypatch: pytest.MonkeyPatch) -> None:
    app, counts = make(PROBE_MAX_SECONDS=1), []

    def meanwhile(seconds: float) -> None:
        if seconds > 0.5:
            counts.append(app.test_client().get("/probe?seconds=0.1").json["at_once"])

    monkeypatch.setattr("wordbook.lab.routes.time.sleep", meanwhile)
    counts.append(app.test_client().get("/probe?seconds=1").json["at_once"])
    counts.append(app.test_client().get("/probe?seconds=0.1").json["at_once"])
    assert counts == [2, 1, 1]
