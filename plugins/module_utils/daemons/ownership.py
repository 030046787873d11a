"""Whose a file is: made from one of our templates, as the distribution ships it, or somebody else's."""

from __future__ import annotations

import hashlib
import re
from collections.abc import Mapping
from pathlib import Path

MARKER = re.compile(rb"[#;] Made from (.+); edits here are lost\.")


def template(content: bytes) -> str | None:
    """The template of ours that made the file, which its first line names."""
    first = MARKER.match(content.split(b"\n", 1)[0])
    return first.group(1).decode(errors="replace") if first else None


def is_ours(content: bytes) -> bool:
    """Whether the first line says that one of our templates made the file."""
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
    # Not for security: it is the digest that dpkg keeps.
    return conffiles.get(path) == hashlib.md5(content, usedforsecurity=False).hexdigest()
