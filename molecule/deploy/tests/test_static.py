"""Static files across a switch: a browser with a page of the old release still finds its files."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path

import pytest
from ledger import live_releases, run_ok
from support import Site

pytestmark = pytest.mark.breaks
testinfra_hosts = ["ansible://east"]

HASHED, PLAIN, NEWER = "/static/style.4be3a90c.css", "/static/plain.css", "/static/index-BTq4sZ1x.css"


def test_hashed_files_of_the_previous_release_are_still_served(ledgers: list[Site], version: Callable) -> None:
    old_files = [(site.get(HASHED).status, site.get(HASHED).body) for site in ledgers]
    assert old_files == [(200, b".hashed { }\n")] * 2
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
        assert site.get(PLAIN).status == 404, "a file without a hash in its name is gone at once"

    run_ok("rollback")
    live_releases(ledgers)
    for site in ledgers:
        assert (site.get(NEWER).status, site.get(NEWER).body) == (200, b".newer { }\n")
        assert site.get(HASHED).status == 200
        assert site.get(PLAIN).status == 200
