"""Makes untrusted text safe for a terminal: control characters visible, and length bounded.

Uses only the standard library, since it is used on hosts and on the controller.
"""

from __future__ import annotations

from pathlib import Path
from typing import Any

# Far more than is ever shown, and small enough to read at once.
TAIL = 64 * 1024
# C0 except tab and line feed, DEL, C1; direction marks, embeddings, overrides and isolates; Unicode line ends;
# characters without width; lone surrogates.
HIDDEN = (
    *(set(range(0x20)) - {0x09, 0x0A}), *range(0x7F, 0xA0), 0x061C, *range(0x200B, 0x2010), *range(0x2028, 0x202F),
    *range(0x2060, 0x2070), 0xFEFF, *range(0xFFF9, 0xFFFC), *range(0xD800, 0xE000), *range(0xE0000, 0xE0080),
)  # fmt: skip


def _escape(code: int) -> str:
    return f"\\x{code:02x}" if code < 0x100 else f"\\u{code:04x}" if code < 0x10000 else f"\\U{code:08x}"


_VISIBLE = {code: _escape(code) for code in HIDDEN}


def visible(text: str) -> str:
    """The text with control and invisible characters escaped."""
    return text.replace("\r\n", "\n").translate(_VISIBLE)


def visible_all(value: Any) -> Any:
    """The same for every text in nested lists and dicts."""
    if isinstance(value, str):
        return visible(value)
    if isinstance(value, dict):
        return {visible_all(key): visible_all(each) for key, each in value.items()}
    if isinstance(value, (list, tuple)):
        return [visible_all(each) for each in value]
    return value


def bounded(path: Path, limit: int = TAIL) -> str:
    """The content of a small file; only the beginning of a large one."""
    with path.open("rb") as stream:
        return stream.read(limit).decode("utf-8", "replace")
