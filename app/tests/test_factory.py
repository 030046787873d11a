"""The app factory: precedence and validation of settings."""

from __future__ import annotations

import importlib
import sys
import traceback

import pytest
from flask import Flask
from wordbook import create_app
from wordbook.config import NO_SECRET_KEY

REAL_KEY = "Yd2fGq0vZk3sVtqXo8LcUw"


@pytest.fixture(autouse=True)
def production(monkeypatch: pytest.MonkeyPatch) -> None:
    """A production environment without a secret key."""
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


@pytest.mark.parametrize(
    ("name", "value", "refusal"),
    [
        ("SITE_MAX_BODY", "16m", "SITE_MAX_BODY is '16m'; give bytes, such as 16777216."),
        ("SITE_MAX_BODY", "-1", "SITE_MAX_BODY is '-1'; give bytes"),
        ("MAIL_PORT", "smtp", "MAIL_PORT is 'smtp'; give a port, such as 25."),
        ("PROBE_MAX_SECONDS", "5s", "PROBE_MAX_SECONDS is '5s'; give seconds"),
        ("PROBE_MAX_SECONDS", "nan", "PROBE_MAX_SECONDS is 'nan'; give seconds"),
        ("MAIL_USE_TLS", "yse", "MAIL_USE_TLS is 'yse'; give yes or no."),
        ("LOG_LEVEL", "chatty", "LOG_LEVEL is 'CHATTY'; it can be DEBUG"),
        ("LOG_FORMAT", "xml", "LOG_FORMAT is 'xml'; it can be json"),
        ("DATABASE_URL", "postgres//me:hunter2@db/x", "DATABASE_URL is no address"),
        ("DATABASE_URL", "oracle://me:hunter2@db/x", "DATABASE_URL is no address"),
        ("DATABASE_URL", "nosuch://me:hunter2@db/x", "DATABASE_URL is no address"),
        ("DATABASE_URL", "postgresql://me:p@ss@db:hunter2/x", "DATABASE_URL is no address"),
    ],
)
def test_an_invalid_setting_is_named(monkeypatch: pytest.MonkeyPatch, name, value, refusal) -> None:
    monkeypatch.setenv(name, value)
    with pytest.raises(RuntimeError) as refused:
        create_app({"TESTING": True})
    assert str(refused.value).startswith(refusal)
    assert "hunter2" not in "".join(traceback.format_exception(refused.value))


@pytest.mark.parametrize(("value", "use"), [("", False), ("no", False), ("0", False), ("Yes", True), ("on", True)])
def test_boolean_settings_accept_yes_and_no(monkeypatch: pytest.MonkeyPatch, value: str, use: bool) -> None:
    monkeypatch.setenv("MAIL_USE_TLS", value)
    assert create_app({"TESTING": True}).config["MAIL_USE_TLS"] is use


def test_given_settings_override_the_environment(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("SITE_NAME", "from_environment")
    assert create_app({"TESTING": True, "SITE_NAME": "given"}).config["SITE_NAME"] == "given"


def test_a_wsgi_server_finds_the_app(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("SECRET_KEY", REAL_KEY)
    sys.modules.pop("wsgi", None)
    assert isinstance(importlib.import_module("wsgi").app, Flask)
