"""The database and its schema version."""

from __future__ import annotations

import os
import sqlite3
from pathlib import Path

# Increased by a version with a migration that older code cannot work with.
SCHEMA = 1
DATA = Path(os.environ["SITE_SHARED"], "data")


def connect() -> sqlite3.Connection:
    """Connect to the database."""
    return sqlite3.connect(DATA / "ledger.sqlite", timeout=10)


def found(ledger: sqlite3.Connection) -> int:
    """The schema version of the database."""
    return int(ledger.execute("PRAGMA user_version").fetchone()[0])
