"""Rules for repositories, versions and archives."""

from __future__ import annotations

import re


def repository(value: str) -> str | None:
    """A remote repository in git's notation, by the same rules as roles/release, without depending on it."""
    text = str(value)
    if re.match(r"[a-z+]+://", text):
        fits = re.fullmatch(r"((https?|ssh|git)://[^\s/-][^\s/]*|file://)/\S+", text)
    else:
        fits = re.fullmatch(r"([\w.+-]+@)?[A-Za-z0-9][\w.-]*:(?!:|//)\S+", text)
    return None if fits else "give a URL (https, ssh, or file:///FOLDER on this machine), or USER@HOST:PATH"


def version(value: object) -> str | None:
    """A name of git's. As a text: `1.10` without quotes is the number 1.1 to YAML."""
    if not isinstance(value, str):
        return "must be a text; put it in quotes, or 1.10 becomes 1.1"
    fits = re.fullmatch(r"(?!-)[^\s\\~^:?*\[\0-\x1f]+", value) and ".." not in value
    return None if fits else "give the name of a tag or a branch, or a commit"


def needs_commit(url: object, version: object) -> bool:
    """Whether an attacker on the network could choose the commit of a version: only a full hash can be verified."""
    plain = re.match(r"(http|git)://", str(url), re.IGNORECASE)
    return bool(plain) and not re.fullmatch(r"[0-9a-f]{40}|[0-9a-f]{64}", str(version))


def archive(value: str) -> str | None:
    """A URL that Python can fetch, or a path."""
    fits = re.match(r"https?://[^/]", value) if "://" in str(value) else str(value).strip()
    return None if fits else "give an http or https URL, or a file on this machine"
