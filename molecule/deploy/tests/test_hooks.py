"""The site's own commands around a deploy, and what is kept of its data before them."""

from __future__ import annotations

from collections.abc import Callable

import pytest
from ledger import history, live_releases, run, run_ok
from support import Site

pytestmark = pytest.mark.breaks
testinfra_hosts = ["ansible://east"]

ROWS = "import sqlite3, sys; print(*sqlite3.connect(sys.argv[1]).execute('SELECT release FROM upgrades').fetchall())"


def notes(site: Site) -> list[str]:
    """What the hooks have left behind."""
    return site.machine.output("cat %s/shared/data/notes 2>/dev/null || true", site.root).splitlines()


def test_a_migration_is_preceded_by_a_copy_and_followed_by_a_word(ledgers: list[Site], version: Callable) -> None:
    east, west = ledgers
    before = notes(west)
    run_ok("deploy", sites=version("copied"))
    (live,) = live_releases(ledgers)
    copy = f"{east.root}/shared/data/.snapshots/{live}/ledger.sqlite"
    assert live not in east.machine.output("python3 -c %s %s", ROWS, copy)
    assert live in east.machine.output("python3 -c %s %s", ROWS, f"{east.root}/shared/data/ledger.sqlite")
    assert east.machine.output("stat -c %%U:%%a %s", copy) == "ledger:600"
    assert notes(east)[-1] == f"after_live {live}"
    assert notes(west) == before, "once for the site"


def test_a_failing_migration_leaves_what_is_live_and_says_where_the_copy_is(
    ledgers: list[Site], version: Callable
) -> None:
    before, east = live_releases(ledgers), ledgers[0]
    hooks = {"before_start": ["python manage.py upgrade", "python -c 'exit(\"no such table\")'"]}
    hooks |= {"on_failure": ["python manage.py note on_failure"]}
    done = run("deploy", sites=version("failing", hooks=hooks))
    assert done.rc != 0
    assert "no such table" in done.output
    assert "Its SQLite files as they were before: /srv/ledger/shared/data/.snapshots/" in done.output
    assert live_releases(ledgers) == before
    assert notes(east)[-1].startswith("on_failure ")
    assert notes(east)[-1].split()[1] not in before
    assert "deploy result=failed" in history(east)[-1]
    run_ok("deploy", sites=version("mended"))


def test_what_fails_after_going_live_is_told_and_not_taken_back(ledgers: list[Site], version: Callable) -> None:
    before = live_releases(ledgers)
    hooks = {"after_live": ["python -c 'exit(\"cache stays cold\")'"]}
    done = run("deploy", sites=version("late", hooks=hooks))
    assert done.rc != 0
    assert "cache stays cold" in done.output
    assert live_releases(ledgers) != before
    run_ok("deploy", sites=version("later"))
