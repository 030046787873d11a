"""Atomic file replacement on the controller."""

from __future__ import annotations

import os
import tempfile
from pathlib import Path


def replace(path: Path, data: bytes, mode: int = 0o600) -> None:
    """Replace a file at once; it never has more rights than these.

    :raises OSError: with the old file still in place
    """
    handle, name = tempfile.mkstemp(dir=path.parent, prefix=f".{path.name.lstrip('.')}.")
    try:
        with os.fdopen(handle, "wb") as file:
            file.write(data)
            file.flush()
            os.fsync(file.fileno())
        Path(name).chmod(mode)
        Path(name).replace(path)
    except BaseException:
        Path(name).unlink()
        raise
