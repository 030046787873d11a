"""Unpacks a verified archive into an empty folder."""

from __future__ import annotations

import calendar
import gzip
import io
import lzma
import os
import stat
import struct
import tarfile
import zipfile
import zlib
from collections.abc import Callable, Iterable, Iterator
from dataclasses import replace
from pathlib import Path, PurePosixPath
from typing import Any, BinaryIO

from ansible_collections.wsgi.sites.plugins.plugin_utils.sources import InputError, limits
from ansible_collections.wsgi.sites.plugins.plugin_utils.sources.archive_streams import (
    RATIO,
    Careful,
    Unpacked,
    too_much,
)
from ansible_collections.wsgi.sites.plugins.plugin_utils.sources.limits import Bounds
from ansible_collections.wsgi.sites.plugins.plugin_utils.sources.tree import Item, safe_name, write

# Uncompressed bytes that are allowed for any archive, whatever its size.
ANYWAY = 512 << 20
HEADERS = 100
BROKEN = (
    tarfile.TarError, zipfile.BadZipFile, zlib.error, lzma.LZMAError, EOFError, NotImplementedError, RuntimeError,
    ValueError, struct.error, LookupError, ArithmeticError, gzip.BadGzipFile,
)  # fmt: skip


def unpack(opened: BinaryIO, folder: Path, subfolder: str) -> None:
    """Unpack into an empty folder; a single folder that holds everything is left out, then ``subfolder`` is taken.

    :raises InputError: if it is not an archive, or has entries that are not allowed in a source
    """
    head = opened.read(6)
    size = opened.seek(0, io.SEEK_END)
    limit = min(limits.BYTES, max(ANYWAY, RATIO * size))
    try:
        if head.startswith(b"PK\x03\x04"):
            with zipfile.ZipFile(Careful(opened)) as zipped:  # type: ignore[arg-type] # it has all that is asked for
                _write(lambda: _zipped(zipped, limit), folder, subfolder)
        elif head.startswith((b"\x1f\x8b", b"\xfd7zXZ")):
            _write(lambda: _tarred(opened, head.startswith(b"\x1f"), limit), folder, subfolder)
        else:
            raise InputError("source.archive: is neither a .tar.gz, a .tar.xz nor a .zip; pack it as one of them")
    except BROKEN as error:
        # Not the error's text, which may contain text of the archive.
        raise InputError(f"source.archive: cannot be unpacked ({type(error).__name__}); pack it again") from None


def _write(items: Callable[[], Iterable[Item]], folder: Path, subfolder: str) -> None:
    used, names = Bounds(), []
    for item in items():
        # Check the declared total size before anything is written.
        used.count()
        names.append((safe_name(item.name), item.kind))
    tops = {parts[0] for parts, _ in names if parts}
    single = len(tops) == 1 and all(len(parts) != 1 or kind == "folder" for parts, kind in names)
    skip = (tops.pop(),) if single else ()
    skip += PurePosixPath(subfolder).parts if subfolder else ()
    if subfolder and not any(parts[: len(skip)] == skip and len(parts) > len(skip) for parts, _ in names):
        there = sorted({parts[len(skip) - 1] for parts, _ in names if len(parts) > len(skip)})
        raise InputError(f"source.subfolder: is not in the archive, which has {', '.join(there) or 'no folders'}")
    write(_below(items(), skip), folder)


def _below(items: Iterable[Item], skip: tuple[str, ...]) -> Iterator[Item]:
    for item in items:
        parts = safe_name(item.name)
        if parts[: len(skip)] != skip or len(parts) == len(skip):
            continue
        target = item.target
        if item.kind == "copy":
            original = safe_name(target)
            if original[: len(skip)] != skip:
                raise InputError(f"source: {item.name!r} is a hard link that leads out of the source")
            target = "/".join(original[len(skip) :])
        yield replace(item, name="/".join(parts[len(skip) :]), target=target)


def _moment(seconds: float) -> int:
    """A time that every file system knows, whatever an archive says: from 1970 to 2106."""
    return 0 if seconds != seconds else int(min(max(seconds, 0), 2**32 - 1))


def _dos_moment(date: tuple[int, int, int, int, int, int]) -> int:
    """A zip entry's time, which has no time zone, as UTC, so that it is the same everywhere."""
    try:
        return _moment(calendar.timegm((*date, 0, 0, 0)))
    except ValueError:  # a month 0, as writers without a clock put it
        return calendar.timegm((1980, 1, 1, 0, 0, 0))


def _tarred(opened: BinaryIO, gzipped: bool, limit: int) -> Iterator[Item]:
    stream: Any = Unpacked(opened, gzipped, limit)
    total = 0
    with tarfile.open(fileobj=stream, mode="r:") as tar:
        while (member := tar.next()) is not None:
            # tarfile would keep all of them in memory.
            tar.members.clear()
            total += member.size
            if len(tar.pax_headers) > HEADERS or total > limit or member.size < 0:
                raise too_much(limit)
            executable = bool(member.mode & 0o100)
            if member.isdir():
                yield Item(member.name, "folder")
            elif member.isfile():
                yield Item(member.name, "file", _moment(member.mtime), executable, content=tar.extractfile(member))
            elif member.issym():
                yield Item(member.name, "link", target=member.linkname)
            elif member.islnk():
                yield Item(member.name, "copy", _moment(member.mtime), executable, member.linkname)
            else:
                raise InputError(f"source: {member.name!r} is neither a file, a folder nor a link; leave it out")


def _zipped(opened: zipfile.ZipFile, limit: int) -> Iterator[Item]:
    total = 0
    for info in opened.infolist():
        total += info.file_size
        if total > limit:
            raise too_much(limit)
        mode = info.external_attr >> 16
        mtime = _dos_moment(info.date_time)
        if info.is_dir():
            yield Item(info.filename, "folder")
        elif stat.S_ISLNK(mode):
            with opened.open(info) as content:
                yield Item(info.filename, "link", target=os.fsdecode(content.read(limits.TARGET + 1)))
        elif stat.S_IFMT(mode) in (0, stat.S_IFREG):
            with opened.open(info) as content:
                yield Item(info.filename, "file", mtime, bool(mode & 0o100), content=content)
        else:
            raise InputError(f"source: {info.filename!r} is neither a file, a folder nor a link; leave it out")
