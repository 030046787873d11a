"""The form of a word."""

from __future__ import annotations

from flask_wtf import FlaskForm
from flask_wtf.file import FileAllowed, FileField
from wtforms import BooleanField, SubmitField, ValidationError
from wtforms.validators import DataRequired, Length

from wordbook.forms import Text
from wordbook.models import SENTENCE_LENGTH, WORD_LENGTH
from wordbook.words.pictures import FORMATS, BadPicture, Picture, checked


class WordForm(FlaskForm):
    """A word to add or to change."""

    english = Text("English 英文", [DataRequired(), Length(max=WORD_LENGTH)])
    chinese = Text("Chinese 中文", [DataRequired(), Length(max=WORD_LENGTH)], render_kw={"lang": "zh-Hans"})
    english_example = Text("A sentence in English 英文例句", [Length(max=SENTENCE_LENGTH)])
    chinese_example = Text(
        "A sentence in Chinese 中文例句", [Length(max=SENTENCE_LENGTH)], render_kw={"lang": "zh-Hans"}
    )
    picture = FileField(
        "Picture 图片",
        [FileAllowed(FORMATS, "Only png, jpg, jpeg and gif. 只能上传 png、jpg、jpeg 和 gif。")],
        render_kw={"accept": ",".join(f".{ending}" for ending in FORMATS)},
    )
    without_picture = BooleanField("Remove the picture 删除图片")
    submit = SubmitField("Save 保存")

    checked_picture: Picture | None = None

    def validate_picture(self, field: FileField) -> None:
        """Look into the file too: a name says nothing."""
        if field.data:
            try:
                self.checked_picture = checked(field.data)
            except BadPicture as reason:
                raise ValidationError(str(reason)) from None
