"""The source as an archive, ready-made: verified before anything of it is used, then unpacked with care."""

from __future__ import annotations

import calendar
import contextlib
import gzip
import hashlib
import http.client
import io
import lzma
import os
import stat
import struct
import tarfile
import tempfile
import time
import zipfile
import zlib
from collections.abc import Callable, Iterable, Iterator
from dataclasses import replace
from pathlib import Path, PurePosixPath
from typing import Any, BinaryIO
from urllib.error import HTTPError, URLError
from urllib.parse import urljoin, urlsplit

from ansible.module_utils.urls import ConnectionError as AnsibleConnectionError
from ansible.module_utils.urls import SSLValidationError, open_url

from ansible_collections.wsgi.sites.plugins.plugin_utils.sources import InputError, limits
from ansible_collections.wsgi.sites.plugins.plugin_utils.sources.cache import forget, locked, private
from ansible_collections.wsgi.sites.plugins.plugin_utils.sources.limits import Bounds
from ansible_collections.wsgi.sites.plugins.plugin_utils.sources.tree import Item, safe_name, write
from ansible_collections.wsgi.sites.plugins.plugin_utils.sources.urls import clean_url, is_url, masked

# Seconds without a byte, and in all: nothing hangs for ever.
STALL, PATIENCE = 30, 900
BLOCK = 1 << 20
# Archives that stay in the cache, the ones that were used last.
KEEP = 10
# Bytes of an archive, and how many times more may come out of it, beyond what any may be.
PACKED, RATIO, ANYWAY = 2 << 30, 200, 512 << 20
# What an archive may have us hold in memory at once: a name, a zip's list of files, what xz looks back at.
AT_ONCE, XZ_MEMORY = 64 << 20, 256 << 20
HEADERS = 100
REDIRECTS = 10
BROKEN = (
    tarfile.TarError, zipfile.BadZipFile, zlib.error, lzma.LZMAError, EOFError, NotImplementedError, RuntimeError,
    ValueError, struct.error, LookupError, ArithmeticError, gzip.BadGzipFile,
)  # fmt: skip
MOVED = (301, 302, 303, 307, 308)


def fetch(place: str, sha256: str, project: Path, cache: Path) -> BinaryIO:
    """The archive, which has that hash, opened: nobody can exchange it any more.

    A downloaded one is kept under its hash, so the next run needs no network; what is cached is verified as well.

    :param place: a URL, or a path that may be relative to the project
    :raises InputError: if it cannot be had, or is another one
    """
    wanted = sha256.lower()
    if not is_url(place):
        path = Path(os.path.normpath(project / Path(place).expanduser()))
        if not path.is_file():
            raise InputError(f"source.archive: there is no file {path} on the controller")
        private(cache / "archives")
        copy = tempfile.TemporaryFile(dir=cache / "archives")  # noqa: SIM115 - the caller closes it
        try:
            with path.open("rb") as original:
                _copy(original.read, copy, None)
            _verify(copy, wanted, f"{path}")
        except BaseException:
            copy.close()
            raise
        return copy
    kept = cache / "archives" / wanted
    with locked(kept.with_name(f"{wanted}.lock")):
        if kept.is_file() and digest(kept) == wanted:
            os.utime(kept)
            return kept.open("rb")
        temporary = kept.with_name(f"{wanted}.new")
        temporary.unlink(missing_ok=True)
        try:
            with temporary.open("xb+") as target:
                _download(place, target)
                _verify(target, wanted, clean_url(place))
            temporary.replace(kept)
        finally:
            temporary.unlink(missing_ok=True)
        opened = kept.open("rb")
    forget((path for path in kept.parent.iterdir() if not path.suffix), KEEP)
    return opened


def digest(path: Path) -> str:
    """SHA-256 of a file."""
    with path.open("rb") as stream:
        return _digest(stream)


def _digest(stream: BinaryIO) -> str:
    total = hashlib.sha256()
    stream.seek(0)
    while block := stream.read(BLOCK):
        total.update(block)
    stream.seek(0)
    return total.hexdigest()


def _verify(stream: BinaryIO, wanted: str, words: str) -> None:
    stream.flush()
    found = _digest(stream)
    if found != wanted:
        raise InputError(
            f"source.sha256: {words} is not the archive that the page names: its hash is {found}. If that one is "
            "meant, say so on the page; if not, find out who changed it. Nothing of it was used."
        )


def _copy(read: Callable[[int], bytes], target: BinaryIO, late: Callable[[], None] | None) -> None:
    size = 0
    while block := read(BLOCK):
        size += len(block)
        if size > PACKED:
            raise InputError(
                f"source.archive: is larger than {PACKED >> 20} MB; leave out what the app does not need, and keep "
                "data in shared/"
            )
        target.write(block)
        if late:
            late()


def _download(url: str, target: BinaryIO) -> None:
    words = clean_url(url)
    deadline = time.monotonic() + PATIENCE

    def late() -> None:
        if time.monotonic() > deadline:
            raise InputError(f"source.archive: {words} did not come within {PATIENCE // 60} minutes")

    try:
        with contextlib.closing(_open(url, late)) as answer:
            # What has come, and not a whole block: the deadline holds for what drips in as well.
            _copy(answer.read1, target, late)
    except HTTPError as error:
        login = " Put its login into the URL, in a vault file." if error.code in (401, 403) else ""
        raise InputError(f"source.archive: {words} answers {error.code} ({error.reason}).{login}") from None
    except (SSLValidationError, AnsibleConnectionError) as error:
        raise InputError(f"source.archive: {words} is not trusted: {masked(str(error), url)}") from None
    except (URLError, OSError, http.client.HTTPException, ValueError) as error:
        said = masked(str(getattr(error, "reason", error)), url)
        raise InputError(f"source.archive: {words} cannot be fetched: {said}. Is it reachable from here?") from None


def _open(url: str, late: Callable[[], None]) -> Any:
    """Ask for a URL, and follow where it leads: never from https to http, and with the login to its own server only."""
    first, place = urlsplit(url), url
    for _ in range(REDIRECTS):
        late()
        own = urlsplit(place).netloc == first.netloc
        try:
            return open_url(place, timeout=STALL, http_agent="sites", follow_redirects="none", use_netrc=own)
        except HTTPError as error:
            to = error.headers.get("Location") if error.code in MOVED else None
            if not to:
                raise
            error.close()
        there = urlsplit(urljoin(clean_url(place), to))
        if there.scheme != "https" and (first.scheme == "https" or there.scheme != "http"):
            raise URLError("it leads to a URL without https")
        netloc = there.netloc.rpartition("@")[2]
        # The same scheme by now, or https after http.
        if netloc == first.netloc.rpartition("@")[2]:
            netloc = first.netloc
        place = there._replace(netloc=netloc, fragment="").geturl()
    raise URLError(f"it leads on and on, more than {REDIRECTS} times")


def unpack(opened: BinaryIO, folder: Path, subfolder: str) -> None:
    """Unpack into an empty folder; a single folder that holds everything is left out, then ``subfolder`` is taken.

    :raises InputError: if it is no archive, or holds what no source may hold
    """
    head = opened.read(6)
    size = opened.seek(0, io.SEEK_END)
    limit = min(limits.BYTES, max(ANYWAY, RATIO * size))
    try:
        if head.startswith(b"PK\x03\x04"):
            with zipfile.ZipFile(_Careful(opened)) as zipped:  # type: ignore[arg-type] # it has all that is asked for
                _write(lambda: _zipped(zipped, limit), folder, subfolder)
        elif head.startswith((b"\x1f\x8b", b"\xfd7zXZ")):
            _write(lambda: _tarred(opened, head.startswith(b"\x1f"), limit), folder, subfolder)
        else:
            raise InputError("source.archive: is neither a .tar.gz, a .tar.xz nor a .zip; pack it as one of them")
    except BROKEN as error:
        # Not the error's own words: they may be those of whoever made the archive.
        raise InputError(f"source.archive: cannot be unpacked ({type(error).__name__}); pack it again") from None


def _too_much(limit: int) -> InputError:
    return InputError(
        f"source.archive: unpacks to more than {limit >> 20} MB, which is more than {RATIO} times its size or more "
        "than any source may be; leave out what the app does not need"
    )


class _Careful(io.RawIOBase):
    """An archive's bytes; nobody holds many of them at once because the archive says so."""

    def __init__(self, stream: BinaryIO) -> None:
        self.stream = stream

    def readable(self) -> bool:
        return True

    def seekable(self) -> bool:
        return True

    def read(self, size: int = -1) -> bytes:
        data = self.stream.read(AT_ONCE + 1 if size < 0 else min(size, AT_ONCE + 1))
        if len(data) > AT_ONCE:
            raise InputError("source.archive: has a list or a name of many megabytes; pack it again")
        return data

    def seek(self, offset: int, whence: int = io.SEEK_SET) -> int:
        return self.stream.seek(offset, whence)

    def tell(self) -> int:
        return self.stream.tell()


class _Unpacked(io.RawIOBase):
    """What is packed in a stream, from its beginning to its end, and not more than a limit."""

    def __init__(self, opened: BinaryIO, gzipped: bool, limit: int) -> None:
        opened.seek(0)
        self.packed, self.gzipped, self.limit, self.position = opened, gzipped, limit, 0
        self.current, self.waiting = self._next(), b""

    def _next(self) -> Any:
        return zlib.decompressobj(31) if self.gzipped else lzma.LZMADecompressor(memlimit=XZ_MEMORY)

    def readable(self) -> bool:
        return True

    def tell(self) -> int:
        return self.position

    def seek(self, offset: int, whence: int = io.SEEK_SET) -> int:
        """Forward only, which is all that a tarball's reader needs."""
        if whence != io.SEEK_SET or offset < self.position:
            raise io.UnsupportedOperation("backward")
        if offset > self.limit:
            raise _too_much(self.limit)
        while self.position < offset and self.read(min(BLOCK, offset - self.position)):
            pass
        return self.position

    def read(self, size: int = -1) -> bytes:
        if size < 0 or size > AT_ONCE:
            raise InputError("source.archive: has a name of many megabytes; pack it again")
        parts = []
        while size and (data := self._some(size)):
            parts.append(data)
            size -= len(data)
            self.position += len(data)
            if self.position > self.limit:
                raise _too_much(self.limit)
        return b"".join(parts)

    def _some(self, size: int) -> bytes:
        """At least one byte, unless it is at the end."""
        while True:
            if self.current.eof:
                self.waiting = (self.current.unused_data or self.packed.read(BLOCK)).lstrip(b"\0")
                if not self.waiting:
                    return b""
                self.current = self._next()
            packed = self.waiting or (b"" if self._holds_more() else self.packed.read(65536))
            data = self._decompress(packed, size)
            self.waiting = self.current.unconsumed_tail if self.gzipped else b""
            if data:
                return data
            if not packed and not self.current.eof:
                raise EOFError

    def _decompress(self, packed: bytes, size: int) -> bytes:
        try:
            return self.current.decompress(packed, size)
        except lzma.LZMAError as error:
            if "emory" not in str(error):
                raise
            raise InputError(
                f"source.archive: xz wants more than {XZ_MEMORY >> 20} MB of memory to unpack it; pack it with a "
                "smaller dictionary (xz -9 has 64 MB), or as .tar.gz"
            ) from None

    def _holds_more(self) -> bool:
        return not self.gzipped and not self.current.needs_input


def _write(items: Callable[[], Iterable[Item]], folder: Path, subfolder: str) -> None:
    used, names = Bounds(), []
    for item in items():
        # Before anything is written: the whole of what it says it holds.
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
    """A zip's time. It knows no zone: as if it were UTC, so that it is the same everywhere."""
    try:
        return _moment(calendar.timegm((*date, 0, 0, 0)))
    except ValueError:  # a month 0, as writers without a clock put it
        return calendar.timegm((1980, 1, 1, 0, 0, 0))


def _tarred(opened: BinaryIO, gzipped: bool, limit: int) -> Iterator[Item]:
    stream: Any = _Unpacked(opened, gzipped, limit)
    total = 0
    with tarfile.open(fileobj=stream, mode="r:") as tar:
        while (member := tar.next()) is not None:
            # They would stay in memory, all of them.
            tar.members.clear()
            total += member.size
            if len(tar.pax_headers) > HEADERS or total > limit or member.size < 0:
                raise _too_much(limit)
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
            raise _too_much(limit)
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
