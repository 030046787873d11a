"""What a site sees of a request: a page to try things on, and answers for those who look after the site."""

from flask import Blueprint

bp = Blueprint("lab", __name__)

from wordbook.lab import routes  # noqa: E402, F401  the routes need the blueprint first
