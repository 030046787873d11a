"""Lists the files of a source for a release."""

from __future__ import annotations

import hashlib
import os
import stat
from collections.abc import Collection, Mapping
from dataclasses import dataclass
from pathlib import Path, PurePosixPath

from ansible_collections.wsgi.sites.plugins.plugin_utils.sources import InputError, limits

EXCLUDED = {".git", "__pycache__", ".venv", "node_modules", ".pytest_cache", ".mypy_cache", ".ruff_cache"}
# Flask stores local data here; a package of this name in a subfolder is code.
EXCLUDED_AT_TOP = {"instance"}
# Links that a link may lead through, as on Linux.
LINKS = 40


@dataclass(frozen=True)
class Entry:
    """One file, folder or link of the source, as it will lie in ``app/``."""

    top: Path
    name: str
    kind: str
    executable: bool = False
    digest: str = ""
    size: int = 0


def collect(source: Path) -> list[Entry]:
    """List the files of a release in a fixed order, with a hash of each file's content.

    Other users may be able to write to the source at any time, so each entry is opened without following links, and
    only the opened file is used.
    """
    entries: list[Entry] = []
    used, folders = limits.Bounds(), [""]
    while folders:
        folder = folders.pop()
        descriptor = limits.open_folder(source, folder)
        try:
            for name in _names(descriptor, not folder, used):
                entries.append(_entry(source, f"{folder}/{name}" if folder else name, descriptor, used))
                if entries[-1].kind == "folder":
                    folders.append(entries[-1].name)
        finally:
            os.close(descriptor)
    links = {entry.name: entry.digest for entry in entries if entry.kind == "link"}
    for name in links:
        if leads_out(name, links):
            raise InputError(
                f"the link {name} leads out of the source, where no host can follow; put the file itself there"
            )
    return sorted(entries, key=lambda entry: entry.name)


def _excluded(name: str, at_top: bool) -> bool:
    return name in EXCLUDED or name.endswith((".pyc", ".pyo")) or (at_top and name in EXCLUDED_AT_TOP)


def _names(folder: int, at_top: bool, used: limits.Bounds) -> list[str]:
    names = []
    with os.scandir(folder) as listed:
        for found in listed:
            if not _excluded(found.name, at_top):
                used.count()
                names.append(found.name)
    return sorted(names)


def _entry(source: Path, name: str, folder: int, used: limits.Bounds) -> Entry:
    path = PurePosixPath(name)
    limits.check_name(name, path.parts)
    try:
        mode = os.stat(path.name, dir_fd=folder, follow_symlinks=False).st_mode
        target = str(PurePosixPath(os.readlink(path.name, dir_fd=folder))) if stat.S_ISLNK(mode) else ""
    except OSError as error:
        raise limits.unreadable(name, error) from None
    if stat.S_ISDIR(mode):
        return Entry(source, name, "folder")
    if stat.S_ISLNK(mode):
        used.add(len(target))
        return Entry(source, name, "link", digest=target)
    if not stat.S_ISREG(mode):
        raise InputError(f"{name} in the source is neither a file, a folder nor a link; move it out of the source")
    with os.fdopen(limits.open_below(source, name), "rb") as stream:
        status, digest, size = os.fstat(stream.fileno()), hashlib.sha256(), 0
        used.room(status.st_size)
        while block := stream.read(limits.BLOCK):
            used.add(len(block))
            size += len(block)
            digest.update(block)
    return Entry(source, name, "file", bool(status.st_mode & 0o100), digest.hexdigest(), size)


def leads_out(name: str, links: Mapping[str, str]) -> bool:
    """Whether a link leads out of the source, by the targets of all links as read and packed."""
    place = list(PurePosixPath(name).parts[:-1])
    steps, followed = [PurePosixPath(name).name], 0
    while steps:
        step = steps.pop()
        if step in ("", "."):
            continue
        if step == "..":
            if not place:
                return True
            place.pop()
            continue
        target = links.get("/".join([*place, step]))
        if target is None:
            place.append(step)
            continue
        followed += 1
        if target.startswith("/"):
            return True
        if followed > LINKS:
            return False  # a loop leads nowhere
        steps += reversed(target.split("/"))
    return False


def code_hash(entries: list[Entry], lock: Collection[str]) -> str:
    """Hash of names, contents and executable bits, without times and without the lock, which is a separate part."""
    digest = hashlib.sha256()
    for entry in entries:
        if entry.name not in lock:
            digest.update(os.fsencode(repr((entry.name, entry.kind, entry.executable, entry.digest))))
    return digest.hexdigest()
