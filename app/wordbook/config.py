"""Settings. All come from the environment, so that one release runs unchanged anywhere."""

from __future__ import annotations

import math
import os
from datetime import timedelta
from pathlib import Path
from typing import Any

from flask import Flask
from sqlalchemy import URL, make_url
from sqlalchemy.exc import ArgumentError

# Beside the package, not in it: a web server may be given static/ to read without a way into the code.
ROOT = Path(__file__).resolve().parent.parent

YES = {"1", "true", "yes", "on"}
NO = {"0", "false", "no", "off"}
SHORTEST_KEY = 16
FOR_DEVELOPMENT = "known to everybody who reads this line"
NO_SECRET_KEY = f"""\
SECRET_KEY is not set, or is shorter than {SHORTEST_KEY} characters.
It signs sessions: whoever guesses it can be anybody. Make one, and put it into this site's environment:

    python3 -c 'import secrets; print(secrets.token_urlsafe(32))'

While you develop, `flask --app wsgi run --debug` does without."""

# Providers of databases hand out addresses that name no driver; these are the ones in requirements.txt.
DRIVERS = {
    "postgres": "postgresql+psycopg",
    "postgresql": "postgresql+psycopg",
    "mysql": "mysql+pymysql",
    "mariadb": "mariadb+pymysql",
}
# A database that is down must not hold a worker: seconds to wait for a connection.
CONNECT_TIMEOUT = 3


def settings() -> dict[str, Any]:
    """Read the settings from the environment, each with its default.

    :raises RuntimeError: naming the one that makes no sense
    """
    env = os.environ.get
    shared = env("SITE_SHARED")
    return {
        "SECRET_KEY": env("SECRET_KEY", ""),
        "SITE_NAME": env("SITE_NAME", "wordbook"),
        "SITE_RELEASE": env("SITE_RELEASE", "development"),
        # Links in mails carry the name that the request asked for; with this, only these names are answered.
        "TRUSTED_HOSTS": env("SITE_HOSTS", "").replace(",", " ").split() or None,
        # 0 is nginx's word for "no limit", and None is Flask's.
        "MAX_CONTENT_LENGTH": number("SITE_MAX_BODY", 16 * 1024 * 1024, "bytes") or None,
        "MEDIA_FOLDER": Path(shared, "media") if shared else None,
        "DATABASE_URL": env("DATABASE_URL") or (f"sqlite:///{shared}/data/wordbook.db" if shared else ""),
        "JSON_LIBRARY": env("JSON_LIBRARY") or "json",
        "LOG_FORMAT": env("LOG_FORMAT") or "text",
        "LOG_LEVEL": (env("LOG_LEVEL") or "INFO").upper(),
        "PROBE_MAX_SECONDS": number("PROBE_MAX_SECONDS", 0.0, "seconds"),
        "MAIL_SERVER": env("MAIL_SERVER", ""),
        "MAIL_PORT": number("MAIL_PORT", 25, "a port"),
        "MAIL_USE_TLS": yes_no("MAIL_USE_TLS"),
        "MAIL_USERNAME": env("MAIL_USERNAME"),
        "MAIL_PASSWORD": env("MAIL_PASSWORD"),
        "MAIL_DEFAULT_SENDER": env("MAIL_DEFAULT_SENDER") or "wordbook@localhost",
        "MAIL_TIMEOUT": 5,
        # Scripts can't read these cookies, and other sites' forms can't send them along. `Secure`: see cookies.py.
        "SESSION_COOKIE_SAMESITE": "Lax",
        "REMEMBER_COOKIE_SAMESITE": "Lax",
        "REMEMBER_COOKIE_DURATION": timedelta(days=30),
        "CONFIRM_SECONDS": 24 * 3600,
        "RESET_SECONDS": 3600,
        # Werkzeug's default. Tests take a cheap one.
        "PASSWORD_METHOD": "scrypt",
        # A form stays valid as long as its session, not just for an hour.
        "WTF_CSRF_TIME_LIMIT": None,
        "WORDS_PER_PAGE": 10,
        "BOOTSTRAP_SERVE_LOCAL": True,
    }


def number(name: str, default: float, kind: str) -> Any:
    """Read a number that is not negative; whole, if its default is."""
    text = os.environ.get(name) or default
    try:
        value = type(default)(text)
    except ValueError:
        value = -1
    if not 0 <= value < math.inf:
        raise RuntimeError(f"{name} is {text!r}; give {kind}, such as {default}.")
    return value


def yes_no(name: str) -> bool:
    """Read a yes or a no, which is what nothing means. A slip of the pen must not switch safety off."""
    text = os.environ.get(name) or "no"
    if text.lower() not in YES | NO:
        raise RuntimeError(f"{name} is {text!r}; give yes or no.")
    return text.lower() in YES


def require_secret_key(app: Flask) -> None:
    """Refuse to go on without a real secret key, except under ``--debug`` and in tests.

    :raises RuntimeError: with the command that makes a key
    """
    if len(app.config["SECRET_KEY"]) >= SHORTEST_KEY:
        return
    if is_production(app):
        raise RuntimeError(NO_SECRET_KEY)
    app.config["SECRET_KEY"] = FOR_DEVELOPMENT


def is_production(app: Flask) -> bool:
    """Neither ``--debug`` nor a test: the public is out there."""
    return not (app.debug or app.testing)


def fill_in(app: Flask) -> None:
    """Set what follows from other settings: the database's driver and options, and the folder for pictures."""
    instance = Path(app.instance_path)
    app.config["MEDIA_FOLDER"] = Path(app.config["MEDIA_FOLDER"] or instance / "media")
    # Flask-SQLAlchemy looks for a relative name in the instance folder, and makes that folder.
    url = database_url(app.config["DATABASE_URL"] or "sqlite:///wordbook.db")
    app.config["SQLALCHEMY_DATABASE_URI"] = url
    app.config["SQLALCHEMY_ENGINE_OPTIONS"] = {
        # A connection that the database has closed is noticed before it is used.
        "pool_pre_ping": True,
        # An error of the database goes to the log without the values, among which may be a password's hash.
        "hide_parameters": True,
        "connect_args": {} if url.get_backend_name() == "sqlite" else {"connect_timeout": CONNECT_TIMEOUT},
    }


def database_url(given: str) -> URL:
    """Name the driver that is installed, where the address names none, and all of Unicode for MySQL.

    :raises RuntimeError: without a word of the address, which holds a password
    """
    try:
        url = make_url(given)
        url = url.set(drivername=DRIVERS.get(url.drivername, url.drivername))
        url.get_dialect().import_dbapi()
    except (ArgumentError, ValueError, ImportError):
        raise RuntimeError(
            "DATABASE_URL is no address of a database that has a driver here; give one such as "
            "postgresql://user:password@host/name."
        ) from None
    if url.get_backend_name() in {"mysql", "mariadb"}:
        url = url.update_query_dict({"charset": "utf8mb4"})
    return url
