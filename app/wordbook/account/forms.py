"""The forms of an account."""

from __future__ import annotations

from flask_wtf import FlaskForm
from wtforms import BooleanField, PasswordField, SubmitField
from wtforms.validators import DataRequired, Email, EqualTo, Length

from wordbook.forms import Text
from wordbook.models import EMAIL_LENGTH

SHORTEST_PASSWORD = 8
# Hashing takes longer for longer passwords; nobody types more than this.
LONGEST_PASSWORD = 200


class EmailForm(FlaskForm):
    """Just an address."""

    email = Text(
        "E-mail 邮箱", [DataRequired(), Email(), Length(max=EMAIL_LENGTH)], render_kw={"autocomplete": "email"}
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
