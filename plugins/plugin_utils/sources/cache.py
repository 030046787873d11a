"""Caches shared between processes, since Ansible runs each host's task in a separate process."""

from __future__ import annotations

import fcntl
import hashlib
import json
import os
import shutil
import stat
from collections.abc import Callable, Iterable, Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

from ansible_collections.wsgi.sites.plugins.plugin_utils.sources import InputError


def name_of(*values: object) -> str:
    """A file name derived from these values without revealing them."""
    return hashlib.sha256(json.dumps(values, sort_keys=True, default=str).encode()).hexdigest()[:32]


def private(folder: Path) -> None:
    """Create a private folder and its parents; make an existing one private.

    :raises InputError: if something else is there, or a folder of another user
    """
    for each in reversed([folder, *folder.parents]):
        if not each.exists():
            each.mkdir(mode=0o700, exist_ok=True)
    status = folder.lstat()
    # The owner of the parent folder could have created anything here.
    if not stat.S_ISDIR(status.st_mode) or status.st_uid not in (os.geteuid(), folder.parent.stat().st_uid):
        raise InputError(f"source: {folder} is not a folder of your own; remove it, and run again")
    if status.st_mode & 0o077:
        folder.chmod(0o700)


@contextmanager
def locked(path: Path) -> Iterator[None]:
    """Hold a kernel lock, which is released even if the process is killed."""
    private(path.parent)
    descriptor = os.open(path, os.O_RDWR | os.O_CREAT | os.O_NOFOLLOW | os.O_CLOEXEC, 0o600)
    try:
        fcntl.flock(descriptor, fcntl.LOCK_EX)
        yield
    finally:
        os.close(descriptor)


def secret_name(folder: Path, values: list[str]) -> str:
    """A cache name for these secret values that cannot be found by guessing values.

    :param folder: contains the salt, which differs on every controller
    """
    if not values:
        return "open"
    with locked(folder / "salt.lock"):
        kept = folder / "salt"
        if not kept.is_file() or kept.stat().st_size != 32:
            temporary = kept.with_suffix(".new")
            temporary.unlink(missing_ok=True)
            with os.fdopen(os.open(temporary, os.O_WRONLY | os.O_CREAT | os.O_EXCL, 0o600), "wb") as target:
                target.write(os.urandom(32))
            temporary.replace(kept)
        salt = kept.read_bytes()
    return hashlib.scrypt(json.dumps(values).encode(), salt=salt, n=1 << 14, r=8, p=1, dklen=16).hex()


def discard(folders: Iterable[Path], keep: int) -> None:
    """Remove all folders but the most recently used ones and those with a held lock."""
    known = sorted((path for path in folders if path.is_dir()), key=lambda path: path.stat().st_mtime, reverse=True)
    for folder in known[keep:]:
        descriptor = os.open(folder / "lock", os.O_RDWR | os.O_CREAT | os.O_NOFOLLOW | os.O_CLOEXEC, 0o600)
        try:
            fcntl.flock(descriptor, fcntl.LOCK_EX | fcntl.LOCK_NB)
            shutil.rmtree(folder, ignore_errors=True)
        except BlockingIOError:
            continue
        finally:
            os.close(descriptor)


def forget(paths: Iterable[Path], keep: int) -> None:
    """Remove all of a cache's entries but the most recently used ones; using an entry sets its time."""
    for path in sorted(paths, key=lambda path: path.stat().st_mtime)[:-keep]:
        if path.is_dir():
            shutil.rmtree(path, ignore_errors=True)
        else:
            path.unlink(missing_ok=True)


def once(folder: Path, name: str, make: Callable[[], Any]) -> Any:
    """The JSON-compatible result of ``make``, computed by the first caller; others wait and get the same.

    Errors are cached too, so that fifty hosts do not wait for the same timeout fifty times.

    :param folder: a folder of one run, so that the next run computes it again
    :raises InputError: the error of ``make``, for every caller
    """
    note = folder / f"{name}.json"
    with locked(folder / f"{name}.lock"):
        try:
            answer = json.loads(note.read_text(encoding="utf-8"))
        except FileNotFoundError:
            try:
                answer = {"value": make()}
            except InputError as error:
                answer = {"error": str(error)}
            temporary = note.with_suffix(".new")
            temporary.write_text(json.dumps(answer), encoding="utf-8")
            temporary.replace(note)
    if "error" in answer:
        raise InputError(answer["error"])
    return answer["value"]
