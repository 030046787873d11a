"""Do a thing once for all processes that want it: Ansible asks for each host in a process of its own."""

from __future__ import annotations

import fcntl
import hashlib
import json
import os
import shutil
from collections.abc import Callable, Iterable, Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

from release_inputs import InputError


def name_of(*values: object) -> str:
    """A short name for a file that belongs to these values, which it does not tell."""
    return hashlib.sha256(json.dumps(values, sort_keys=True, default=str).encode()).hexdigest()[:32]


@contextmanager
def locked(path: Path) -> Iterator[None]:
    """Hold a lock; the kernel takes it back from whoever is killed, so it is never in the way."""
    path.parent.mkdir(mode=0o700, parents=True, exist_ok=True)
    descriptor = os.open(path, os.O_RDWR | os.O_CREAT | os.O_CLOEXEC, 0o600)
    try:
        fcntl.flock(descriptor, fcntl.LOCK_EX)
        yield
    finally:
        os.close(descriptor)


def forget(paths: Iterable[Path], keep: int) -> None:
    """Remove all of a cache's files or folders but the ones that were used last; using one sets its time."""
    for path in sorted(paths, key=lambda path: path.stat().st_mtime)[:-keep]:
        if path.is_dir():
            shutil.rmtree(path, ignore_errors=True)
        else:
            path.unlink(missing_ok=True)


def once(folder: Path, name: str, make: Callable[[], Any]) -> Any:
    """What ``make`` gives (as JSON could hold it), made by the first that asks; the others wait, and get the same.

    An error is kept as well: fifty hosts do not wait for the same timeout fifty times.

    :param folder: of one run, so that the next run asks anew
    :raises InputError: what ``make`` raised, to everyone who asks
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
