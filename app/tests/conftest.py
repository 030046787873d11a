"""What the tests share: the site as made for tests, and a client that talks to it."""

from __future__ import annotations

import pytest
from flask import Flask
from flask.testing import FlaskClient
from wordbook import create_app


@pytest.fixture
def app(monkeypatch: pytest.MonkeyPatch) -> Flask:
    """The site with nothing from this machine's environment."""
    for name in ("SECRET_KEY", "SITE_NAME", "SITE_RELEASE", "FLASK_DEBUG"):
        monkeypatch.delenv(name, raising=False)
    return create_app({"TESTING": True})


@pytest.fixture
def client(app: Flask) -> FlaskClient:
    """A client of that site."""
    return app.test_client()
