"""Many workers that share one database."""

from __future__ import annotations

import multiprocessing
import os

import pytest
from conftest import all_words
from flask import Flask
from flask_migrate import upgrade
from sqlalchemy import event, func, insert, inspect, select, text
from sqlalchemy.dialects.sqlite.base import SQLiteDialect
from wordbook import create_app
from wordbook.extensions import db
from wordbook.models import User, Word

WORKERS, WORDS = 4, 25


def add_many(settings: dict, worker: int, start) -> None:
    """Read, then write, repeatedly: SQLite refuses this without BEGIN IMMEDIATE."""
    app = create_app(settings)
    start.wait()
    for number in range(WORDS):
        with app.app_context():
            count = db.session.scalar(select(func.count(Word.id)))
            db.session.add(Word(english=f"{worker}-{number}", chinese=str(count)))
            db.session.commit()


def test_many_processes_can_write_at_once(app: Flask, database: str) -> None:
    fork = multiprocessing.get_context("fork")
    start = fork.Barrier(WORKERS)
    settings = {"TESTING": True, "DATABASE_URL": database}
    workers = [fork.Process(target=add_many, args=(settings, number, start)) for number in range(WORKERS)]
    for worker in workers:
        worker.start()
    for worker in workers:
        worker.join()
    assert [worker.exitcode for worker in workers] == [0] * WORKERS
    words = all_words(app)
    assert len({word.id for word in words}) == len({word.english for word in words}) == WORKERS * WORDS


@pytest.mark.skipif("TEST_DATABASE_URL" in os.environ, reason="is about SQLite")
def test_sqlite_is_set_up_for_many_workers(app: Flask) -> None:
    with app.app_context():
        for pragma, value in (("journal_mode", "wal"), ("busy_timeout", 15000), ("foreign_keys", 1)):
            assert db.session.scalar(text(f"PRAGMA {pragma}")) == value


@pytest.mark.skipif("TEST_DATABASE_URL" in os.environ, reason="is about SQLite")
def test_readers_do_not_wait_for_a_writer(app: Flask) -> None:
    with app.app_context():
        engine = db.engine
    with engine.begin() as writer:
        writer.execute(insert(Word).values(english="unfinished", chinese="未完"))
        page = app.test_client().get("/")
        assert page.status_code == 200
        assert "unfinished" not in page.text
        writer.rollback()


@pytest.mark.parametrize("answer", [0, None], ids=["the time is over", "somebody ended the wait"])
def test_no_migration_runs_without_mysqls_lock(tmp_path, monkeypatch: pytest.MonkeyPatch, answer: int | None) -> None:
    app = create_app({"TESTING": True, "DATABASE_URL": f"sqlite:///{tmp_path}/new.db"})
    with app.app_context():
        event.listen(db.engine, "connect", lambda made, _: made.create_function("GET_LOCK", 2, lambda *_: answer))
        monkeypatch.setattr(SQLiteDialect, "name", "mysql")
        with pytest.raises(SystemExit, match="another process"):
            upgrade()
        monkeypatch.undo()
        assert inspect(db.engine).get_table_names() == []
        db.engine.dispose()


def test_a_deleted_accounts_words_remain(app: Flask) -> None:
    with app.app_context():
        user = User(email="gone@example.com", password_hash="x")
        db.session.add(Word(english="tea", chinese="茶", owner=user))
        db.session.commit()
        db.session.delete(user)
        db.session.commit()
    assert all_words(app)[0].owner_id is None


def test_all_of_unicode_is_kept(app: Flask) -> None:
    with app.app_context():
        db.session.add(Word(english="joy 😀", chinese="𠮷野家"))
        db.session.commit()
    assert (all_words(app)[0].english, all_words(app)[0].chinese) == ("joy 😀", "𠮷野家")
