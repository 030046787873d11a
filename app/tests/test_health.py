"""Health and readiness checks."""

from __future__ import annotations

import re
import time

import pytest
from flask import Flask
from flask.testing import FlaskClient
from flask_migrate import downgrade, stamp, upgrade
from sqlalchemy import create_engine, text
from wordbook import create_app
from wordbook.extensions import db


def test_healthz_shows_the_release(client: FlaskClient) -> None:
    assert client.get("/healthz").json == {"status": "ok", "site": "wordbook", "release": "development"}


def test_the_sites_name_is_reported_unchanged(make) -> None:
    answer = make(SITE_NAME="单词本", SITE_RELEASE="20260102T030405Z-01234567").test_client().get("/healthz")
    assert answer.json == {"status": "ok", "site": "单词本", "release": "20260102T030405Z-01234567"}
    assert "单词本" in answer.text


def test_ready_with_all_migrations(client: FlaskClient) -> None:
    answer = client.get("/readyz")
    assert (answer.status_code, answer.json["status"]) == (200, "ok")


def test_not_ready_before_the_migrations(tmp_path) -> None:
    app = create_app({"TESTING": True, "DATABASE_URL": f"sqlite:///{tmp_path}/new.db"})
    answer = app.test_client().get("/readyz")
    assert answer.status_code == 503
    assert answer.json["reason"] == "migrations are pending: run `flask --app wsgi db upgrade`"
    for step, status in ((upgrade, 200), (lambda: downgrade(revision="base"), 503)):
        with app.app_context():
            step()
        assert app.test_client().get("/readyz").status_code == status
    with app.app_context():
        db.engine.dispose()


@pytest.mark.parametrize(("made", "status"), [(upgrade, 200), (stamp, 503)], ids=["newer", "another's"])
def test_an_older_release_is_ready_on_a_newer_database_but_not_on_a_foreign_one(tmp_path, made, status: int) -> None:
    app = create_app({"TESTING": True, "DATABASE_URL": f"sqlite:///{tmp_path}/unknown.db"})
    with app.app_context():
        made()
        db.session.execute(text("UPDATE alembic_version SET version_num = 'not of this release'"))
        db.session.commit()
    answer = app.test_client().get("/readyz")
    assert answer.status_code == status
    assert answer.json.get("reason") in {None, "the tables in the database are another application's"}
    with app.app_context():
        db.engine.dispose()


@pytest.mark.parametrize(
    "url",
    [
        "sqlite:////nowhere/at/all.db",
        "postgresql://somebody:hunter2@127.0.0.1:9/words",
        "mysql://somebody:hunter2@127.0.0.1:9/words",
    ],
)
def test_not_ready_without_a_database_and_no_secret_shown(url: str, capsys) -> None:
    app = create_app({"TESTING": True, "DATABASE_URL": url})
    started = time.monotonic()
    answer = app.test_client().get("/readyz")
    assert time.monotonic() - started < 5
    assert answer.status_code == 503
    assert answer.json["reason"] == "the database does not answer"
    assert app.test_client().get("/healthz").status_code == 200
    assert "hunter2" not in answer.text + capsys.readouterr().err


def test_the_migrations_match_the_models(app: Flask) -> None:
    """A changed model needs a migration."""
    from alembic.autogenerate import compare_metadata
    from alembic.migration import MigrationContext

    with app.app_context():
        context = MigrationContext.configure(db.session.connection(), opts={"compare_type": False})
        assert compare_metadata(context, db.metadata) == []


def test_creating_the_app_uses_no_database(tmp_path) -> None:
    create_app({"TESTING": True, "DATABASE_URL": f"sqlite:///{tmp_path}/untouched.db"})
    create_app({"TESTING": True, "DATABASE_URL": "postgresql://u:p@127.0.0.1:9/words"})
    assert list(tmp_path.iterdir()) == []


def test_plain_database_urls_get_the_installed_drivers(make) -> None:
    for given, driver in (
        ("postgres://u:p@h/words", "psycopg"),
        ("postgresql://u:p@h/words", "psycopg"),
        ("mysql://u:p@h/words", "pymysql"),
        ("mariadb://u:p@h/words?ssl=1", "pymysql"),
    ):
        url = create_app({"TESTING": True, "DATABASE_URL": given}).config["SQLALCHEMY_DATABASE_URI"]
        assert url.get_driver_name() == driver
        assert create_engine(url).dialect.driver == driver
        assert re.search(r"charset=utf8mb4", str(url)) or driver == "psycopg"


def test_the_default_database_url(tmp_path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("SITE_SHARED", str(tmp_path))
    app = create_app({"TESTING": True})
    assert app.config["SQLALCHEMY_DATABASE_URI"].database == f"{tmp_path}/data/wordbook.db"
    assert app.config["MEDIA_FOLDER"] == tmp_path / "media"
