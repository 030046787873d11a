"""The log of the app about its requests."""

from __future__ import annotations

import json

from support import Site, wait_until

testinfra_hosts = ["ansible://paper"]


def test_a_request_is_one_line_of_json_under_the_id_that_the_client_got(book: Site) -> None:
    answer = book.get("/account/reset/key-from-a-mail?next=secret")
    command = ("grep -F %s /var/log/wordbook/server.log", answer.headers["X-Request-ID"])
    line = json.loads(wait_until(lambda: book.machine.host.run(*command).stdout, "the request is logged"))
    assert (line["site"], line["release"], line["status"]) == ("wordbook", book.release, answer.status)
    assert (line["method"], line["path"]) == ("GET", "/account/reset/***")
    assert line["ms"] > 0


def test_no_password_of_the_environment_is_in_any_log(book: Site) -> None:
    secret, password = book.environment()["SECRET_KEY"], "only-for-tests"
    assert book.machine.host.run("grep -rFl %s /var/log", secret).stdout == ""
    # The journal has the command with which these tests created the database.
    assert book.machine.host.run("grep -rFl %s /var/log --exclude-dir=journal", password).stdout == ""
