"""URLs without what is secret in them: a login may stand before the host, a token in the query."""

from __future__ import annotations

import re
from urllib.parse import unquote, urlsplit, urlunsplit

LOGIN = re.compile(r"(?<=://)[^/\s]+@")


def is_url(text: str) -> bool:
    """Whether a text begins with a scheme; ``git@host:path`` does not."""
    return re.match(r"[a-z][a-z0-9+.-]*://", text, re.IGNORECASE) is not None


def clean_url(url: str) -> str:
    """A URL as it may be shown: no login, no query, no fragment. What is no URL stays as it is."""
    if not is_url(url):
        return url
    parts = urlsplit(url)
    return urlunsplit((parts.scheme, parts.netloc.rpartition("@")[2], parts.path, "", ""))


def login(url: str) -> tuple[str, str]:
    """User and password of a URL, decoded; empty where there is none."""
    parts = urlsplit(url) if is_url(url) else urlsplit("")
    return unquote(parts.username or ""), unquote(parts.password or "")


def masked(text: str, url: str) -> str:
    """A program's words about a URL, without what is secret in it."""
    text = text.replace(url, clean_url(url))
    parts = urlsplit(url) if is_url(url) else urlsplit("")
    secrets = {*login(url), parts.password or "", parts.query, *re.findall(r"=([^&]+)", parts.query)}
    for secret in sorted(filter(None, secrets), key=len, reverse=True):
        # A user called `git`, or one letter, is no secret, and masking it would make words unreadable.
        if len(secret) > 3:
            text = text.replace(secret, "****")
    return LOGIN.sub("****@", text)


def last_lines(text: str, count: int = 5) -> str:
    """The end of a program's output, where its error stands."""
    return "\n".join(line.rstrip() for line in text.strip().splitlines()[-count:])
