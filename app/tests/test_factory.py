"""The factory: which settings win, and when it refuses."""

from __future__ import annotations

import importlib
import sys

import pytest
from flask import Flask
from wordbook import create_app
from wordbook.config import NO_SECRET_KEY

REAL_KEY = "Yd2fGq0vZk3sVtqXo8LcUw"


@pytest.fixture(autouse=True)
def production(monkeypatch: pytest.MonkeyPatch) -> None:
    """An environment without a key, as on a host where somebody forgot it."""
    monkeypatch.delenv("SECRET_KEY", raising=False)
    monkeypatch.delenv("FLASK_DEBUG", raising=False)


def test_production_refuses_to_start_without_a_secret_key() -> None:
    with pytest.raises(RuntimeError) as refusal:
        create_app()
    assert str(refusal.value) == NO_SECRET_KEY
    assert "secrets.token_urlsafe" in NO_SECRET_KEY, "says how to make one"


def test_production_refuses_a_short_secret_key_without_printing_it(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("SECRET_KEY", "hunter2")
    with pytest.raises(RuntimeError) as refusal:
        create_app()
    assert "hunter2" not in str(refusal.value)


def test_production_starts_with_a_secret_key(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("SECRET_KEY", REAL_KEY)
    assert create_app().config["SECRET_KEY"] == REAL_KEY


def test_the_development_server_starts_without_a_secret_key(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("FLASK_DEBUG", "1")
    assert create_app().config["SECRET_KEY"]


def test_given_settings_win_over_the_environment(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("SITE_NAME", "from_environment")
    assert create_app({"TESTING": True, "SITE_NAME": "given"}).config["SITE_NAME"] == "given"


def test_a_wsgi_server_finds_the_app(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("SECRET_KEY", REAL_KEY)
    sys.modules.pop("wsgi", None)
    assert isinstance(importlib.import_module("wsgi").app, Flask)
