"""Rules that others are made of, and what no text may hold."""

from __future__ import annotations

import re
from collections.abc import Callable
from typing import Any

# What a type cannot say. Each rule takes a value and answers what is wrong with it and what to do, or nothing.
# No answer may quote the value: it could be a secret in the wrong place.
Rule = Callable[[Any], "str | None"]


def pattern(regex: str, remedy: str) -> Rule:
    """The whole value must match."""
    return lambda value: None if re.fullmatch(regex, str(value)) else remedy


def between(low: int, high: int | None = None, words: str = "") -> Rule:
    """A whole number within limits."""
    remedy = words or (f"give a number from {low} to {high}" if high is not None else f"give {low} or more")
    return lambda value: None if low <= value and (high is None or value <= high) else remedy


# Of these, a value may have several lines.
LONG_TEXTS = frozenset({
    "env.*", "tls.certificate", "tls.chain", "tls.key", "tls.client_ca", "upstream.ca", "health.body",
    "hooks.before_start.*", "hooks.after_live.*", "hooks.on_failure.*", "hooks.schema", "processes.*.command",
    "cron.*.command",
})  # fmt: skip


def characters(dotted: str, value: object) -> str | None:
    """Characters that no text may hold, whatever its own rule says: they end a line or a word in some file."""
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
    """Empty, or what the rule asks for."""
    return lambda value: None if value == "" else rule(value)


def expression(value: str) -> str | None:
    """A regular expression that nginx's configuration can quote."""
    try:
        re.compile(value)
    except re.error as error:
        return f"give a regular expression; this one has an error: {error}"
    return "leave the double quote out of it" if '"' in value else None
