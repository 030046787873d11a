"""Basic rules that others are built from, and characters that no text may contain."""

from __future__ import annotations

import re
from collections.abc import Callable
from typing import Any

# Each rule takes a value and returns the problem with its remedy, or an empty text.
# The result must not quote the value, which may be a misplaced secret.
Rule = Callable[[Any], "str | None"]


def pattern(regex: str, remedy: str) -> Rule:
    """The whole value must match."""
    return lambda value: None if re.fullmatch(regex, str(value)) else remedy


def between(low: int, high: int | None = None, words: str = "") -> Rule:
    """A whole number within limits."""
    remedy = words or (f"give a number from {low} to {high}" if high is not None else f"give {low} or more")
    return lambda value: None if low <= value and (high is None or value <= high) else remedy


# Keys whose value may have several lines.
LONG_TEXTS = frozenset({
    "env.*", "tls.certificate", "tls.chain", "tls.key", "tls.client_ca", "upstream.ca", "health.body",
    "hooks.before_start.*", "hooks.after_live.*", "hooks.on_failure.*", "hooks.schema", "processes.*.command",
    "cron.*.command",
})  # fmt: skip


def characters(dotted: str, value: object) -> str | None:
    """Refuse characters that end a line or a word in some file, whatever the key's own rule allows."""
    text = str(value)
    if re.search(r"[\0\ud800-\udfff]", text):
        return "holds a character that no file can hold (a NUL, or half of a pair); take it out"
    if dotted != "env.*" and re.search(r"[\x01-\x08\x0b\x0c\x0e-\x1f\x7f]", text):
        return "holds a control character; take it out"
    # A schedule may have tabs between its fields.
    breaks = r"[\n\r\x85\u2028\u2029]" if dotted == "cron.*.schedule" else r"[\t\n\r\x85\u2028\u2029]"
    if dotted not in LONG_TEXTS and re.search(breaks, text):
        return "holds a line end or a tab; write it on one line, and in a YAML block (|, >) use |- or >-"
    return None


def optional(rule: Rule) -> Rule:
    """Empty, or valid by the rule."""
    return lambda value: None if value == "" else rule(value)


def expression(value: str) -> str | None:
    """A regular expression that nginx's configuration can quote."""
    try:
        re.compile(value)
    except re.error as error:
        return f"give a regular expression; this one has an error: {error}"
    return "leave the double quote out of it" if '"' in value else None
