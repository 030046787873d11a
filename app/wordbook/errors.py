"""Error pages that look like the rest of the site."""

from __future__ import annotations

from flask import Flask, render_template
from werkzeug.exceptions import HTTPException


def show(error: HTTPException) -> tuple[str, int] | HTTPException:
    """Render an error in the site's own layout; what is no error (a redirect) passes as it is."""
    if error.code is None or error.code < 400:
        return error
    return render_template("error.html", error=error), error.code


def register(app: Flask) -> None:
    """Use this module's pages for every HTTP error, also for 500."""
    app.register_error_handler(HTTPException, show)
