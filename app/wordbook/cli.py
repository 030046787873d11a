"""Commands: ``flask --app wsgi --help`` lists them."""

from __future__ import annotations

import csv
import os
import re
import subprocess
import sys
from collections.abc import Iterable
from contextlib import AbstractContextManager
from typing import Any, TextIO

import click
from email_validator import EmailNotValidError, validate_email
from flask import Flask
from flask.cli import AppGroup, with_appcontext
from sqlalchemy import exists, select

from wordbook.account.forms import LONGEST_PASSWORD, SHORTEST_PASSWORD
from wordbook.config import ROOT
from wordbook.extensions import db
from wordbook.forms import clean
from wordbook.models import User, Word, normal_email, now
from wordbook.samples import SAMPLES

# Rows that an import writes at once.
AT_ONCE = 500
# What Excel takes for a formula, in full width too; with apostrophes, so that each text comes back as it was.
FORMULA = re.compile(r"'*[=+\-@\uff1d\uff0b\uff0d\uff20\t\r\n]")

words = AppGroup("words", help="Export and import words as CSV.")


@click.command("create-admin")
@click.argument("email")
@with_appcontext
def create_admin(email: str) -> None:
    """Make EMAIL an admin: a new account, or the one that exists.

    Only a confirmed account keeps its password; any other may be a stranger's, made with this address, and gets a new
    one. It comes from the environment variable ADMIN_PASSWORD or from a prompt, never from the command line, which
    all users of the host can read.
    """
    try:
        validate_email(email, check_deliverability=False, allow_smtputf8=False)
    except EmailNotValidError as reason:
        raise click.BadParameter(str(reason)) from None
    user = User.by_email(email)
    db.session.commit()  # Other writes do not wait for the prompt.
    keeps_password = user is not None and user.confirmed_at is not None
    if not keeps_password:
        password = os.environ.get("ADMIN_PASSWORD") or click.prompt(
            "Password", hide_input=True, confirmation_prompt=True
        )
        if not SHORTEST_PASSWORD <= len(password) <= LONGEST_PASSWORD:
            limits = f"{SHORTEST_PASSWORD} or longer than {LONGEST_PASSWORD}"
            raise click.ClickException(f"The password is shorter than {limits} characters.")
        user = user or User(email=normal_email(email))
        user.set_password(password)
        db.session.add(user)
    user.is_admin = True
    user.confirmed_at = user.confirmed_at or now()
    db.session.commit()
    click.echo(f"{user.email} is an admin, with {'the password it had' if keeps_password else 'a new password'}.")


@click.command("seed")
@with_appcontext
def seed() -> None:
    """Put the sample words into an empty book; do nothing when there are words."""
    if db.session.scalar(select(exists().select_from(Word))):
        click.echo("There are words already.")
        return
    db.session.add_all(Word(**dict(zip(Word.TEXTS, sample, strict=True))) for sample in SAMPLES)
    db.session.commit()
    click.echo(f"{len(SAMPLES)} words added.")


@words.command("export")
@click.argument("file", type=click.File("w", encoding="utf-8-sig", atomic=True), default="-")
def export_words(file: TextIO) -> None:
    """Write all words to FILE as CSV, in UTF-8 with the mark by which Excel knows it.

    What Excel would calculate gets an apostrophe in front. FILE stays as it was until all is written.
    """
    found = list(db.session.scalars(Word.search()))
    db.session.commit()  # Other writes do not wait for a slow disk.
    table = csv.writer(file)
    table.writerow(Word.TEXTS)
    with progress(found, hidden=file.isatty()) as bar:
        for word in bar:
            table.writerow(as_cell(getattr(word, name)) for name in Word.TEXTS)


@words.command("import")
@click.argument("file", type=click.File("r", encoding="utf-8-sig"))
@click.option("--owner", help="The address of the account that will own them; without it only admins change them.")
def import_words(file: TextIO, owner: str | None) -> None:
    """Add the words of FILE, all or none; those that are there already are left out."""
    rows = good_rows(file)
    user = User.by_email(owner) if owner else None
    if owner and not user:
        raise click.ClickException(f"There is no account {owner}.")
    known = {tuple(pair) for pair in db.session.execute(select(Word.english, Word.chinese))}
    added = 0
    with progress(rows) as bar:
        for row in bar:
            pair = (row["english"], row["chinese"])
            if pair not in known:
                known.add(pair)
                db.session.add(Word(owner=user, **row))
                added += 1
            if len(db.session.new) == AT_ONCE:
                db.session.flush()  # The work is done here, and not unseen behind the bar; still one transaction.
    db.session.commit()
    click.echo(f"{added} words added, {len(rows) - added} were there already.")


def progress(rows: list[Any], hidden: bool = False) -> AbstractContextManager[Iterable[Any]]:
    """Show on stderr how far it is: stdout may be the file."""
    return click.progressbar(rows, label=f"{len(rows)} words", file=sys.stderr, hidden=hidden)


def as_cell(text: str) -> str:
    """Write a text such that Excel calculates nothing, whoever wrote it."""
    return f"'{text}" if FORMULA.match(text) else text


def as_text(cell: str) -> str:
    """Take off again what :func:`as_cell` put in front."""
    return cell[1:] if cell.startswith("'") and FORMULA.match(cell) else cell


def good_rows(file: TextIO) -> list[dict[str, str]]:
    """Read and check the whole table first.

    :raises click.ClickException: naming every bad line
    """
    table = csv.DictReader(file, strict=True)
    rows, bad, line = [], [], 1  # and the line where the row begins that is being read
    try:
        if not {"english", "chinese"} <= set(table.fieldnames or ()):
            raise click.ClickException("The first line must name the columns: " + ",".join(Word.TEXTS))
        line = table.line_num + 1
        for row in table:
            texts = {name: clean(as_text(row.get(name) or "")) for name in Word.TEXTS}
            reason = what_is_wrong(row, texts)
            if reason:
                bad.append(f"line {table.line_num}: {reason}")
            rows.append(texts)
            line = table.line_num + 1
    except UnicodeDecodeError:
        raise click.ClickException("The file is not UTF-8.") from None
    except csv.Error as reason:
        hint = "Is a quotation mark not closed, or not doubled?"
        raise click.ClickException(f"nothing is added.\nline {line}: {reason}. {hint}") from None
    if bad:
        raise click.ClickException("\n".join(["nothing is added.", *bad]))
    return rows


def what_is_wrong(row: dict[Any, Any], texts: dict[str, str]) -> str | None:
    """Say why a row can't be a word."""
    if None in row:
        return "more cells than columns"
    for name, text in texts.items():
        longest = Word.__table__.c[name].type.length
        if len(text) > longest:
            return f"{name} is longer than {longest} characters"
        if not text and name in {"english", "chinese"}:
            return f"{name} is empty"
    return None


@click.command("test", context_settings={"ignore_unknown_options": True})
@click.argument("arguments", nargs=-1)
def test(arguments: tuple[str, ...]) -> None:
    """Run the tests; ARGUMENTS are pytest's."""
    # A process of its own: the tests make apps with settings of their own.
    sys.exit(subprocess.call([sys.executable, "-m", "pytest", *arguments], cwd=ROOT))


def init_app(app: Flask) -> None:
    """Add the commands."""
    for command in (create_admin, seed, words, test):
        app.cli.add_command(command)
