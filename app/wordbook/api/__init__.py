"""The words, and a sum, for programs: JSON in, JSON out."""

from flask import Blueprint

bp = Blueprint("api", __name__, url_prefix="/api")

from wordbook.api import routes  # noqa: E402, F401  the routes need the blueprint first
