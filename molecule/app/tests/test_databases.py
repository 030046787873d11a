"""The same site on three databases, on two hosts."""

from __future__ import annotations

import html
import time

import pytest
from people import Client, flask
from support import SITES, Machine, Site, address_of


def test_every_database_has_the_tables_that_the_release_needs(site: Site) -> None:
    ready = site.get("/readyz")
    assert (ready.status, ready.json["status"]) == (200, "ok")


@pytest.mark.breaks
def test_words_of_every_script_are_stored_unchanged(site: Site) -> None:
    flask(site, "create-admin", "admin@example.org")
    client = Client(site).log_in("admin@example.org")
    # Unique, since the sites on the other host may share the database.
    word = f"<b>{time.time_ns()}</b> ' OR 1=1 -- {site.name}"
    assert client.add(word, "好𠮷🍵").status_code == 302
    found = client.words(word)["words"]
    assert [(entry["english"], entry["chinese"]) for entry in found] == [(word, "好𠮷🍵")]
    page = client.get("/", params={"q": word}).text
    assert html.escape(word.split("'")[0]) in page
    assert "<b>" not in page


@pytest.mark.parametrize("name", ["library", "ledger"])
def test_a_login_on_one_host_is_valid_on_the_other(machine: Machine, name: str) -> None:
    site = Site(machine, name, SITES[name])
    flask(site, "create-admin", "admin@example.org")
    client = Client(site).log_in("admin@example.org")
    other = "ink" if machine.name == "paper" else "paper"
    elsewhere = Client(site, address_of(other))
    elsewhere.session.cookies.update(client.session.cookies.get_dict())
    assert "admin@example.org" in elsewhere.get("/").text
