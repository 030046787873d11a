"""The JSON API."""

from __future__ import annotations

import pytest
from conftest import add_word, all_words
from flask import Flask
from flask.testing import FlaskClient
from wordbook.json_provider import LIBRARIES


@pytest.mark.parametrize(("a", "b", "total"), [(1, 2, 3), (-1, 0.5, -0.5), (2**53, 0, 2**53)])
def test_two_numbers_are_added(client: FlaskClient, a: float, b: float, total: float) -> None:
    assert client.post("/api/add", json={"a": a, "b": b}).json == {"sum": total}


BAD = {
    "": "not JSON",
    "{": "not JSON",
    "\xff": "not JSON",
    "a=1&b=2": "not JSON",
    "[" * 100_00: "not JSON",
    '{"a": NaN, "b": 1}': "not JSON",
    '{"a": 1, "b": Infinity}': "not JSON",
    "[1, 2]": "not an object",
    "null": "not an object",
    '"a"': "not an object",
    '{"a": 1}': "b is missing",
    '{"a": "1", "b": 2}': "a is not a number",
    '{"a": 1, "b": true}': "b is not a number",
    '{"a": 1, "b": null}': "b is not a number",
    '{"a": [1], "b": 2}': "a is not a number",
    '{"a": 1, "b": 1' + "0" * 30 + "}": "b is too large",
    '{"a": 1, "b": -1' + "0" * 300 + "}": "b is too large",
    '{"a": 9007199254740992, "b": 1}': "the sum is too large",
}


@pytest.mark.parametrize("library", LIBRARIES)
@pytest.mark.parametrize(("body", "reason"), BAD.items(), ids=[body[:20] for body in BAD])
def test_a_malformed_body_gets_400_and_the_reason(make, library: str, body: str, reason: str) -> None:
    client = make(JSON_LIBRARY=library).test_client()
    answer = client.post("/api/add", data=body.encode("latin-1"), content_type="application/json")
    assert answer.status_code == 400
    assert answer.json["status"] == 400
    assert reason in answer.json["error"]


@pytest.mark.parametrize("library", LIBRARIES)
@pytest.mark.parametrize("number", ["1e400", "9" * 5000])
def test_numbers_beyond_the_limits_are_refused(make, library: str, number: str) -> None:
    answer = make(JSON_LIBRARY=library).test_client().post("/api/add", data=f'{{"a": {number}, "b": 1}}')
    assert answer.status_code == 400


def test_a_body_that_is_too_long_is_refused(client: FlaskClient) -> None:
    answer = client.post("/api/add", data=b" " * 10_001)
    assert answer.status_code == 413
    assert answer.is_json


def test_words_are_listed_in_pages(app: Flask, client: FlaskClient) -> None:
    for number in range(3):
        add_word(app, f"word{number}", "字")
    add_word(app, "tea", "茶", picture="a-茶.png")
    answer = client.get("/api/words?page=2&per_page=2&q=word").json
    assert [word["english"] for word in answer.pop("words")] == ["word2"]
    assert answer == {"page": 2, "pages": 2, "per_page": 2, "total": 3}
    tea = client.get("/api/words?q=茶").json["words"][0]
    assert client.get(f"/api/words/{tea['id']}").json == tea
    assert tea["picture"] == "/media/a-%E8%8C%B6.png"
    assert tea["created_at"].endswith("Z")
    assert "owner_id" not in tea


@pytest.mark.parametrize(
    "query", ["page=0", "page=x", "page=", "per_page=101", "per_page=-1", "page=" + "9" * 30, "page=²"]
)
def test_an_invalid_page_number_is_refused(client: FlaskClient, query: str) -> None:
    answer = client.get(f"/api/words?{query}")
    assert answer.status_code == 400
    assert "is not a number from 1 to" in answer.json["error"]


@pytest.mark.parametrize(
    ("method", "path", "status"),
    [
        ("GET", "/api/words/999", 404),
        ("GET", "/api/nothing", 404),
        ("GET", "/api/add", 405),
        ("DELETE", "/api/words/1", 405),
        ("POST", "/api/words", 405),
    ],
)
def test_errors_are_json(app: Flask, client: FlaskClient, method: str, path: str, status: int) -> None:
    answer = client.open(path, method=method)
    assert answer.status_code == status
    assert answer.json["status"] == status
    assert answer.json["error"]
    assert ("Allow" in answer.headers) is (status == 405)
    assert all_words(app) == []


def test_an_internal_error_is_json_without_details(make) -> None:
    app = make(PROPAGATE_EXCEPTIONS=False)
    app.view_functions["api.words"] = lambda: 1 / 0
    answer = app.test_client().get("/api/words")
    assert answer.status_code == 500
    assert "division" not in answer.text
    assert answer.json["status"] == 500


def test_the_api_needs_no_csrf_token(make) -> None:
    client = make(WTF_CSRF_ENABLED=True).test_client()
    assert client.post("/api/add", json={"a": 1, "b": 2}).json == {"sum": 3}
