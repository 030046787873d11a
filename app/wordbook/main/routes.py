"""What this blueprint answers."""

from __future__ import annotations

import os
from typing import Any

from flask import current_app, render_template, request

from wordbook.main import bp
from wordbook.words import all_words


@bp.get("/")
def index() -> str:
    """The word list."""
    return render_template("main/index.html", words=all_words())


@bp.get("/healthz")
def healthz() -> dict[str, Any]:
    """The process is up; says which site and which release answers."""
    return {
        "status": "ok",
        "site": current_app.config["SITE_NAME"],
        "release": current_app.config["SITE_RELEASE"],
    }


@bp.get("/whoami")
def whoami() -> dict[str, Any]:
    """The client as the application sees it, after whatever proxies stand in front."""
    return {
        "remote_addr": request.remote_addr,
        "scheme": request.scheme,
        "host": request.host,
        "forwarded_for": request.headers.get("X-Forwarded-For"),
        "pid": os.getpid(),
    }
