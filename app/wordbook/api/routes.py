"""The API."""

from __future__ import annotations

from typing import Any

from flask import abort, request, url_for
from werkzeug.exceptions import BadRequest

from wordbook.api import bp
from wordbook.extensions import db
from wordbook.forms import clean
from wordbook.models import Word
from wordbook.words.routes import ID, LAST_PAGE

LARGEST_BODY = 10_000
# Beyond this, JavaScript and other readers of JSON round integers without a word.
LARGEST_NUMBER = 2**53
MOST_A_PAGE = 100


@bp.post("/add")
def add() -> dict[str, Any]:
    """Add two numbers: `{"a": 1, "b": 2}`."""
    request.max_content_length = LARGEST_BODY
    try:
        body = request.get_json(force=True)
    except BadRequest:
        abort(400, "The body is not JSON.")
    if not isinstance(body, dict):
        abort(400, 'The body is not an object such as {"a": 1, "b": 2}.')
    return {"sum": bounded("the sum", number(body, "a") + number(body, "b"))}


@bp.get("/words")
def words() -> dict[str, Any]:
    """The words, page by page; `q` searches."""
    found = db.paginate(
        Word.search(clean(request.args.get("q"))),
        page=whole_number("page", 1, LAST_PAGE),
        per_page=whole_number("per_page", 20, MOST_A_PAGE),
        error_out=False,
    )
    return {
        "words": [as_dict(word) for word in found],
        "page": found.page,
        "pages": found.pages,
        "per_page": found.per_page,
        "total": found.total,
    }


@bp.get(f"/words/{ID}")
def word(word_id: int) -> dict[str, Any]:
    """One word."""
    return as_dict(db.get_or_404(Word, word_id, description="There is no such word."))


def as_dict(word: Word) -> dict[str, Any]:
    """What the API tells of a word."""
    texts = {name: getattr(word, name) for name in ("id", *Word.TEXTS, "created_at", "updated_at")}
    return texts | {"picture": url_for("words.media", filename=word.picture) if word.picture else None}


def number(body: dict[str, Any], name: str) -> int | float:
    """Take a number from the body; 400 with the reason for anything else, `true` included."""
    if name not in body:
        abort(400, f"{name} is missing.")
    value = body[name]
    if isinstance(value, bool) or not isinstance(value, int | float):
        abort(400, f"{name} is not a number.")
    return bounded(name, value)


def bounded(name: str, value: float) -> int | float:
    """Let a number pass; 400 for one that is too large."""
    # Asked this way round, so that NaN, which is not smaller than anything, does not pass either.
    if not abs(value) <= LARGEST_NUMBER:
        abort(400, f"{name} is too large.")
    return value


def whole_number(name: str, default: int, most: int) -> int:
    """Take a number from the query; 400 with the reason for one that makes no sense."""
    text = request.args.get(name, str(default))
    if not (text.isascii() and text.isdecimal() and len(text) < 10 and 1 <= int(text) <= most):
        abort(400, f"{name} is not a number from 1 to {most}.")
    return int(text)
