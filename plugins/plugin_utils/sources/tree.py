"""Writes the files of a source, with untrusted names, into an empty folder."""

from __future__ import annotations

import os
from collections.abc import Iterable
from dataclasses import dataclass
from pathlib import Path, PurePosixPath
from typing import BinaryIO

from ansible_collections.wsgi.sites.plugins.plugin_utils.sources import InputError, limits
from ansible_collections.wsgi.sites.plugins.plugin_utils.sources.limits import Bounds, check_name


@dataclass(frozen=True)
class Item:
    """One entry to write.

    :param name: its path below the folder, with ``/``
    :param kind: ``folder``, ``file``, ``link``, or ``copy`` of a file that was written before
    :param mtime: seconds since the epoch, of a file; nginx makes ETags of it, so it is the same wherever it is written
    :param target: of a link, as it stands there; of a copy, the other one's name
    """

    name: str
    kind: str
    mtime: int = 0
    executable: bool = False
    target: str = ""
    content: BinaryIO | None = None


def safe_name(name: str) -> tuple[str, ...]:
    """The parts of a path that stays below the folder.

    :raises InputError: for any other path
    """
    path = PurePosixPath(name)
    if path.is_absolute() or ".." in path.parts or "\0" in name:
        raise InputError(f"source: {name!r} leads out of the source; nothing of it was used")
    check_name(name, path.parts)
    return path.parts


def write(items: Iterable[Item], folder: Path, used: Bounds | None = None) -> None:
    """Write all entries, links last, so that no path can lead through a link.

    Links that lead out of the source are refused when the source is packed.

    :param used: the source's usage of its limits so far
    """
    used = used or Bounds()
    made: set[Path] = {folder}
    links: list[tuple[Path, Item]] = []
    for item in items:
        parts = safe_name(item.name)
        # A .git folder is left out, so that no program on the controller uses it.
        if not parts or any(part.lower() == ".git" for part in parts):
            continue
        path = folder.joinpath(*parts)
        try:
            _make(path if item.kind == "folder" else path.parent, made, used)
            if item.kind == "folder":
                continue
            used.count()
            if item.kind == "link":
                if not item.target or len(item.target) > limits.TARGET or "\0" in item.target:
                    raise InputError(f"source: the link {item.name!r} has no target that a host could follow")
                links.append((path, item))
            else:
                _write_file(item, path, folder, used)
        except (FileExistsError, NotADirectoryError):
            raise InputError(f"source: {item.name!r} is there twice") from None
    for path, item in links:
        try:
            path.symlink_to(item.target)
        except FileExistsError:
            raise InputError(f"source: {item.name!r} is there twice") from None


def _make(path: Path, made: set[Path], used: Bounds) -> None:
    """Make a folder and those above it, and count them."""
    missing = []
    while path not in made:
        missing.append(path)
        path = path.parent
    for each in reversed(missing):
        used.count()
        each.mkdir(exist_ok=True)
        made.add(each)


def _write_file(item: Item, path: Path, folder: Path, used: Bounds) -> None:
    descriptor = os.open(path, os.O_WRONLY | os.O_CREAT | os.O_EXCL | os.O_NOFOLLOW, 0o600)
    with os.fdopen(descriptor, "wb") as target:
        if item.kind == "copy":
            try:
                original = folder.joinpath(*safe_name(item.target))
                with original.open("rb") as stream:
                    used.copy(stream, target)
            except FileNotFoundError:
                raise InputError(f"source: {item.name!r} is a hard link to a file that is not there") from None
        elif item.content is not None:
            used.copy(item.content, target)
        os.fchmod(target.fileno(), 0o755 if item.executable else 0o644)
    os.utime(path, (item.mtime, item.mtime))
