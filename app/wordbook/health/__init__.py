"""Two answers for whoever watches the site."""

from flask import Blueprint

bp = Blueprint("health", __name__)

from wordbook.health import routes  # noqa: E402, F401  the routes need the blueprint first
