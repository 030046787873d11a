"""The pages for people, and two answers in JSON for those who look after the site."""

from flask import Blueprint

bp = Blueprint("main", __name__)

from wordbook.main import routes  # noqa: E402, F401  the routes need the blueprint first
