"""The lock file of a site, read alike by preflight, by the controller's build and on hosts."""

from __future__ import annotations

import os
from dataclasses import dataclass
from pathlib import Path, PurePosixPath

from ansible_collections.wsgi.sites.plugins.module_utils.packages import lock_text, uv_lock
from ansible_collections.wsgi.sites.plugins.module_utils.packages.lock import Lock, LockError
from ansible_collections.wsgi.sites.plugins.module_utils.packages.requirements_file import Reader, parse

__all__ = ["COMPILE", "Lock", "LockError", "LockFile", "load", "parse"]

COMPILE = "uv pip compile --universal --generate-hashes"


@dataclass(frozen=True)
class LockFile:
    """A lock file in a source.

    :param name: its path in the source, normalized
    :param files: the content of the file and of every file that it includes, by path
    :param names: the packages by their normalized names
    :param lock: None for uv.lock, which ``uv export`` converts to a lock
    """

    name: str
    files: dict[str, bytes]
    names: set[str]
    lock: Lock | None


def load(source: Path, requirements: str) -> LockFile:
    """Read and check the lock of a source.

    :param requirements: its path, relative to the source
    :raises LockError: with file, line, problem, and the command that makes a correct lock
    """
    name = os.path.normpath(requirements)
    reader = Reader(lambda path: _content(source, path))
    try:
        content = _content(source, name)
        if is_uv_lock(name):
            uv_lock.check_project(source, name)
            return LockFile(name, {name: content}, uv_lock.names_in(content), None)
        reader.open(name)
        lock = reader.result()
    except LockError as error:
        raise LockError(f"{error}. {remedy(source, reader.faulty or name)}") from None
    return LockFile(name, reader.files, lock.names, lock)


def is_uv_lock(requirements: str) -> bool:
    """Whether the lock is a uv.lock."""
    return PurePosixPath(requirements).name == uv_lock.NAME


def _content(source: Path, name: str) -> bytes:
    """Read a file of the source; refuses paths and links that lead out of it."""
    path = source / name
    if source not in Path(os.path.normpath(path)).parents:
        raise LockError(f"{name} must lie in the source; name it relative to the source")
    if not path.is_file():
        raise LockError(f"{name} is not in the source")
    if source.resolve() not in path.resolve().parents:
        raise LockError(f"{name} is a link that leads out of the source; put the file itself there")
    if is_uv_lock(name) and not path.with_name("pyproject.toml").is_file():
        raise LockError(f"{name} needs its pyproject.toml beside it; put it into the source")
    return lock_text.read_bytes(path)


def remedy(source: Path, requirements: str) -> str:
    """The command that makes a correct lock from the files of this source."""
    if is_uv_lock(requirements):
        return "Make it with: uv lock"
    wanted = PurePosixPath(requirements).with_suffix(".in").as_posix()
    command = f"in the source's folder, with: {COMPILE} {wanted} -o {requirements}"
    if (source / wanted).is_file():
        return f"Make it, {command}"
    if (source / requirements).is_file():
        return f"Rename it to {wanted}, then make the lock, {command}"
    if (source / uv_lock.NAME).is_file():
        return f"This source has a {uv_lock.NAME}: set `requirements: {uv_lock.NAME}`"
    return f"List the packages in {wanted}, then make it, {command}"
