"""Rollback on all hosts or none, and rollback of a rollback."""

from __future__ import annotations

from collections.abc import Callable

import pytest
from ledger import history, live_releases, run, run_ok
from support import Site

pytestmark = pytest.mark.breaks
testinfra_hosts = ["ansible://east"]


def test_rollback_and_rollback_again(ledgers: list[Site], version: Callable) -> None:
    before = live_releases(ledgers)
    run_ok("deploy", sites=version("two"))
    newer = live_releases(ledgers)
    assert len(newer) == 1, "one run gives one ID on all hosts"
    assert newer != before
    done = run_ok("rollback")
    assert live_releases(ledgers) == before
    assert "HEALTHY" in done.output
    run_ok("rollback")
    assert live_releases(ledgers) == newer
    assert [line.split()[0] for line in history(ledgers[0])[-3:]] == ["deploy", "rollback", "rollback"]
    run_ok("rollback", f"release={before.pop()}")


def test_a_release_that_is_gone_is_refused_with_a_list_of_those_that_exist(
    ledgers: list[Site], version: Callable
) -> None:
    gone = ledgers[0].machine.output("cat %s/previous", ledgers[0].root)
    for word in ("three", "four"):
        run_ok("deploy", sites=version(word, keep_releases=2))
    live = live_releases(ledgers)
    assert gone not in ledgers[0].machine.output("ls %s/releases", ledgers[0].root)
    done = run("rollback", f"release={gone}")
    assert done.rc != 0
    assert f"the release {gone} is not on this host" in done.output
    assert f"{ledgers[0].release} (live)" in done.output
    assert live_releases(ledgers) == live


def test_no_host_rolls_back_alone(ledgers: list[Site]) -> None:
    live = live_releases(ledgers)
    ledgers[1].machine.output("mv %s/previous %s/previous.away", *[ledgers[1].root] * 2)
    try:
        done = run("rollback")
    finally:
        ledgers[1].machine.output("mv %s/previous.away %s/previous", *[ledgers[1].root] * 2)
    assert done.rc != 0
    assert "no release was live before" in done.output
    assert live_releases(ledgers) == live
    assert "rollback result=failed" in history(ledgers[0])[-1]
    assert "not ready: west" in history(ledgers[0])[-1]


def test_a_newer_database_schema_stops_the_rollback(ledgers: list[Site], version: Callable) -> None:
    before = live_releases(ledgers)
    run_ok("deploy", sites=version("migrated", schema=2))
    live = live_releases(ledgers)
    done = run("rollback")
    assert done.rc != 0
    assert "the ledger is at 2, and this code knows 1" in done.output
    assert "schema=ok" in done.output
    assert live_releases(ledgers) == live
    run_ok("rollback", "schema=ok")
    assert live_releases(ledgers) == before
    reset = "import sqlite3, sys; c = sqlite3.connect(sys.argv[1]); c.execute('PRAGMA user_version = 1')"
    for site in ledgers:
        site.machine.output("python3 -c %s %s/shared/data/ledger.sqlite", reset, site.root)
