"""Static files across a switch: a page that was fetched just before it asks for its files just after it."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path

import pytest
from ledger import live_releases, run_ok
from support import Site

pytestmark = pytest.mark.breaks
testinfra_hosts = ["ansible://east"]

HASHED, PLAIN, NEWER = "/static/style.4be3a90c.css", "/static/plain.css", "/static/index-BTq4sZ1x.css"


def test_a_page_of_the_release_before_still_finds_what_carries_a_hash(ledgers: list[Site], version: Callable) -> None:
    old_page = [(site.get(HASHED).status, site.get(HASHED).body) for site in ledgers]
    assert old_page == [(200, b".hashed { }\n")] * 2
    newer = version("restyled")
    static = Path(newer["ledger"]["source"]["path"], "static")
    for file in static.iterdir():
        file.unlink()
    (static / Path(NEWER).name).write_text(".newer { }\n")

    run_ok("deploy", sites=newer)
    live_releases(ledgers)
    for site in ledgers:
        assert (site.get(HASHED).status, site.get(HASHED).body) == (200, b".hashed { }\n")
        assert site.get(NEWER).status == 200
        assert site.get(PLAIN).status == 404, "what carries no hash is gone at once"

    run_ok("rollback")
    live_releases(ledgers)
    for site in ledgers:
        assert (site.get(NEWER).status, site.get(NEWER).body) == (200, b".newer { }\n")
        assert site.get(HASHED).status == 200
        assert site.get(PLAIN).status == 200
