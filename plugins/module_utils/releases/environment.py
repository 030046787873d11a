"""The environment file of a release, read by the launcher, the config check, hooks and the site's shell."""

from __future__ import annotations

import json
import re
import urllib.parse
from collections.abc import Mapping
from pathlib import Path

NAME = re.compile(r"[A-Za-z_][A-Za-z0-9_]*\Z")
MASK = "********"
# Shorter values (1, no, dev) occur in ordinary text: masking them would only make errors unreadable.
SHORTEST_SECRET = 4
# Values of these are not secret, and logs are unreadable without them.
PUBLIC_NAMES = {"SITE_NAME", "SITE_RELEASE", "SITE_SHARED", "SITE_MAX_BODY"}
# Names that every site has; masking them would only hide an error's remedy.
OUR_NAMES = {"SECRET_KEY", *PUBLIC_NAMES}
# json.dumps(ensure_ascii=False) does not escape these, and str.splitlines() splits at them.
_LINE_ENDS = {ord("\x85"): "\\u0085", ord("\u2028"): "\\u2028", ord("\u2029"): "\\u2029"}


class EnvironmentFault(ValueError):
    """An invalid environment; the text shows neither names nor values."""


def format_environment(values: Mapping[str, str]) -> str:
    """Format ``NAME="value"`` lines: the value is a JSON string, so that any value fits on one line."""
    lines = (
        f"{name}={json.dumps(value, ensure_ascii=False).translate(_LINE_ENDS)}\n" for name, value in values.items()
    )
    return "".join(lines)


class EnvironmentFileError(ValueError):
    """An invalid line of an environment file; the text does not quote it, since it may be a secret."""


def parse_environment(text: str) -> dict[str, str]:
    """Parse the text of :func:`format_environment`.

    :raises EnvironmentFileError: with the number of the line
    """
    values = {}
    # Not splitlines(): a value may contain characters that are line ends in Unicode but not in JSON.
    for number, line in enumerate(text.split("\n"), start=1):
        if not line.strip():
            continue
        name, separator, encoded = line.partition("=")
        try:
            value = json.loads(encoded)
        except ValueError:
            value = None
        if not name or not separator or not isinstance(value, str) or "\0" in value:
            raise EnvironmentFileError(f'line {number}: expected NAME="value" as JSON')
        values[name] = value
    return values


def release_environment(
    given: Mapping[str, str], site: str, release_id: str, root: Path, max_body: int
) -> dict[str, str]:
    """The environment of a release's processes; the operator's values take precedence."""
    ours = {
        "SITE_NAME": site,
        "SITE_RELEASE": release_id,
        "SITE_SHARED": str(root / "shared"),
        "SITE_MAX_BODY": str(max_body),
    }
    return {**ours, **given}


def process_environment(user: str, release: Path, home: Path, environment: Mapping[str, str]) -> dict[str, str]:
    """The full environment of a process, as the launcher sets it; the release's values take precedence."""
    return {
        "PATH": f"{release / 'venv' / 'bin'}:/usr/local/bin:/usr/bin:/bin",
        "HOME": str(home),
        "USER": user,
        "LOGNAME": user,
        "LANG": "C.UTF-8",
        **environment,
    }


def as_texts(given: object) -> dict[str, str]:
    """The environment as text. Errors name entries by number, without names and values."""
    if not isinstance(given, Mapping):
        raise EnvironmentFault("env: must be a mapping of names to values")
    texts: dict[str, str] = {}
    for number, (name, value) in enumerate(given.items(), start=1):
        if not isinstance(name, str) or not NAME.match(name):
            raise EnvironmentFault(
                f"env: the name of entry {number} must be letters, digits and _, and begin with no digit"
            )
        if not isinstance(value, (str, int, float)):
            raise EnvironmentFault(f"env: the value of entry {number} must be a text or a number")
        text = str(value).lower() if isinstance(value, bool) else str(value)
        try:
            text.encode()
        except UnicodeEncodeError:
            raise EnvironmentFault(f"env: the value of entry {number} is not valid Unicode") from None
        if "\0" in text:
            raise EnvironmentFault(f"env: the value of entry {number} contains a NUL, which is not allowed")
        texts[str(name)] = text
    return texts


def mask(text: str, environment: Mapping[str, str]) -> str:
    """Mask the environment's names and values in a text for a terminal or a log.

    Values are masked literally, as quoted by Python or JSON, percent-encoded, line by line, and as the password of a
    URL, since tracebacks of database drivers show them so.
    """
    secrets: set[str] = set()
    for value in (value for name, value in environment.items() if name not in PUBLIC_NAMES):
        forms = {value, *value.splitlines()}
        try:
            parts = urllib.parse.urlsplit(value)
            if parts.password:
                forms |= {parts.password, urllib.parse.unquote(parts.password)}
        except ValueError:
            pass  # not a URL
        for form in forms:
            secrets |= {
                form,
                form.strip(),
                repr(form)[1:-1],
                ascii(form)[1:-1],
                json.dumps(form)[1:-1],
                json.dumps(form, ensure_ascii=False)[1:-1],
                urllib.parse.quote(form, safe=""),
                urllib.parse.quote_plus(form),
            }
    for secret in sorted(secrets, key=len, reverse=True):
        if len(secret) >= SHORTEST_SECRET:
            text = text.replace(secret, MASK)
    names = sorted((re.escape(name) for name in environment if name not in OUR_NAMES), key=len, reverse=True)
    return re.sub(rf"(?<!\w)(?:{'|'.join(names)})(?!\w)", MASK, text) if names else text
