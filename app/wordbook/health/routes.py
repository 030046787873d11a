"""Whether the process is up, and whether it can work."""

from __future__ import annotations

from typing import Any

from alembic.migration import MigrationContext
from alembic.script import ScriptDirectory
from alembic.util import CommandError
from flask import current_app
from sqlalchemy import inspect
from sqlalchemy.exc import SQLAlchemyError

from wordbook.extensions import db
from wordbook.health import bp
from wordbook.models import Word


def identity() -> dict[str, Any]:
    """Which site and which release answers."""
    return {"site": current_app.config["SITE_NAME"], "release": current_app.config["SITE_RELEASE"]}


@bp.get("/healthz")
def healthz() -> dict[str, Any]:
    """The process is up."""
    return {"status": "ok", **identity()}


@bp.get("/readyz")
def readyz() -> tuple[dict[str, Any], int]:
    """The database answers and has every table that this release needs; otherwise 503, and why."""
    try:
        reason = missing_migrations()
    except SQLAlchemyError as error:
        current_app.logger.error("The database does not answer: %s", type(error).__name__)
        reason = "the database does not answer"
    if reason:
        return {"status": "unavailable", "reason": reason, **identity()}, 503
    return {"status": "ok", **identity()}, 200


def missing_migrations() -> str | None:
    """Compare the database's revision with the newest of this release.

    A revision that this release does not know was made by a newer one, where there are words. The older stays ready
    then: it still serves while the newer one starts, and again after a rollback. So write migrations that the release
    before can live with.
    """
    scripts = ScriptDirectory(current_app.extensions["migrate"].directory)
    connection = db.session.connection()
    found = set(MigrationContext.configure(connection).get_current_heads())
    if found == set(scripts.get_heads()):
        return None
    try:
        scripts.get_revisions(tuple(found))
    except CommandError:
        words = inspect(connection).has_table(Word.__tablename__)
        return None if words else "the tables in the database are another application's"
    return "migrations are pending: run `flask --app wsgi db upgrade`"
