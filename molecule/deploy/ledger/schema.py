"""What this version of the code makes of its database."""

from __future__ import annotations

import os
import sqlite3
from pathlib import Path

# Raised by a version whose migration older versions cannot live with.
SCHEMA = 1
DATA = Path(os.environ["SITE_SHARED"], "data")


def connect() -> sqlite3.Connection:
    """The ledger."""
    return sqlite3.connect(DATA / "ledger.sqlite", timeout=10)


def found(ledger: sqlite3.Connection) -> int:
    """The version of its tables."""
    return int(ledger.execute("PRAGMA user_version").fetchone()[0])
