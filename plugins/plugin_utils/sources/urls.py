"""Removes secrets from URLs: logins and query strings."""

from __future__ import annotations

import re
from urllib.parse import unquote, urlsplit, urlunsplit

LOGIN = re.compile(r"(?<=://)[^/\s]+@")


def is_url(text: str) -> bool:
    """Whether a text begins with a scheme; ``git@host:path`` does not."""
    return re.match(r"[a-z][a-z0-9+.-]*://", text, re.IGNORECASE) is not None


def clean_url(url: str) -> str:
    """A URL for display, without login, query and fragment. Other texts are not changed."""
    if not is_url(url):
        return url
    parts = urlsplit(url)
    return urlunsplit((parts.scheme, parts.netloc.rpartition("@")[2], parts.path, "", ""))


def login(url: str) -> tuple[str, str]:
    """User and password of a URL, decoded; empty if there is none."""
    parts = urlsplit(url) if is_url(url) else urlsplit("")
    return unquote(parts.username or ""), unquote(parts.password or "")


def masked(text: str, url: str) -> str:
    """A program's output about a URL, with the URL's secrets masked."""
    text = text.replace(url, clean_url(url))
    parts = urlsplit(url) if is_url(url) else urlsplit("")
    secrets = {*login(url), parts.password or "", parts.query, *re.findall(r"=([^&]+)", parts.query)}
    for secret in sorted(filter(None, secrets), key=len, reverse=True):
        # A user `git`, or of one letter, is not a secret, and masking it would make messages unreadable.
        if len(secret) > 3:
            text = text.replace(secret, "****")
    return LOGIN.sub("****@", text)


def last_lines(text: str, count: int = 5) -> str:
    """The end of a program's output, which has the error."""
    return "\n".join(line.rstrip() for line in text.strip().splitlines()[-count:])
