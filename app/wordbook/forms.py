"""What all forms share."""

from __future__ import annotations

from typing import Any

from flask_wtf import FlaskForm
from wtforms import StringField


def clean(text: str | None) -> str:
    """Text with single blanks, and without control characters, of which PostgreSQL refuses some."""
    return "".join(sign for sign in " ".join((text or "").split()) if sign.isprintable())


class Text(StringField):
    """A line of text, cleaned."""

    def __init__(self, label: str, validators: Any = (), **options: Any) -> None:
        super().__init__(label, validators, filters=[clean], **options)


class EmptyForm(FlaskForm):
    """Nothing but the token that shows that our own page sent it."""
