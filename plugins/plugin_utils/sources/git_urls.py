"""URLs of git repositories and submodules."""

from __future__ import annotations

import re
from urllib.parse import unquote, urlsplit

from ansible_collections.wsgi.sites.plugins.plugin_utils.sources import InputError
from ansible_collections.wsgi.sites.plugins.plugin_utils.sources.urls import clean_url, is_url

SCP = re.compile(r"((?:[^@/:\s]+@)?(?:\[[0-9A-Fa-f:.]+\]|[^:/\s\[]+)):(.*)")


def ssh_target(url: str) -> tuple[str, str, str] | None:
    """User, host and port of an ssh URL; None for any other."""
    if is_url(url):
        parts = urlsplit(url)
        if parts.scheme.lower() != "ssh":
            return None
        return unquote(parts.username or ""), parts.hostname or "", str(parts.port or "")
    found = SCP.fullmatch(url)
    if not found:
        return None
    user, _, host = found[1].rpartition("@")
    return user, host.strip("[]").lower(), ""


def joined(base: str, url: str) -> str:
    """A path beside another one, as git reads ./ and ../ at the beginning; nowhere else they may stand."""
    parts = base.rstrip("/").split("/")
    while url.startswith(("./", "../")):
        if url.startswith("../"):
            if not parts or parts == [""]:
                raise InputError("source.git: a submodule's URL leads out of its server; correct .gitmodules")
            parts.pop()
        url = url.partition("/")[2]
    names = url.rstrip("/").split("/")
    if any(unquote(name) in ("", ".", "..") or "/" in unquote(name) for name in names) or re.search(r"[?#\\]", url):
        raise InputError("source.git: a submodule's URL has .. or // within its path; correct .gitmodules")
    return "/".join([*parts, *names])


def usable(url: str) -> bool:
    """Whether this is an allowed repository: a URL, or ``user@host:path``."""
    # A newline in a login would add a line to the credential helper's answer.
    if re.search(r"\s|[\0-\x1f]|%0[0ad]", url, re.IGNORECASE) or url.startswith("-"):
        return False
    if is_url(url):
        try:
            parts = urlsplit(url)
            _ = parts.port
        except ValueError:
            return False
        host = (parts.netloc.rpartition("@")[2] or "").lstrip("[")
        if parts.scheme == "file" and host:
            return False
        # Case-sensitive, as in git.
        known = url.partition("://")[0] in ("file", "git", "http", "https", "ssh")
        return known and bool(parts.path) and not host.startswith("-") and not parts.netloc.startswith("-")
    return re.fullmatch(r"([\w.+-]+@)?(\[[0-9A-Fa-f:.]+\]|[A-Za-z0-9][\w.-]*):(?![:-]|//).+", url) is not None


def address(url: str) -> str:
    """The URL without its login, which the credential helper supplies; ssh keeps the user."""
    user = urlsplit(url).username if url.startswith("ssh:") else ""
    return clean_url(url).replace("://", f"://{user}@", 1) if user else clean_url(url)


def relative_to(own: str, url: str) -> str:
    """A submodule's URL: one that begins with ./ or ../ is relative to this repository's, by git's rules."""
    if url.startswith(("./", "../")):
        if is_url(own):
            parts = urlsplit(own)
            return parts._replace(path=joined(parts.path, url)).geturl()
        host, path = SCP.fullmatch(own).groups()  # type: ignore[union-attr] # usable() has seen to that
        return f"{host}:{joined(path, url)}"
    mine, other = urlsplit(clean_url(own)), urlsplit(clean_url(url))
    if is_url(url) and url == clean_url(url) and (mine.scheme, mine.netloc) == (other.scheme, other.netloc):
        # The same server: the same login.
        return other._replace(netloc=urlsplit(own).netloc).geturl()
    return url
