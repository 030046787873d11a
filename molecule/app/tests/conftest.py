"""The word book, a visitor with a browser, and an admin."""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path

import pytest
from people import Client, Person, flask, png
from playwright.sync_api import Browser, sync_playwright
from support import SITES, Machine, Site

# No traffic of the browser's own, and no sandbox, since root runs these tests.
FLAGS = (
    "--no-sandbox --disable-gpu --disable-quic --no-first-run --disable-background-networking "
    "--disable-component-update --disable-sync"
)


@pytest.fixture
def book(machine: Machine) -> Site:
    """The word book that stores its words in SQLite."""
    return Site(machine, "wordbook", SITES["wordbook"])


@pytest.fixture
def browser(book: Site) -> Iterator[Browser]:
    """Debian's Chromium, which resolves the site by its name."""
    rules = f"--host-resolver-rules=MAP {book.server_name} {book.machine.address}"
    with sync_playwright() as playwright:
        browser = playwright.chromium.launch(executable_path="/usr/bin/chromium", args=[*FLAGS.split(), rules])
        yield browser
        browser.close()


@pytest.fixture
def person(browser: Browser, book: Site) -> Person:
    """A visitor with a new browser."""
    return Person(browser.new_page(locale="zh-CN"), book)


@pytest.fixture
def admin(book: Site) -> Client:
    """The admin of the word book, logged in."""
    flask(book, "create-admin", "admin@example.org")
    return Client(book).log_in("admin@example.org")


@pytest.fixture
def picture(tmp_path: Path) -> Path:
    """A small picture with a Chinese name."""
    path = tmp_path / "茶.PNG"
    path.write_bytes(png())
    return path
