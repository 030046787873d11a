"""Shared fixtures: the app, a database with its tables, accounts and clients."""

from __future__ import annotations

import io
import os
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import pytest
from flask import Flask
from flask.testing import FlaskClient
from flask_migrate import upgrade
from jinja2 import FileSystemBytecodeCache
from PIL import Image
from sqlalchemy import delete
from wordbook import create_app
from wordbook.extensions import db
from wordbook.models import User, Word, now

PASSWORD = "correct horse"
# The settings that create_app reads; tests ignore those of this machine.
VARIABLES = [
    "SECRET_KEY",
    "SITE_NAME",
    "SITE_RELEASE",
    "SITE_SHARED",
    "SITE_HOSTS",
    "SITE_MAX_BODY",
    "FLASK_DEBUG",
    "DATABASE_URL",
    "JSON_LIBRARY",
    "LOG_FORMAT",
    "LOG_LEVEL",
    "PROBE_MAX_SECONDS",
    "MAIL_SERVER",
    "MAIL_PORT",
    "MAIL_USE_TLS",
    "MAIL_USERNAME",
    "MAIL_PASSWORD",
    "MAIL_DEFAULT_SENDER",
    "ADMIN_PASSWORD",
]
Make = Callable[..., Flask]


@pytest.fixture(autouse=True)
def bare_environment(monkeypatch: pytest.MonkeyPatch) -> None:
    for name in VARIABLES:
        monkeypatch.delenv(name, raising=False)


@pytest.fixture(scope="session")
def database(tmp_path_factory: pytest.TempPathFactory) -> str:
    """A database with all its tables, made by the migrations: TEST_DATABASE_URL's, or SQLite's in a file."""
    url = os.environ.get("TEST_DATABASE_URL") or f"sqlite:///{tmp_path_factory.mktemp('data')}/wordbook.db"
    with create_app({"TESTING": True, "DATABASE_URL": url}).app_context():
        upgrade()
    return url


@pytest.fixture(scope="session")
def compiled(tmp_path_factory: pytest.TempPathFactory) -> FileSystemBytecodeCache:
    """Templates, compiled once for all tests."""
    return FileSystemBytecodeCache(str(tmp_path_factory.mktemp("templates")))


@pytest.fixture
def make(database: str, compiled: FileSystemBytecodeCache, tmp_path: Path) -> Iterator[Make]:
    """Makes sites on that database, and empties it afterwards."""
    apps = []

    def made(**settings: Any) -> Flask:
        defaults = {
            "TESTING": True,
            "DATABASE_URL": database,
            "MEDIA_FOLDER": tmp_path / "media",
            "PASSWORD_METHOD": "pbkdf2:sha256:1",
            "WTF_CSRF_ENABLED": False,
        }
        apps.append(create_app(defaults | settings))
        apps[-1].jinja_env.bytecode_cache = compiled
        return apps[-1]

    yield made
    with made().app_context():
        db.session.execute(delete(Word))
        db.session.execute(delete(User))
        db.session.commit()
    for app in apps:
        with app.app_context():
            db.engine.dispose()


@pytest.fixture
def app(make: Make) -> Flask:
    """The site."""
    return make()


@pytest.fixture
def client(app: Flask) -> FlaskClient:
    """An anonymous visitor."""
    return app.test_client()


def add_user(app: Flask, email: str, *, confirmed: bool = True, admin: bool = False) -> int:
    with app.app_context():
        user = User(email=email, is_admin=admin, confirmed_at=now() if confirmed else None)
        user.set_password(PASSWORD)
        db.session.add(user)
        db.session.commit()
        return user.id


def log_in(app: Flask, email: str, password: str = PASSWORD, **more: Any) -> FlaskClient:
    client = app.test_client()
    answer = client.post("/account/login", data={"email": email, "password": password, **more})
    assert answer.status_code == 302, answer.text
    return client


def add_word(app: Flask, english: str = "tea", chinese: str = "茶", **more: Any) -> int:
    with app.app_context():
        word = Word(english=english, chinese=chinese, **more)
        db.session.add(word)
        db.session.commit()
        return word.id


def all_words(app: Flask) -> list[Word]:
    with app.app_context():
        return list(db.session.scalars(Word.search()))


def image(kind: str = "PNG", size: tuple[int, int] = (4, 3), **options: Any) -> bytes:
    file = io.BytesIO()
    Image.new("RGB", size, "red").save(file, kind, **options)
    return file.getvalue()


@pytest.fixture
def anna_id(app: Flask) -> int:
    return add_user(app, "anna@example.com")


@pytest.fixture
def anna(app: Flask, anna_id: int) -> FlaskClient:
    """A visitor with a confirmed account."""
    return log_in(app, "anna@example.com")


@pytest.fixture
def ben(app: Flask) -> FlaskClient:
    """Another visitor with a confirmed account."""
    add_user(app, "ben@example.com")
    return log_in(app, "ben@example.com")


@pytest.fixture
def admin(app: Flask) -> FlaskClient:
    add_user(app, "admin@example.com", admin=True)
    return log_in(app, "admin@example.com")
