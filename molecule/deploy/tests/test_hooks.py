"""The hooks of a deploy, and the snapshots of SQLite files before them."""

from __future__ import annotations

from collections.abc import Callable

import pytest
from ledger import history, live_releases, run, run_ok
from support import Site

pytestmark = pytest.mark.breaks
testinfra_hosts = ["ansible://east"]

ROWS = "import sqlite3, sys; print(*sqlite3.connect(sys.argv[1]).execute('SELECT release FROM upgrades').fetchall())"


def notes(site: Site) -> list[str]:
    """The lines that the hooks have written."""
    return site.machine.output("cat %s/shared/data/notes 2>/dev/null || true", site.root).splitlines()


def test_a_snapshot_precedes_the_migration_and_after_live_follows(ledgers: list[Site], version: Callable) -> None:
    east, west = ledgers
    before = notes(west)
    run_ok("deploy", sites=version("copied"))
    (live,) = live_releases(ledgers)
    snapshot = f"{east.root}/shared/data/.snapshots/{live}/ledger.sqlite"
    assert live not in east.machine.output("python3 -c %s %s", ROWS, snapshot)
    assert live in east.machine.output("python3 -c %s %s", ROWS, f"{east.root}/shared/data/ledger.sqlite")
    assert east.machine.output("stat -c %%U:%%a %s", snapshot) == "ledger:600"
    assert notes(east)[-1] == f"after_live {live}"
    assert notes(west) == before, "hooks run once for the site, on its first host"


def test_a_failing_migration_leaves_the_live_release_and_names_the_snapshot(
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


def test_a_failing_after_live_hook_is_reported_and_not_rolled_back(ledgers: list[Site], version: Callable) -> None:
    before = live_releases(ledgers)
    hooks = {"after_live": ["python -c 'exit(\"cache stays cold\")'"]}
    done = run("deploy", sites=version("late", hooks=hooks))
    assert done.rc != 0
    assert "cache stays cold" in done.output
    assert live_releases(ledgers) != before
