"""Word book: a small site of English and Chinese words, made by a factory."""

from __future__ import annotations

from collections.abc import Mapping
from pathlib import Path
from typing import Any

from flask import Flask

from wordbook import errors
from wordbook.config import require_secret_key, settings
from wordbook.main import bp as main

# Beside the package, not in it: a web server may be given static/ to read without a way into the code.
ROOT = Path(__file__).resolve().parent.parent


def create_app(config: Mapping[str, Any] | None = None) -> Flask:
    """Make the application.

    :param config: settings that win over the environment, for tests
    :raises RuntimeError: in production, when there is no real ``SECRET_KEY``
    """
    app = Flask(__name__, static_folder=ROOT / "static", template_folder=ROOT / "templates")
    app.config.from_mapping(settings())
    app.config.from_mapping(config)
    require_secret_key(app)

    # Chinese stays Chinese in JSON: shorter than \uXXXX, and a person can read it.
    app.json.ensure_ascii = False

    app.register_blueprint(main)
    errors.register(app)
    return app
