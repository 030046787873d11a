"""Parser of one package line: name, version or URL, marker and hashes. Errors do not quote the line."""

from __future__ import annotations

import re
from urllib.parse import SplitResult, unquote, urlsplit, urlunsplit

from ansible_collections.wsgi.sites.plugins.module_utils.packages.lock import LockError, Package
from ansible_collections.wsgi.sites.plugins.module_utils.packages.urls import normal_url

IDENTIFIER = r"[A-Za-z0-9](?:[A-Za-z0-9._-]*[A-Za-z0-9])?"
EXTRAS = rf"\[\s*(?:{IDENTIFIER}(?:\s*,\s*{IDENTIFIER})*)?\s*\]"
HEAD = re.compile(rf"(?P<name>{IDENTIFIER})\s*(?P<extras>{EXTRAS})?\s*(?P<rest>(?:[=<>!~@;(].*)?)\Z")
PIN = re.compile(r"(?P<operator>===?)\s*(?P<version>[A-Za-z0-9][A-Za-z0-9.!+_-]*)\s*\Z")
HASH = re.compile(r"(?P<kind>[a-z0-9]+):(?P<digest>[0-9A-Fa-f]+)\Z")
STRONG = ("sha256", "sha384", "sha512")
# The tokens of a marker; its grammar is checked during evaluation.
MARKER = re.compile(
    r"\s*(?:(?P<word>python_version|python_full_version|os_name|sys_platform|platform_release|platform_system"
    r"|platform_version|platform_machine|platform_python_implementation|implementation_name|implementation_version"
    r"|extra|and|or|not|in)\b|(?P<operator>===|[<>=!~]=|[<>()])"
    r"|(?P<text>'[\w .+*!~,:/#@()-]*'|\"[\w .+*!~,:/#@()-]*\"))",
    re.ASCII,
)
OPTION = re.compile(r"--?[A-Za-z][A-Za-z0-9-]*")


def parse_package(line: str) -> Package:
    """Parse one logical line.

    :raises LockError: with the problem, in a form that follows "line N"
    """
    # Options follow the requirement; no word of a URL or marker begins with a dash.
    words, *rest = re.split(r"\s+(?=-)", line, maxsplit=1)
    head = HEAD.match(words.strip())
    if head is None:
        raise LockError("is neither a package nor an option that a lock may have; lock again, from an index")
    pin, url, marker = _version(head["name"], head["rest"])
    hashes = _hashes(head["name"], rest[0] if rest else "")
    if url:
        parts = urlsplit(url)
        hashes += tuple(part.replace("=", ":", 1) for part in parts.fragment.split("&") if part)
        url = _wheel(head["name"], parts)
    if not hashes:
        shown = f"{head['name']}{pin}" if pin else head["name"]
        raise LockError(f"has no hash for {shown}; lock with hashes" if pin or url else "pins no package; lock again")
    extras = {normalize(extra) for extra in re.findall(IDENTIFIER, head["extras"] or "")}
    return Package(normalize(head["name"]), tuple(sorted(extras)), pin, url, marker, tuple(sorted(set(hashes))))


def normalize(name: str) -> str:
    """A package's name in normalized spelling (PEP 503)."""
    return re.sub(r"[-_.]+", "-", name).lower()


def checked_url(value: str, what: str) -> str:
    """An http(s) URL.

    :raises LockError: for any other URL; its text does not quote the URL, which may contain a login
    """
    if url := normal_url(value):
        return url
    raise LockError(f"has no http or https URL after {what}; folders and other kinds of URLs are not allowed there")


def _version(name: str, rest: str) -> tuple[str, str, str]:
    """Version or URL, and the marker."""
    if rest.startswith("@"):
        where, _, marker = rest[1:].strip().partition(" ")
        marker = marker.strip()
        if marker and not marker.startswith(";"):
            raise LockError(f"has more than a URL after {name} @; lock again")
        return "", checked_url(where, f"{name} @"), _marker(name, marker[1:]) if marker else ""
    where, semicolon, marker = rest.partition(";")
    pin = PIN.match(where.strip())
    if pin is None:
        known = f" {name}" if where.strip() else ""
        raise LockError(f"does not pin{known} by ==VERSION; lock with exact versions and hashes")
    return pin["operator"] + pin["version"], "", _marker(name, marker) if semicolon else ""


def _marker(name: str, text: str) -> str:
    found, at, text = [], 0, text.strip()
    while at < len(text):
        part = MARKER.match(text, at)
        if part is None:
            raise LockError(f"has an unknown marker of {name}; lock again")
        found.append(part[0].strip())
        at = part.end()
    return " ".join(found)


def _hashes(name: str, text: str) -> tuple[str, ...]:
    found = []
    words = iter(text.split())
    for word in words:
        option, given, value = word.partition("=")
        if option != "--hash":
            shown = OPTION.match(option)
            more = shown[0] if shown else "more than hashes"
            raise LockError(f"has {more} after {name}; only --hash is allowed there, remove the rest")
        found.append(_hash(name, value if given else next(words, "")))
    return tuple(found)


def _hash(name: str, value: str) -> str:
    parts = HASH.match(value)
    if parts is None or parts["kind"] not in STRONG:
        raise LockError(f"has a hash of {name} that is not one of {', '.join(STRONG)}; lock again")
    return f"{parts['kind']}:{parts['digest'].lower()}"


def _wheel(name: str, parts: SplitResult) -> str:
    """A package's own URL, without the hash."""
    if not unquote(parts.path).endswith(".whl"):
        raise LockError(f"has {name} as a URL that is not a wheel, and hosts compile nothing; lock a wheel")
    for part in filter(None, parts.fragment.split("&")):
        _hash(name, part.replace("=", ":", 1))
    return urlunsplit((*parts[:4], ""))
