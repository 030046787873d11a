"""Uploads, valid and invalid."""

from __future__ import annotations

import pytest
import requests
from people import Client, png
from support import Site

testinfra_hosts = ["ansible://paper"]
LIMIT = 1024 * 1024  # client_max_body_size of the site


def upload(client: Client, name: str, content: bytes, word: str = "upload") -> requests.Response:
    """Add a word with this file."""
    return client.add(word, files={"picture": (name, content)})


@pytest.mark.parametrize(
    ("name", "content"),
    [
        ("empty.png", b""),
        ("script.jpg", b"#!/bin/sh\necho hello\n"),
        ("page.gif", b"<html><script>alert(1)</script>"),
        ("script.py", b"print('hello')"),
        ("other.jpg", png()),
    ],
)
def test_a_file_that_is_no_picture_is_refused_and_not_stored(admin: Client, name: str, content: bytes) -> None:
    media = f"ls {admin.site.root}/shared/media | wc -l"
    before = (admin.words()["total"], admin.site.machine.output(media))
    assert upload(admin, name, content).status_code == 422
    assert (admin.words()["total"], admin.site.machine.output(media)) == before


@pytest.mark.parametrize("name", ["../../x.png", "/etc/cron.d/x.png", "..\\x.png", "茶.PNG", ".htaccess.png"])
def test_a_strange_name_ends_in_the_folder_for_pictures(admin: Client, book: Site, name: str) -> None:
    answer = upload(admin, name, png())
    assert answer.status_code == 302
    word = admin.get(answer.headers["Location"].replace("/words/", "/api/words/")).json()
    assert word["picture"].startswith("/media/")
    served = book.get(word["picture"])
    assert served.status == 200
    assert served.headers["Content-Type"] == "image/png"
    assert "sandbox" in served.headers["Content-Security-Policy"]


def test_one_byte_over_the_limit_is_refused_by_nginx_and_the_limit_itself_is_not(admin: Client) -> None:
    def send(size: int) -> requests.Response:
        return requests.post(
            admin.base + "/echo", data=b"x" * size, headers={"Host": admin.site.server_name}, timeout=30
        )

    over, exact = send(LIMIT + 1), send(LIMIT)
    assert over.status_code == 413
    assert "This is too large" in over.text
    # The app's limit for this path is smaller, and it has its own message.
    assert exact.status_code == 413
    assert "This is too large" not in exact.text
    assert "SITE_MAX_BODY" in admin.site.environment()
    assert int(admin.site.environment()["SITE_MAX_BODY"]) == LIMIT


def test_a_form_without_its_token_changes_nothing(admin: Client) -> None:
    before = admin.words()["total"]
    answer = admin.session.post(admin.base + "/words/add", data={"english": "forged", "chinese": "假"}, timeout=30)
    assert answer.status_code == 400
    assert admin.words()["total"] == before
