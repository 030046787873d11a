"""The same site on three databases, on two hosts."""

from __future__ import annotations

from concurrent.futures import ThreadPoolExecutor

import pytest
from people import Client, flask
from support import SITES, Machine, Site, address_of

CLIENTS, WORDS = 8, 200


def test_every_database_has_the_tables_that_the_release_needs(site: Site) -> None:
    ready = site.get("/readyz")
    assert (ready.status, ready.json["status"]) == (200, "ok")


def test_words_are_kept_whole_in_every_script(site: Site) -> None:
    flask(site, "create-admin", "admin@example.org")
    client = Client(site).log_in("admin@example.org")
    word = f"<b>{site.machine.name}</b> ' OR 1=1 -- {site.name}"
    assert client.add(word, "好𠮷🍵").status_code == 302
    found = client.words(word)["words"]
    assert [(entry["english"], entry["chinese"]) for entry in found] == [(word, "好𠮷🍵")]
    page = client.get("/", params={"q": site.machine.name}).text
    assert f"<b>{site.machine.name}</b>" not in page
    assert f"&lt;b&gt;{site.machine.name}&lt;/b&gt;" in page


@pytest.mark.parametrize("name", ["library", "ledger"])
def test_who_logs_in_on_one_host_is_known_on_the_other(machine: Machine, name: str) -> None:
    site = Site(machine, name, SITES[name])
    flask(site, "create-admin", "admin@example.org")
    client = Client(site).log_in("admin@example.org")
    other = "ink" if machine.name == "paper" else "paper"
    elsewhere = Client(site, address_of(other))
    elsewhere.session.cookies.update(client.session.cookies.get_dict())
    assert "admin@example.org" in elsewhere.get("/").text


@pytest.mark.parametrize("machine_name", ["paper"])
def test_many_clients_who_add_words_at_once_lose_none(book: Site, machine_name: str) -> None:
    if book.machine.name != machine_name:
        pytest.skip("once is enough")
    flask(book, "create-admin", "admin@example.org")
    before = Client(book).words()["total"]

    def work(number: int) -> set[int]:
        client = Client(book).log_in("admin@example.org")
        return {client.add(f"crowd {number} {count}").status_code for count in range(WORDS)}

    with ThreadPoolExecutor(CLIENTS) as pool:
        assert set().union(*pool.map(work, range(CLIENTS))) == {302}
    assert Client(book).words()["total"] - before == CLIENTS * WORDS
    assert Client(book).words("crowd")["total"] == CLIENTS * WORDS
