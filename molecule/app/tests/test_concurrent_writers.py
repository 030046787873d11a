"""Concurrent writers on SQLite, which allows one at a time."""

from __future__ import annotations

from concurrent.futures import ThreadPoolExecutor

import pytest
from people import Client
from support import Site

pytestmark = pytest.mark.breaks
testinfra_hosts = ["ansible://paper"]

CLIENTS, WORDS = 8, 50


def test_no_word_of_concurrent_writers_is_lost(admin: Client, book: Site) -> None:
    before = admin.words()["total"]

    def work(number: int) -> set[int]:
        client = Client(book).log_in("admin@example.org")
        return {client.add(f"crowd {number} {count}").status_code for count in range(WORDS)}

    with ThreadPoolExecutor(CLIENTS) as pool:
        assert set().union(*pool.map(work, range(CLIENTS))) == {302}
    assert admin.words()["total"] - before == CLIENTS * WORDS
    assert "ERROR" not in book.machine.output("tail -n 2000 /var/log/wordbook/server.log")
