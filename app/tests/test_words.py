"""The pages for words."""

from __future__ import annotations

import re

import pytest
from conftest import add_user, add_word, all_words, log_in
from flask import Flask
from flask.testing import FlaskClient

TEA = {"english": "tea", "chinese": "茶", "english_example": "I like tea.", "chinese_example": "我喜欢茶。"}


def test_the_list_shows_words_in_both_languages_in_alphabetical_order(app: Flask, client: FlaskClient) -> None:
    for english, chinese in (("wind", "风"), ("Book", "书"), ("tea", "茶")):
        add_word(app, english, chinese)
    page = client.get("/").text
    assert page.index(">Book</a>") < page.index(">tea</a>") < page.index(">wind</a>")
    assert 'lang="zh-Hans">风</td>' in page


def test_the_list_has_pages(app: Flask, client: FlaskClient) -> None:
    app.config["WORDS_PER_PAGE"] = 2
    for number in range(5):
        add_word(app, f"word{number}", "字")
    second = client.get("/?page=2").text
    assert "word2" in second and "word3" in second
    assert "word1<" not in second and "word4<" not in second
    assert re.findall(r'href="\s*(/\?page=\d)"', second) == ["/?page=1", "/?page=1", "/?page=3", "/?page=3"]


@pytest.mark.parametrize("page", ["0", "-1", "99", "9" * 40, "x", "", "1.5"])
def test_a_missing_page_is_not_an_internal_error(app: Flask, client: FlaskClient, page: str) -> None:
    add_word(app)
    assert client.get("/", query_string={"page": page}).status_code == 200


def test_the_query_is_not_passed_to_url_for(app: Flask, client: FlaskClient) -> None:
    app.config["WORDS_PER_PAGE"] = 1
    add_word(app)
    add_word(app)
    page = client.get("/?_external=1&_scheme=javascript&endpoint=x&_anchor=here")
    assert page.status_code == 200
    assert "javascript:" not in page.text


@pytest.mark.parametrize("text", ["ORANGE", "橙", "squeezed", "鲜榨"])
def test_a_search_covers_every_field(app: Flask, client: FlaskClient, text: str) -> None:
    add_word(app, "orange", "橙子", english_example="freshly squeezed", chinese_example="鲜榨的")
    add_word(app, "wind", "风")
    page = client.get("/", query_string={"q": text}).text
    assert ">orange</a>" in page
    assert ">wind</a>" not in page


@pytest.mark.parametrize("text", ["' OR 1=1 --", "'; DROP TABLE words; --", "%", "_", "\\", "\x00"])
def test_a_search_cannot_inject_sql(app: Flask, client: FlaskClient, text: str) -> None:
    add_word(app)
    page = client.get("/", query_string={"q": text})
    assert page.status_code == 200
    assert (">tea</a>" in page.text) is (text == "\x00"), "only what is empty once cleaned finds everything"
    assert len(all_words(app)) == 1


def test_a_word_is_added_shown_edited_and_deleted(app: Flask, anna: FlaskClient) -> None:
    page = anna.post("/words/add", data=TEA, follow_redirects=True)
    assert "Added 已添加: tea 茶" in page.text
    (word,) = all_words(app)
    assert "我喜欢茶。" in anna.get(f"/words/{word.id}").text

    page = anna.post(f"/words/{word.id}/edit", data=TEA | {"chinese": "茶叶"}, follow_redirects=True)
    assert "茶叶" in page.text
    assert 'value="茶叶"' in anna.get(f"/words/{word.id}/edit").text

    page = anna.post(f"/words/{word.id}/delete", follow_redirects=True)
    assert "Deleted 已删除" in page.text
    assert all_words(app) == []


@pytest.mark.parametrize("change", [{"english": ""}, {"chinese": "  "}, {"english": "x" * 101}, {"english": "\x00\n"}])
def test_an_invalid_word_is_refused(app: Flask, anna: FlaskClient, change: dict[str, str]) -> None:
    assert anna.post("/words/add", data=TEA | change).status_code == 422
    assert all_words(app) == []


def test_html_in_a_word_is_escaped(app: Flask, anna: FlaskClient) -> None:
    page = anna.post("/words/add", data=TEA | {"english": "<script>alert(1)</script>"}, follow_redirects=True)
    assert "&lt;script&gt;alert(1)&lt;/script&gt;" in page.text
    for address in ("/", f"/words/{all_words(app)[0].id}", "/?q=<script>"):
        assert "<script>" not in anna.get(address).text


def test_an_id_is_never_reused(app: Flask) -> None:
    first = add_word(app)
    admin = add_user(app, "admin@example.com", admin=True)
    assert log_in(app, "admin@example.com").post(f"/words/{first}/delete").status_code == 302
    assert admin
    assert add_word(app) > first


@pytest.mark.parametrize("number", ["0", "99", "9" * 30, "-1", "x"])
def test_a_missing_word_is_404(client: FlaskClient, number: str) -> None:
    assert client.get(f"/words/{number}").status_code == 404


@pytest.mark.parametrize("path", ["/words/add", "/words/{}/edit", "/words/{}/delete"])
def test_an_anonymous_visitor_is_sent_to_the_login(app: Flask, client: FlaskClient, path: str) -> None:
    path = path.format(add_word(app))
    answer = client.post(path, data=TEA | {"english": "changed"})
    assert answer.status_code == 302
    assert answer.location == "/account/login", "the form data is lost, and /delete has no page to return to"
    assert [word.english for word in all_words(app)] == ["tea"]


def test_login_returns_to_the_requested_page(client: FlaskClient) -> None:
    answer = client.get("/words/add?a=1")
    assert answer.location == "/account/login?next=%2Fwords%2Fadd%3Fa%3D1"
    assert "请先登录" in client.get(answer.location).text


@pytest.mark.parametrize("verb", ["edit", "delete"])
def test_a_word_of_another_account_cannot_be_changed(app: Flask, anna_id: int, ben: FlaskClient, verb: str) -> None:
    number = add_word(app, owner_id=anna_id)
    answer = ben.post(f"/words/{number}/{verb}", data=TEA | {"english": "changed"})
    assert answer.status_code == 403
    assert "别人的单词" in answer.text
    assert [word.english for word in all_words(app)] == ["tea"]
    assert f"/words/{number}/edit" not in ben.get(f"/words/{number}").text


def test_only_admins_change_words_without_an_owner(app: Flask, ben: FlaskClient, admin: FlaskClient) -> None:
    number = add_word(app)
    assert ben.get(f"/words/{number}/edit").status_code == 403
    assert admin.post(f"/words/{number}/edit", data=TEA | {"english": "changed"}).status_code == 302
    assert [word.english for word in all_words(app)] == ["changed"]


def test_an_unconfirmed_account_adds_nothing(app: Flask) -> None:
    add_user(app, "new@example.com", confirmed=False)
    answer = log_in(app, "new@example.com").post("/words/add", data=TEA)
    assert answer.location == "/account/confirm"
    assert all_words(app) == []
