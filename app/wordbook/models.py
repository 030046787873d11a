"""The tables: people, and the words that they added."""

from __future__ import annotations

import hashlib
from datetime import UTC, datetime
from typing import Self

from flask import current_app
from flask_login import AnonymousUserMixin, UserMixin
from itsdangerous import BadData, URLSafeTimedSerializer
from sqlalchemy import DateTime, Dialect, ForeignKey, Select, String, TypeDecorator, func, or_, select
from sqlalchemy.orm import Mapped, mapped_column, relationship
from werkzeug.security import check_password_hash, generate_password_hash

from wordbook.extensions import db, login

WORD_LENGTH = 100
SENTENCE_LENGTH = 500
EMAIL_LENGTH = 254


def now() -> datetime:
    """The time in UTC, in whole seconds: MySQL keeps no more."""
    return datetime.now(UTC).replace(microsecond=0)


class UtcDateTime(TypeDecorator[datetime]):
    """A time in UTC, on databases that keep no time zone as well."""

    impl = DateTime
    cache_ok = True

    def process_bind_param(self, value: datetime | None, dialect: Dialect) -> datetime | None:
        return value and value.astimezone(UTC).replace(tzinfo=None)

    def process_result_value(self, value: datetime | None, dialect: Dialect) -> datetime | None:
        return value and value.replace(tzinfo=UTC)


class User(UserMixin, db.Model):
    """A person who may add words, once the address is confirmed."""

    __tablename__ = "users"

    id: Mapped[int] = mapped_column(primary_key=True)
    email: Mapped[str] = mapped_column(String(EMAIL_LENGTH), unique=True)
    password_hash: Mapped[str] = mapped_column(String(255))
    is_admin: Mapped[bool] = mapped_column(default=False)
    confirmed_at: Mapped[datetime | None] = mapped_column(UtcDateTime)
    created_at: Mapped[datetime] = mapped_column(UtcDateTime, default=now)
    words: Mapped[list[Word]] = relationship(back_populates="owner")

    @classmethod
    def by_email(cls, email: str) -> Self | None:
        """Find an account by its address."""
        return db.session.scalar(select(cls).where(cls.email == normal_email(email)))

    @classmethod
    def checked(cls, email: str, password: str) -> Self | None:
        """Find the account that has this address and this password.

        An unknown address takes as long as a wrong password, one hash, so that the time reveals no
        account. The transaction ends first: other writes do not wait for the hash.
        """
        user = cls.by_email(email)
        db.session.commit()
        if user is None:
            generate_password_hash(password, current_app.config["PASSWORD_METHOD"])
            return None
        return user if check_password_hash(user.password_hash, password) else None

    def set_password(self, password: str) -> None:
        """Keep the password's hash."""
        self.password_hash = generate_password_hash(password, current_app.config["PASSWORD_METHOD"])

    @property
    def fingerprint(self) -> str:
        """Changes with the password, and tells nothing of it."""
        return hashlib.sha256(self.password_hash.encode()).hexdigest()[:16]

    def get_id(self) -> str:
        """What the session remembers: with the password, every session and remembered log-in ends."""
        return f"{self.id}.{self.fingerprint}"

    def token(self, purpose: str) -> str:
        """Make a signed token for a mail; it dies by age, and when the password changes."""
        return _serializer(purpose).dumps(self.get_id())

    @classmethod
    def by_token(cls, purpose: str, token: str, max_age: int) -> Self | None:
        """Find whose token this is; None when it is forged, too old, of another purpose, or used up."""
        try:
            return load_user(_serializer(purpose).loads(token, max_age=max_age))
        except BadData:
            return None

    def may_add(self) -> bool:
        """Only who proved the address adds words."""
        return self.confirmed_at is not None

    def may_change(self, word: Word) -> bool:
        """The owner's own words; an admin's are all."""
        return self.is_admin or (self.may_add() and word.owner_id == self.id)


class Anonymous(AnonymousUserMixin):
    """A person who has not logged in."""

    def may_change(self, word: Word) -> bool:
        """None at all."""
        return False


class Word(db.Model):
    """A word in both languages, with a sentence that uses it in each."""

    __tablename__ = "words"

    id: Mapped[int] = mapped_column(primary_key=True)
    english: Mapped[str] = mapped_column(String(WORD_LENGTH), index=True)
    chinese: Mapped[str] = mapped_column(String(WORD_LENGTH), index=True)
    english_example: Mapped[str] = mapped_column(String(SENTENCE_LENGTH), default="")
    chinese_example: Mapped[str] = mapped_column(String(SENTENCE_LENGTH), default="")
    picture: Mapped[str | None] = mapped_column(String(255))
    owner_id: Mapped[int | None] = mapped_column(ForeignKey("users.id", ondelete="SET NULL"), index=True)
    created_at: Mapped[datetime] = mapped_column(UtcDateTime, default=now)
    updated_at: Mapped[datetime] = mapped_column(UtcDateTime, default=now, onupdate=now)
    owner: Mapped[User | None] = relationship(back_populates="words")

    TEXTS = ("english", "chinese", "english_example", "chinese_example")

    @classmethod
    def search(cls, text: str = "") -> Select[tuple[Self]]:
        """Select the words that have this text anywhere, in the order of the English alphabet."""
        words = select(cls).order_by(func.lower(cls.english), cls.id)
        if text:
            words = words.where(or_(*(getattr(cls, name).icontains(text, autoescape=True) for name in cls.TEXTS)))
        return words


def normal_email(email: str) -> str:
    """One spelling of an address."""
    return email.strip().lower()


def _serializer(purpose: str) -> URLSafeTimedSerializer:
    return URLSafeTimedSerializer(current_app.config["SECRET_KEY"], salt=f"wordbook.{purpose}")


@login.user_loader
def load_user(session_id: str) -> User | None:
    """Find whose session this is; None when the password has changed since."""
    number, _, fingerprint = session_id.partition(".")
    user = db.session.get(User, int(number)) if number.isdecimal() else None
    return user if user and user.fingerprint == fingerprint else None


login.anonymous_user = Anonymous
