"""The page, and the two answers in JSON."""

from __future__ import annotations

import os
import re

from flask import Flask
from flask.testing import FlaskClient
from wordbook import create_app
from wordbook.words import all_words


def test_the_page_shows_every_word_in_both_languages(client: FlaskClient) -> None:
    page = client.get("/")
    assert page.status_code == 200
    for word in all_words():
        assert f">{word.english}</th>" in page.text
        assert f'lang="zh-Hans">{word.chinese}</td>' in page.text


def test_words_are_in_alphabetical_order() -> None:
    english = [word.english for word in all_words()]
    assert english == sorted(english)


def test_everything_the_page_links_to_is_there_and_local(client: FlaskClient) -> None:
    links = re.findall(r'(?:href|src)="([^"]+)"', client.get("/").text)
    assert any(link.startswith("/static/style.css") for link in links)
    for link in links:
        assert link.startswith("/") and not link.startswith("//"), "no page of ours needs another site"
        with client.get(link) as answer:
            assert answer.status_code == 200


def test_an_unknown_address_gets_a_page_of_the_site(client: FlaskClient) -> None:
    page = client.get("/no-such-page")
    assert page.status_code == 404
    assert "Back to the words" in page.text


def test_a_fault_gets_a_page_of_the_site_without_details(app: Flask) -> None:
    @app.get("/fault")
    def fault() -> str:
        raise ValueError("a private detail")

    app.config["PROPAGATE_EXCEPTIONS"] = False
    page = app.test_client().get("/fault")
    assert page.status_code == 500
    assert "Back to the words" in page.text
    assert "a private detail" not in page.text


def test_redirects_are_not_taken_for_errors(app: Flask) -> None:
    @app.get("/folder/")
    def folder() -> str:
        return "here"

    assert app.test_client().get("/folder").status_code == 308


def test_healthz_says_which_release_answers(client: FlaskClient) -> None:
    assert client.get("/healthz").json == {"status": "ok", "site": "wordbook", "release": "development"}
    app = create_app({"TESTING": True, "SITE_NAME": "shop", "SITE_RELEASE": "20260102T030405Z-01234567"})
    answer = app.test_client().get("/healthz").json
    assert answer == {"status": "ok", "site": "shop", "release": "20260102T030405Z-01234567"}


def test_whoami_says_what_the_app_sees(client: FlaskClient) -> None:
    answer = client.get("/whoami", base_url="https://words.example.com", environ_base={"REMOTE_ADDR": "192.0.2.7"})
    assert answer.json == {
        "remote_addr": "192.0.2.7",
        "scheme": "https",
        "host": "words.example.com",
        "forwarded_for": None,
        "pid": os.getpid(),
    }


def test_whoami_reports_forwarded_headers_but_does_not_believe_them(client: FlaskClient) -> None:
    forged = {"X-Forwarded-For": "203.0.113.9", "X-Forwarded-Proto": "https", "X-Forwarded-Host": "evil.example"}
    answer = client.get("/whoami", headers=forged).json
    assert answer["forwarded_for"] == "203.0.113.9"
    assert (answer["remote_addr"], answer["scheme"], answer["host"]) == ("127.0.0.1", "http", "localhost")


def test_json_keeps_chinese_readable() -> None:
    app = create_app({"TESTING": True, "SITE_NAME": "单词本"})
    assert "单词本" in app.test_client().get("/healthz").get_data(as_text=True)
