"""Texts of hosts and sites, so that they can be shown on a terminal."""

from __future__ import annotations

import re

# C0 but tab and line feed, DEL, C1, bidirectional marks, Unicode's own line ends, and half characters.
HIDDEN = re.compile("[\x00-\x08\x0b-\x1f\x7f-\x9f\u061c\u200e\u200f\u2028-\u202e\u2066-\u2069\ud800-\udfff\ufeff]")


def visible(text: str) -> str:
    """A text with control characters written out: escape as a backslash and x1b."""
    return HIDDEN.sub(lambda found: ascii(found[0])[1:-1], text)
