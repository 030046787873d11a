"""Validation of URLs of package indexes and wheels."""

from __future__ import annotations

import re
from urllib.parse import quote, urlsplit, urlunsplit

URL = re.compile(r"[A-Za-z0-9._~:/?#\[\]@!$&()*+,;=%-]+\Z")
NETLOC = re.compile(r"(?:[^@/]*@)?(?P<host>[A-Za-z0-9](?:[A-Za-z0-9._-]*)|\[[0-9A-Fa-f:.]+\])(?::(?P<port>\d{1,5}))?\Z")
HOST = re.compile(r"(?:[A-Za-z0-9][A-Za-z0-9._-]*|\[[0-9A-Fa-f:.]+\])(?::\d{1,5})?\Z")


def normal_url(value: str) -> str:
    """An http(s) URL without ambiguities between parsers; empty for any other."""
    try:
        parts = urlsplit(value) if URL.match(value) else None
    except ValueError:
        parts = None
    if parts is None or parts.scheme.lower() not in ("http", "https") or not NETLOC.match(parts.netloc):
        return ""
    return urlunsplit((parts.scheme.lower(), *parts[1:]))


def safe_url(url: str) -> str:
    """The operator's index URL, escaped so that pip and uv read it as one word without variables."""
    return quote(url.strip(), safe="%/:=&?~#+!$,;'@()*[]")
