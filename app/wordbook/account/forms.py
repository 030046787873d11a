"""The forms of an account."""

from __future__ import annotations

from flask_wtf import FlaskForm
from wtforms import BooleanField, PasswordField, SubmitField
from wtforms.validators import DataRequired, Email, EqualTo, Length

from wordbook.forms import Text
from wordbook.models import EMAIL_LENGTH

SHORTEST_PASSWORD = 8
# Hashing takes longer for longer passwords; people type no more than this.
LONGEST_PASSWORD = 200
# Not every mail server takes others, and an address that can't be written to can't be confirmed.
NO_ADDRESS = (
    "This is no e-mail address with plain letters (a-z), digits and signs before the @. "
    "邮箱地址不正确。@ 之前只能是英文字母、数字和符号。"
)


class EmailForm(FlaskForm):
    """Just an address."""

    email = Text(
        "E-mail 邮箱",
        [DataRequired(), Email(NO_ADDRESS, allow_smtputf8=False), Length(max=EMAIL_LENGTH)],
        render_kw={"autocomplete": "email"},
    )
    submit = SubmitField("Send 发送")


class LoginForm(EmailForm):
    """An address and its password."""

    password = PasswordField(
        "Password 密码", [DataRequired(), Length(max=LONGEST_PASSWORD)], render_kw={"autocomplete": "current-password"}
    )
    remember = BooleanField("Keep me logged in 记住我")
    submit = SubmitField("Log in 登录")


class PasswordForm(FlaskForm):
    """A new password, twice."""

    password = PasswordField(
        "New password 新密码",
        [DataRequired(), Length(min=SHORTEST_PASSWORD, max=LONGEST_PASSWORD)],
        render_kw={"autocomplete": "new-password"},
        description=f"At least {SHORTEST_PASSWORD} characters. 至少 {SHORTEST_PASSWORD} 个字符。",
    )
    again = PasswordField(
        "Once more 再次输入",
        [EqualTo("password", "The two are not the same. 两次输入不一致。")],
        render_kw={"autocomplete": "new-password"},
    )
    submit = SubmitField("Save 保存")


class RegisterForm(EmailForm, PasswordForm):
    """A new account."""

    submit = SubmitField("Register 注册")
