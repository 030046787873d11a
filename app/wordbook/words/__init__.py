"""The words: pages to read, find and change them."""

from flask import Blueprint

bp = Blueprint("words", __name__)

from wordbook.words import routes  # noqa: E402, F401  the routes need the blueprint first
