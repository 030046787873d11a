"""Accounts: register, confirm, log in and out, a new password."""

from flask import Blueprint

bp = Blueprint("account", __name__, url_prefix="/account")

from wordbook.account import routes  # noqa: E402, F401  the routes need the blueprint first
