"""Read and decode the text of a lock, up to a maximum size."""

from __future__ import annotations

import codecs
from pathlib import Path

from ansible_collections.wsgi.sites.plugins.module_utils.packages.lock import LockError

# More than any lock has.
MAX_BYTES = 16 * 1024 * 1024
# Variables in a requirements file or uv.lock are expanded from the environment, including secrets of the run.
VARIABLE = "${"


def read_bytes(path: Path) -> bytes:
    """The content of a file, up to one byte more than the limit."""
    with path.open("rb") as stream:
        return stream.read(MAX_BYTES + 1)


def decode(content: bytes) -> str:
    """Decode UTF-8, and what Windows writes: a byte order mark, or UTF-16.

    :raises LockError: if it is not text
    """
    if len(content) > MAX_BYTES:
        raise LockError(f"is larger than {MAX_BYTES >> 20} MB, too large for a lock; name the lock file")
    wide = content.startswith((codecs.BOM_UTF16_LE, codecs.BOM_UTF16_BE))
    try:
        return content.decode("utf-16" if wide else "utf-8-sig")
    except UnicodeDecodeError:
        raise LockError("is not UTF-8; save it as UTF-8") from None


def read_text(path: Path, name: str) -> str:
    """The text of a file.

    :param name: the file's name in error messages
    """
    try:
        return decode(read_bytes(path))
    except LockError as error:
        raise LockError(f"{name} {error}") from None
