"""Ownership of a configuration file: from our templates, unchanged from the distribution, or someone else's."""

from __future__ import annotations

import hashlib
import re
from collections.abc import Mapping
from pathlib import Path

MARKER = re.compile(rb"[#;] Made from (.+); edits here are lost\.")


def template(content: bytes) -> str | None:
    """The collection's template that the file was made from, as its first line states."""
    first = MARKER.match(content.split(b"\n", 1)[0])
    return first.group(1).decode(errors="replace") if first else None


def is_ours(content: bytes) -> bool:
    """Whether the first line states that the file was made from one of our templates."""
    return template(content) is not None


def shipped(status: Path) -> dict[str, str]:
    """The distribution's configuration files: path and MD5, from dpkg's status file."""
    try:
        text = status.read_text(encoding="utf-8", errors="replace")
    except OSError:
        return {}
    return dict(re.findall(r"^ (/\S+) ([0-9a-f]{32})(?: .*)?$", text, re.MULTILINE))


def is_stock(path: str, content: bytes, conffiles: Mapping[str, str]) -> bool:
    """Whether the file is as the distribution ships it."""
    # Not for security: dpkg records MD5.
    return conffiles.get(path) == hashlib.md5(content, usedforsecurity=False).hexdigest()
