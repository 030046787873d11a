"""How migrations run: on the site's own database, one process at a time, and wholly or not at all where it can be."""

from __future__ import annotations

import logging
from typing import Any

from alembic import context
from flask import current_app
from sqlalchemy import Connection, text
from wordbook.extensions import db
from wordbook.models import UtcDateTime

# The second of two hosts or workers waits here, and then finds nothing left to do. SQLite needs none of this: there the
# transaction itself has the lock.
MYSQL_LOCK = "SELECT GET_LOCK('wordbook_728314', 60)"
LOCKS = {
    "postgresql": "SELECT 1 FROM pg_advisory_xact_lock(728314)",  # any number, as long as it stays the same
    "mysql": MYSQL_LOCK,
    "mariadb": MYSQL_LOCK,
}


# Whoever runs migrations wants to read which.
logging.getLogger("alembic").setLevel("INFO")


def render_item(kind: str, item: Any, _context: Any) -> str | bool:
    """Write our own type as what it is in the database, so that old migrations need nothing of later code."""
    return "sa.DateTime()" if kind == "type" and isinstance(item, UtcDateTime) else False


def run(connection: Connection) -> None:
    """Run what is asked for in one transaction."""
    context.configure(
        connection=connection,
        target_metadata=db.metadata,
        render_item=render_item,
        # SQLite can take back a changed table too, though Alembic does not rely on it by itself.
        transactional_ddl=True if connection.dialect.name == "sqlite" else None,
        **current_app.extensions["migrate"].configure_args,
    )
    with context.begin_transaction():
        # MySQL answers 0 when the time is over, and NULL when somebody ended the wait.
        if connection.scalar(text(LOCKS.get(connection.dialect.name, "SELECT 1"))) != 1:
            raise SystemExit("Migrations of another process are still running. Try again when they are done.")
        context.run_migrations()


if context.is_offline_mode():
    raise SystemExit("Migrations run on a database; `--sql` is not supported.")
with db.engine.connect() as connection:
    connection.detach()  # Closed at the end, and not kept for later: MySQL's lock ends with its connection.
    run(connection)
