"""The form of a cookie."""

from __future__ import annotations

from flask_wtf import FlaskForm
from wtforms import IntegerField, SubmitField
from wtforms.validators import DataRequired, Length, NumberRange, Regexp

from wordbook.forms import Text


class CookieForm(FlaskForm):
    """A cookie to add."""

    name = Text(
        "Name 名称", [DataRequired(), Regexp(r"[A-Za-z0-9_-]{1,32}\Z", message="Letters, digits, _ and - only.")]
    )
    value = Text("Value 值", [DataRequired(), Length(max=200)], default="你好")
    days = IntegerField("Days to keep it 保存天数", [NumberRange(min=1, max=30)], default=7)
    submit = SubmitField("Add 添加")
