"""Mails. A mail server that is down is no fault of the page: the person is told, and may ask again."""

from __future__ import annotations

from typing import Any

from email_validator import validate_email
from flask import current_app, render_template
from flask_mail import Message

from wordbook.config import is_production
from wordbook.extensions import mail


def can_send() -> bool:
    """Whether this site can send mail: outside production it always can, if only to the console."""
    return bool(current_app.config["MAIL_SERVER"]) or not is_production(current_app)


def send(recipient: str | None, subject: str, template: str, **values: Any) -> bool:
    """Send one mail; say whether it went.

    With no recipient the server is asked just the same, so that neither the answer nor its time reveals an
    account. Call it after the commit: it may take some seconds.
    """
    if not can_send():
        return False
    try:
        if not current_app.config["MAIL_SERVER"] and current_app.debug:
            body = render_template(f"mail/{template}.txt", **values)
            print(f"\n--- MAIL_SERVER is not set, so this goes nowhere else ---\nTo: {recipient}\n{body}", flush=True)
            return True
        with mail.connect() as connection:
            if recipient:
                body = render_template(f"mail/{template}.txt", **values)
                # Flask-Mail itself writes some domains (ß.de) as others, and stumbles over some Arabic and Hebrew ones.
                address = validate_email(recipient, check_deliverability=False, allow_smtputf8=False).ascii_email
                connection.send(Message(subject, recipients=[address], body=body))
    except OSError as error:  # smtplib's own errors are of this kind, and so are a refused connection and a timeout
        current_app.logger.error("The mail server takes no mail: %s", type(error).__name__)
        return False
    return True
