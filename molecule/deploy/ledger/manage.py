"""The site's own commands, which its hooks run, and its work in the background."""

from __future__ import annotations

import os
import signal
import sys
from contextlib import closing

from schema import DATA, SCHEMA, connect, found


def upgrade() -> None:
    """Bring the ledger to where this code wants it, and note each time."""
    with closing(connect()) as ledger, ledger:
        ledger.execute("CREATE TABLE IF NOT EXISTS upgrades (release TEXT)")
        ledger.execute("INSERT INTO upgrades VALUES (?)", (os.environ["SITE_RELEASE"],))
        ledger.execute(f"PRAGMA user_version = {max(SCHEMA, found(ledger))}")


def fits() -> None:
    """Tell whether this code can work with the ledger."""
    with closing(connect()) as ledger:
        if found(ledger) > SCHEMA:
            sys.exit(f"the ledger is at {found(ledger)}, and this code knows {SCHEMA}")


def note(word: str) -> None:
    """Leave a trace."""
    with (DATA / "notes").open("a") as notes:
        notes.write(f"{word} {os.environ['SITE_RELEASE']}\n")


def work() -> None:
    """Be at work until the signal comes, and end it well."""
    signal.signal(signal.SIGTERM, lambda *_: (note("finished"), sys.exit(0)))
    note("at-work")
    while True:
        signal.pause()


if __name__ == "__main__":
    {"upgrade": upgrade, "fits": fits, "note": note, "work": work}[sys.argv[1]](*sys.argv[2:])
