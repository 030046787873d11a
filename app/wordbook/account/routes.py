"""The pages of an account."""

from __future__ import annotations

from flask import current_app, flash, redirect, render_template, request, session, url_for
from flask.typing import ResponseReturnValue
from flask_login import current_user, fresh_login_required, login_required, login_url, login_user, logout_user
from flask_wtf import FlaskForm
from sqlalchemy.exc import IntegrityError

from wordbook import email
from wordbook.account import bp
from wordbook.account.forms import EmailForm, LoginForm, PasswordForm, RegisterForm
from wordbook.extensions import db, login
from wordbook.forms import EmptyForm
from wordbook.models import User, normal_email, now

NO_MAIL = "This site can't send mail yet, so it can't do this. 本站还不能发送邮件。"
MAIL_FAILED = "The mail could not be sent. Please try again in a few minutes. 邮件发送失败。请稍后再试。"


@bp.route("/register", methods=["GET", "POST"])
def register() -> ResponseReturnValue:
    """Make an account. The answer is the same for an address that has one already: its owner gets another mail."""
    form = RegisterForm()
    if not email.can_send():
        return page("Register 注册", form, note=NO_MAIL, usable=False)
    if form.validate_on_submit():
        user = User(email=normal_email(form.email.data))
        user.set_password(form.password.data)
        db.session.add(user)
        try:
            db.session.commit()
            sent = send_confirmation(user)
        except IntegrityError:
            db.session.rollback()
            sent = email.send(normal_email(form.email.data), "Your account 你的账号", "known")
        flash_sent(sent, "We sent you a mail. Log in, and open its link. 邮件已发送。请登录后打开其中的链接。")
        return redirect(url_for(".log_in"))
    return page("Register 注册", form)


@bp.route("/confirm", methods=["GET", "POST"])
@login_required
def unconfirmed() -> ResponseReturnValue:
    """Ask for the mail with the link once more."""
    if current_user.confirmed_at:
        return redirect(url_for("words.index"))
    form = EmptyForm()
    if form.validate_on_submit():
        db.session.commit()
        flash_sent(send_confirmation(current_user), "The mail is on its way. 邮件已发送。")
        return redirect(url_for(".unconfirmed"))
    note = f"We sent a mail to {current_user.email}. Open its link to confirm the address. 请打开邮件中的链接。"
    return page("Confirm your address 确认邮箱", form, note=note, button="Send it again 重新发送")


@bp.route("/confirm/<token>", methods=["GET", "POST"])
@login_required
def confirm(token: str) -> ResponseReturnValue:
    """Confirm an address.

    It takes the password, so that a person does not confirm an account that a stranger made with his address, and a
    button, since some mail programs open every link.
    """
    if User.by_token("confirm", token, current_app.config["CONFIRM_SECONDS"]) != current_user:
        flash("This link is not valid, or too old. 链接无效或已过期。", "danger")
        return redirect(url_for(".unconfirmed"))
    form = EmptyForm()
    if form.validate_on_submit():
        current_user.confirmed_at = current_user.confirmed_at or now()
        db.session.commit()
        flash("Thank you: you can add words now. 谢谢。现在可以添加单词了。", "success")
        return redirect(url_for("words.add"))
    return page("Confirm your address 确认邮箱", form, note=current_user.email, button="Confirm 确认")


@bp.route("/login", methods=["GET", "POST"])
def log_in() -> ResponseReturnValue:
    """Log in, and go where the person wanted to."""
    form = LoginForm()
    if form.validate_on_submit():
        user = User.checked(form.email.data, form.password.data)
        if user:
            session.clear()  # Nothing that was planted in the session before lives on in it.
            login_user(user, remember=form.remember.data)
            return redirect(local_address(request.args.get("next")) or url_for("words.index"))
        flash("Wrong address or password. 邮箱或密码不正确。", "danger")
    return page("Log in 登录", form, links=True)


@login.unauthorized_handler
def ask_to_log_in() -> ResponseReturnValue:
    """Ask for a log-in first. It leads back to a page only: what a form had sent is gone by then."""
    flash(login.login_message, login.login_message_category)
    return redirect(login_url(login.login_view, request.url if request.method == "GET" else None))


@bp.post("/logout")
def log_out() -> ResponseReturnValue:
    """Log out; a form, since another site's picture could fetch a link."""
    logout_user()
    flash("You are logged out. 已退出登录。", "success")
    return redirect(url_for("words.index"))


@bp.route("/reset", methods=["GET", "POST"])
def ask_reset() -> ResponseReturnValue:
    """Ask for a link to a new password. The answer is the same for an address that has no account."""
    form = EmailForm()
    if not email.can_send():
        return page("Forgotten password 忘记密码", form, note=NO_MAIL, usable=False)
    if form.validate_on_submit():
        user = User.by_email(form.email.data)
        db.session.commit()
        link = url_for(".reset", token=user.token("reset"), _external=True) if user else None
        sent = email.send(user.email if user else None, "A new password 重设密码", "reset", link=link)
        flash_sent(sent, "If this address has an account, a mail is on its way. 已注册的邮箱会收到邮件。")
        return redirect(url_for(".log_in"))
    return page("Forgotten password 忘记密码", form)


@bp.route("/reset/<token>", methods=["GET", "POST"])
def reset(token: str) -> ResponseReturnValue:
    """Set a new password by a link from a mail. The link, and every session, ends with the old password."""
    user = User.by_token("reset", token, current_app.config["RESET_SECONDS"])
    if not user:
        flash("This link is not valid, or too old. 链接无效或已过期。", "danger")
        return redirect(url_for(".ask_reset"))
    return new_password(user)


@bp.route("/password", methods=["GET", "POST"])
@fresh_login_required
def change_password() -> ResponseReturnValue:
    """Change the password; a log-in that was only remembered does not do."""
    return new_password(current_user)


def new_password(user: User) -> ResponseReturnValue:
    """Show the form for a new password, or save it and let the person log in with it."""
    db.session.commit()  # Other writes do not wait for the hash.
    form = PasswordForm()
    if form.validate_on_submit():
        user.set_password(form.password.data)
        db.session.commit()
        session.clear()
        flash("Your new password is saved: log in with it. 新密码已保存。请重新登录。", "success")
        return redirect(url_for(".log_in"))
    return page("New password 新密码", form)


def send_confirmation(user: User) -> bool:
    """Send the link that proves the address."""
    link = url_for("account.confirm", token=user.token("confirm"), _external=True)
    return email.send(user.email, "Confirm your address 确认邮箱", "confirm", link=link)


def flash_sent(sent: bool, good: str) -> None:
    """Tell whether a mail went."""
    flash(good if sent else MAIL_FAILED, "success" if sent else "danger")


def page(title: str, form: FlaskForm, **values: object) -> ResponseReturnValue:
    """Render any of these forms; 422 when what was sent is not right."""
    status = 422 if form.errors else 200
    return render_template("account/form.html", title=title, form=form, **values), status


def local_address(target: str | None) -> str | None:
    """Let through an address of this site only. Browsers go to another for two slashes of either kind."""
    if target and target.startswith("/") and target[1:2] not in {"/", "\\"} and target.isprintable():
        return target
    return None
