"""The last lines of a site's logs."""

from __future__ import annotations

from collections import deque
from pathlib import Path

NAMES = ("server.log", "access.log", "error.log")


def last(path: Path, count: int, containing: str = "") -> list[str]:
    """The last lines of a file, perhaps only those that hold a text; none if there is no file."""
    try:
        with path.open(encoding="utf-8", errors="replace") as stream:
            # newest of the fitting ones; a log is read once, and never more of it kept than is asked for
            return list(deque((line.rstrip("\n") for line in stream if containing in line), maxlen=max(count, 0)))
    except OSError:
        return []


def show(folder: Path, count: int, containing: str = "") -> str:
    """Each log's last lines below its name."""
    parts = []
    for name in NAMES:
        lines = last(folder / name, count, containing)
        if containing:
            # What was asked for may have happened before the last rotation.
            lines = [*last(folder / f"{name}.1", count, containing), *lines][-count:]
        missing = "(no line with that)" if containing else "(empty)"
        parts.append("\n".join([f"--- {folder / name}", *(lines or [missing])]))
    return "\n".join(parts) + "\n"
