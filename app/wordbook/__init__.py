"""Word book: a small site of English and Chinese words, made by a factory."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

from flask import Flask, Response

from wordbook import account, api, cli, config, errors, health, json_provider, lab, logs, words
from wordbook.cookies import SchemeResponse
from wordbook.extensions import bootstrap, csrf, db, login, mail, migrate, moment


def create_app(given: Mapping[str, Any] | None = None) -> Flask:
    """Make the application. It asks nothing of the database before the first request.

    :param given: settings that win over the environment, for tests
    :raises RuntimeError: for a setting that makes no sense, and in production when there is no real ``SECRET_KEY``
    """
    app = Flask(__name__, static_folder=config.ROOT / "static", template_folder=config.ROOT / "templates")
    app.config.from_mapping(config.settings())
    app.config.from_mapping(given)
    config.require_secret_key(app)
    config.fill_in(app)

    app.response_class = SchemeResponse
    app.json = json_provider.make(app)
    logs.init_app(app)  # First of all hooks, so that it times the others too.

    for extension in (bootstrap, csrf, db, login, mail, moment):
        extension.init_app(app)
    migrate.init_app(app, db, directory=str(config.ROOT / "migrations"))

    for part in (words, account, lab, api, health):
        app.register_blueprint(part.bp)
    csrf.exempt(api.bp)  # It uses no session, so that there is nothing to forge.
    errors.init_app(app)
    cli.init_app(app)
    app.after_request(keep_addresses)
    return app


def keep_addresses(response: Response) -> Response:
    """Tell no other site which page a link was on: some addresses are keys. Flask-WTF needs our own, over TLS."""
    response.headers["Referrer-Policy"] = "same-origin"
    return response
