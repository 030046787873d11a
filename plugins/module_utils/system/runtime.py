"""State in /run/sites until the next boot: the folder, locks, and the configuration that a daemon has loaded."""

from __future__ import annotations

import fcntl
import json
import os
import time
from collections.abc import Iterator
from contextlib import contextmanager, suppress
from pathlib import Path

from ansible_collections.wsgi.sites.plugins.module_utils.system.process import Process

RUN = Path("/run/sites")
# Readable by all, so that runs are visible; files with secrets are readable by root only.
MODE = 0o755


def make_folder(folder: Path = RUN) -> None:
    """Create the folder if it is missing, with the same mode in every caller."""
    folder.mkdir(parents=True, exist_ok=True)
    if folder.stat().st_mode & 0o7777 != MODE:
        folder.chmod(MODE)


@contextmanager
def alone(folder: Path, name: str, enabled: bool = True, patience: float | None = None) -> Iterator[None]:
    """Hold a lock for changes of a daemon or of the sites' control groups.

    :param enabled: False in check mode, which writes nothing, not even a lock file
    :param patience: seconds after which it continues without the lock; None waits
    """
    if not enabled:
        yield
        return
    make_folder(folder)
    descriptor = os.open(folder / f"{name}.lock", os.O_RDWR | os.O_CREAT | os.O_CLOEXEC | os.O_NOFOLLOW, 0o600)
    try:
        # Not readable by others: any reader could lock it and block every run.
        os.fchmod(descriptor, 0o600)
        _lock(descriptor, patience)
        yield
    finally:
        os.close(descriptor)


def _lock(descriptor: int, patience: float | None) -> None:
    if patience is None:
        fcntl.flock(descriptor, fcntl.LOCK_EX)
        return
    deadline = time.monotonic() + patience
    while time.monotonic() < deadline:
        with suppress(BlockingIOError):
            fcntl.flock(descriptor, fcntl.LOCK_EX | fcntl.LOCK_NB)
            return
        time.sleep(0.01)


class Stamp:
    """The digest of the configuration that a daemon has loaded, valid for exactly this process."""

    def __init__(self, folder: Path, name: str) -> None:
        self.path = folder / f"{name}.json"

    def loaded(self, daemon: Process) -> str | None:
        """The digest, or None if nothing is recorded for this process."""
        with suppress(OSError, ValueError):
            note = json.loads(self.path.read_text(encoding="utf-8"))
            if (note.get("pid"), note.get("start")) == (daemon.pid, daemon.start):
                return note.get("loaded")
        return None

    def write(self, daemon: Process, digest: str) -> None:
        """Record the digest that this process has loaded."""
        make_folder(self.path.parent)
        temporary = self.path.with_name(f".{self.path.name}.new")
        note = {"pid": daemon.pid, "start": daemon.start, "loaded": digest}
        temporary.write_text(json.dumps(note), encoding="utf-8")
        os.replace(temporary, self.path)
