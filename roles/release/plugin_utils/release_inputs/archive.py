"""The source as an archive, ready-made: verified before anything of it is used, then unpacked with care."""

from __future__ import annotations

import calendar
import contextlib
import hashlib
import http.client
import lzma
import os
import stat
import tarfile
import time
import zipfile
import zlib
from collections.abc import Callable, Iterable, Iterator
from dataclasses import replace
from pathlib import Path, PurePosixPath
from urllib.error import HTTPError, URLError

from ansible.module_utils.urls import ConnectionError as AnsibleConnectionError
from ansible.module_utils.urls import SSLValidationError, open_url

from release_inputs import InputError
from release_inputs.once import forget, locked
from release_inputs.tree import Item, safe_name, write
from release_inputs.words import clean_url, is_url, masked

# Seconds without a byte, and in all: nothing hangs for ever.
STALL, PATIENCE = 30, 900
BLOCK = 1 << 20
# Archives that stay in the cache, the ones that were used last.
KEEP = 10
BROKEN = (tarfile.TarError, zipfile.BadZipFile, zlib.error, lzma.LZMAError, EOFError, NotImplementedError, RuntimeError)


def fetch(place: str, sha256: str, project: Path, cache: Path) -> Path:
    """The archive's file, which has that hash.

    A downloaded one is kept under its hash, so the next run needs no network; what is cached is verified as well.

    :param place: a URL, or a path that may be relative to the project
    :raises InputError: if it cannot be had, or is another one
    """
    wanted = sha256.lower()
    if not is_url(place):
        path = Path(os.path.normpath(project / Path(place).expanduser()))
        if not path.is_file():
            raise InputError(f"source.archive: there is no file {path} on the controller")
        _verify(path, wanted, f"{path}")
        return path
    kept = cache / "archives" / wanted
    with locked(kept.with_name(f"{wanted}.lock")):
        if kept.is_file() and digest(kept) == wanted:
            os.utime(kept)
            return kept
        temporary = kept.with_name(f"{wanted}.new")
        _download(place, temporary)
        try:
            _verify(temporary, wanted, clean_url(place))
            temporary.replace(kept)
        finally:
            temporary.unlink(missing_ok=True)
    forget((path for path in kept.parent.iterdir() if not path.suffix), KEEP)
    return kept


def digest(path: Path) -> str:
    """SHA-256 of a file."""
    total = hashlib.sha256()
    with path.open("rb") as stream:
        while block := stream.read(BLOCK):
            total.update(block)
    return total.hexdigest()


def _verify(path: Path, wanted: str, words: str) -> None:
    found = digest(path)
    if found != wanted:
        raise InputError(
            f"source.sha256: {words} is not the archive that the page names: its hash is {found}. If that one is "
            "meant, say so on the page; if not, find out who changed it. Nothing of it was used."
        )


def _download(url: str, target: Path) -> None:
    words = clean_url(url)
    deadline = time.monotonic() + PATIENCE
    try:
        with contextlib.closing(open_url(url, timeout=STALL, http_agent="sites")) as answer, target.open("wb") as out:
            # What has come, and not a whole block: the deadline holds for what drips in as well.
            while block := answer.read1(BLOCK):
                out.write(block)
                if time.monotonic() > deadline:
                    raise InputError(f"source.archive: {words} did not come within {PATIENCE // 60} minutes")
    except HTTPError as error:
        login = " Put its login into the URL, in a vault file." if error.code in (401, 403) else ""
        raise InputError(f"source.archive: {words} answers {error.code} ({error.reason}).{login}") from None
    except (SSLValidationError, AnsibleConnectionError) as error:
        raise InputError(f"source.archive: {words} is not trusted: {masked(str(error), url)}") from None
    except (URLError, OSError, http.client.HTTPException, ValueError) as error:
        said = masked(str(getattr(error, "reason", error)), url)
        raise InputError(f"source.archive: {words} cannot be fetched: {said}. Is it reachable from here?") from None


def unpack(archive: Path, folder: Path, subfolder: str) -> None:
    """Unpack into an empty folder; a single folder that holds everything is left out, then ``subfolder`` is taken.

    :raises InputError: if it is no archive, or holds what no source may hold
    """
    with archive.open("rb") as stream:
        head = stream.read(6)
    try:
        if head.startswith(b"PK\x03\x04"):
            with zipfile.ZipFile(archive) as opened:
                _write(lambda: _zipped(opened), folder, subfolder)
        elif head.startswith((b"\x1f\x8b", b"\xfd7zXZ")):
            with tarfile.open(archive, "r:*") as tar:
                _write(lambda: _tarred(tar), folder, subfolder)
        else:
            raise InputError("source.archive: is neither a .tar.gz, a .tar.xz nor a .zip; pack it as one of them")
    except BROKEN as error:
        # Not the error's own words: they may be those of whoever made the archive.
        raise InputError(f"source.archive: cannot be unpacked ({type(error).__name__}); pack it again") from None


def _write(items: Callable[[], Iterable[Item]], folder: Path, subfolder: str) -> None:
    names = [(safe_name(item.name), item.kind) for item in items()]
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
    """A zip's time. It knows no zone: as if it were UTC, so that it is the same everywhere."""
    try:
        return _moment(calendar.timegm((*date, 0, 0, 0)))
    except ValueError:  # a month 0, as writers without a clock put it
        return calendar.timegm((1980, 1, 1, 0, 0, 0))


def _tarred(tar: tarfile.TarFile) -> Iterator[Item]:
    for member in tar:
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


def _zipped(opened: zipfile.ZipFile) -> Iterator[Item]:
    for info in opened.infolist():
        mode = info.external_attr >> 16
        mtime = _dos_moment(info.date_time)
        if info.is_dir():
            yield Item(info.filename, "folder")
        elif stat.S_ISLNK(mode):
            yield Item(info.filename, "link", target=os.fsdecode(opened.read(info)))
        elif stat.S_IFMT(mode) in (0, stat.S_IFREG):
            with opened.open(info) as content:
                yield Item(info.filename, "file", mtime, bool(mode & 0o100), content=content)
        else:
            raise InputError(f"source: {info.filename!r} is neither a file, a folder nor a link; leave it out")
