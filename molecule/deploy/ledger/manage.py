"""The commands of the site, for its hooks and its background processes."""

from __future__ import annotations

import os
import signal
import sys
from contextlib import closing

from schema import DATA, SCHEMA, connect, found


def upgrade() -> None:
    """Migrate the database to the schema of this code, and record each migration."""
    with closing(connect()) as ledger, ledger:
        ledger.execute("CREATE TABLE IF NOT EXISTS upgrades (release TEXT)")
        ledger.execute("INSERT INTO upgrades VALUES (?)", (os.environ["SITE_RELEASE"],))
        ledger.execute(f"PRAGMA user_version = {max(SCHEMA, found(ledger))}")


def fits() -> None:
    """Fail if the schema of the database is newer than this code."""
    with closing(connect()) as ledger:
        if found(ledger) > SCHEMA:
            sys.exit(f"the ledger is at {found(ledger)}, and this code knows {SCHEMA}")


def note(word: str) -> None:
    """Write a line to the notes."""
    with (DATA / "notes").open("a") as notes:
        notes.write(f"{word} {os.environ['SITE_RELEASE']}\n")


def work() -> None:
    """Run until SIGTERM, and then end cleanly."""
    signal.signal(signal.SIGTERM, lambda *_: (note("finished"), sys.exit(0)))
    note("at-work")
    while True:
        signal.pause()


if __name__ == "__main__":
    {"upgrade": upgrade, "fits": fits, "note": note, "work": work}[sys.argv[1]](*sys.argv[2:])
