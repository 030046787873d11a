"""The extensions, made without an app; :func:`wordbook.create_app` ties them to one."""

from __future__ import annotations

import smtplib
import sqlite3
import ssl
from typing import Any

from flask import current_app, has_request_context, request
from flask_bootstrap import Bootstrap5
from flask_login import LoginManager
from flask_mail import Connection, Mail
from flask_migrate import Migrate
from flask_moment import Moment
from flask_sqlalchemy import SQLAlchemy
from flask_wtf import CSRFProtect
from sqlalchemy import Connection as DatabaseConnection
from sqlalchemy import Engine, MetaData, event
from sqlalchemy.orm import DeclarativeBase

SQLITE_BUSY_SECONDS = 15


class Base(DeclarativeBase):
    """What all models share. Every constraint gets a name, so that migrations can find it on any database."""

    metadata = MetaData(
        naming_convention={
            "ix": "ix_%(table_name)s_%(column_0_name)s",
            "uq": "uq_%(table_name)s_%(column_0_name)s",
            "fk": "fk_%(table_name)s_%(column_0_name)s_%(referred_table_name)s",
            "pk": "pk_%(table_name)s",
        }
    )
    # Without the first, SQLite gives a deleted row's number to the next one.
    __table_args__ = {"sqlite_autoincrement": True, "mysql_charset": "utf8mb4", "mariadb_charset": "utf8mb4"}  # noqa: RUF012


class PromptConnection(Connection):
    """A connection to the mail server that gives up soon, and that knows whom it talks to.

    Flask-Mail has no timeout, so that a silent server would hold the worker for minutes, and checks no certificate.
    """

    def configure_host(self) -> smtplib.SMTP:
        host = smtplib.SMTP(self.mail.server, self.mail.port, timeout=current_app.config["MAIL_TIMEOUT"])
        if self.mail.use_tls:
            host.starttls(context=ssl.create_default_context())
        if self.mail.username and self.mail.password:
            host.login(self.mail.username, self.mail.password)
        return host


class PromptMail(Mail):
    """Flask-Mail with that connection."""

    def connect(self) -> Connection:
        return PromptConnection(current_app.extensions["mail"])


bootstrap = Bootstrap5()
csrf = CSRFProtect()
# What was read stays readable after a commit without a new transaction: see `begin` below.
db = SQLAlchemy(model_class=Base, session_options={"expire_on_commit": False})
login = LoginManager()
mail = PromptMail()
migrate = Migrate(render_as_batch=True)
moment = Moment()

login.login_view = "account.log_in"
login.login_message_category = "info"
login.login_message = "Please log in first. 请先登录。"
login.refresh_view = "account.log_in"
login.needs_refresh_message_category = "info"
login.needs_refresh_message = "Please enter your password once more. 请再次输入密码。"


@event.listens_for(Engine, "connect")
def set_up_sqlite(connection: Any, _record: Any) -> None:
    """Let many workers use one SQLite file: readers never wait for a writer, and writers wait for each other."""
    if not isinstance(connection, sqlite3.Connection):
        return
    connection.isolation_level = None  # The driver begins no transaction by itself: `begin` does.
    connection.execute(f"PRAGMA busy_timeout = {SQLITE_BUSY_SECONDS * 1000}")
    connection.execute("PRAGMA journal_mode = WAL")
    connection.execute("PRAGMA synchronous = NORMAL")
    connection.execute("PRAGMA foreign_keys = ON")


@event.listens_for(Engine, "begin")
def begin(connection: DatabaseConnection) -> None:
    """Begin a transaction that may write with SQLite's write lock at once.

    One that reads first and asks for the lock later fails without waiting ("database is locked") if another worker
    wrote in between. Requests that only read need no lock. The price: end a transaction before anything slow.
    """
    if connection.dialect.name == "sqlite":
        only_reads = has_request_context() and request.method in {"GET", "HEAD", "OPTIONS"}
        connection.exec_driver_sql("BEGIN" if only_reads else "BEGIN IMMEDIATE")
