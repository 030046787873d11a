"""Settings. All come from the environment, so that one release runs unchanged anywhere."""

from __future__ import annotations

import os
from typing import Any

from flask import Flask

SHORTEST_KEY = 16
FOR_DEVELOPMENT = "known to everybody who reads this line"
NO_SECRET_KEY = f"""\
SECRET_KEY is not set, or is shorter than {SHORTEST_KEY} characters.
It signs sessions: whoever guesses it can be anybody. Make one, and put it into this site's environment:

    python3 -c 'import secrets; print(secrets.token_urlsafe(32))'

While you develop, `flask --app wsgi run --debug` does without."""


def settings() -> dict[str, Any]:
    """Read the settings from the environment, each with its default."""
    return {
        "SECRET_KEY": os.environ.get("SECRET_KEY", ""),
        "SITE_NAME": os.environ.get("SITE_NAME", "wordbook"),
        "SITE_RELEASE": os.environ.get("SITE_RELEASE", "development"),
        # Scripts can't read the session's cookie (Flask's default), and other sites' forms can't send it along.
        "SESSION_COOKIE_SAMESITE": "Lax",
    }


def require_secret_key(app: Flask) -> None:
    """Refuse to go on without a real secret key, except under ``--debug`` and in tests.

    :raises RuntimeError: with the command that makes a key
    """
    if len(app.config["SECRET_KEY"]) >= SHORTEST_KEY:
        return
    if not (app.debug or app.testing):
        raise RuntimeError(NO_SECRET_KEY)
    app.config["SECRET_KEY"] = FOR_DEVELOPMENT
