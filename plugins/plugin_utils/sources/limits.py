"""Limits of a source: far above the needs of any app, and low enough to protect the controller's disk."""

from __future__ import annotations

import errno
import os
import stat
from pathlib import Path, PurePosixPath
from typing import BinaryIO

from ansible_collections.wsgi.sites.plugins.plugin_utils.sources import InputError

# Files, folders and links, and the bytes of all files.
FILES, BYTES = 200_000, 4 << 30
SUBMODULES = 200
# Maximum depth of folders, length of a path, and length of a link's target.
DEEP, LONG, TARGET = 64, 1024, 4096
BLOCK = 1 << 20


class Bounds:
    """The usage of one source so far, including its submodules."""

    def __init__(self) -> None:
        self.files = self.bytes = self.submodules = 0

    def count(self, files: int = 1) -> None:
        """Add files, folders or links."""
        self.files += files
        if self.files > FILES:
            raise InputError(
                f"source: holds more than {FILES} files and folders; leave out what the app does not need, or name the "
                "app's own folder"
            )

    def add(self, size: int) -> None:
        """Add bytes."""
        self.room(size)
        self.bytes += size

    def room(self, size: int) -> None:
        """Refuse bytes beyond the limit."""
        if self.bytes + size > BYTES:
            raise InputError(
                f"source: its files are more than {BYTES >> 20} MB; leave out what the app does not need, and keep "
                "data in shared/"
            )

    def submodule(self) -> None:
        """Add a submodule."""
        self.submodules += 1
        if self.submodules > SUBMODULES:
            raise InputError(
                f"source.git: has more than {SUBMODULES} submodules; put those of them together that can be"
            )

    def copy(self, stream: BinaryIO, target: BinaryIO) -> None:
        """Copy and count the actual bytes, whatever size was declared."""
        while block := stream.read(BLOCK):
            self.add(len(block))
            target.write(block)


def check_name(name: str, parts: tuple[str, ...]) -> None:
    """Refuse a path that is too long or too deep for some hosts."""
    if len(parts) > DEEP or len(name) > LONG or any(len(part.encode(errors="replace")) > 255 for part in parts):
        shown = name if len(name) <= 100 else f"{name[:100]}…"
        raise InputError(
            f"source: {shown!r} is longer than {LONG} letters, or more than {DEEP} folders deep; shorten it"
        )


def open_folder(top: Path, name: str) -> int:
    """Open a folder below a folder without following links; returns its descriptor.

    :param name: its path, or nothing for ``top`` itself, which may be a link
    :raises InputError: if there is no such folder any more
    """
    folder = os.open(top, os.O_RDONLY | os.O_DIRECTORY | os.O_CLOEXEC)
    for part in _parts(name):
        try:
            inner = os.open(part, os.O_RDONLY | os.O_DIRECTORY | os.O_NOFOLLOW | os.O_CLOEXEC, dir_fd=folder)
        except OSError as error:
            raise unreadable(name, error) from None
        finally:
            os.close(folder)
        folder = inner
    return folder


def open_below(top: Path, name: str) -> int:
    """Open a file below a folder for reading; returns its descriptor.

    Others may be able to write to the folder, so links are not followed, and only regular files are opened: a FIFO
    would block for ever.

    :raises InputError: if there is no such file any more
    """
    *above, last = _parts(name) or ("",)
    folder = open_folder(top, "/".join(above))
    try:
        file = os.open(last, os.O_RDONLY | os.O_NOFOLLOW | os.O_NONBLOCK | os.O_NOCTTY | os.O_CLOEXEC, dir_fd=folder)
    except OSError as error:
        raise unreadable(name, error) from None
    finally:
        os.close(folder)
    if not stat.S_ISREG(os.fstat(file).st_mode):
        os.close(file)
        raise _changed(name)
    return file


def _parts(name: str) -> tuple[str, ...]:
    path = PurePosixPath(name)
    if path.is_absolute() or ".." in path.parts:
        raise InputError(f"source: {name!r} leads out of the source; nothing of it was used")
    return path.parts


def _changed(name: str) -> InputError:
    return InputError(f"source: {name} changed while it was packed; run again")


def unreadable(name: str, error: OSError) -> InputError:
    """The error for an entry that cannot be read as the type that it was listed with."""
    # ELOOP: it is a link by now; EINVAL: no link any more; ENXIO: a socket.
    if error.errno in (errno.ENOENT, errno.ENOTDIR, errno.ELOOP, errno.EINVAL, errno.ENXIO):
        return _changed(name)
    return InputError(f"source: {name} cannot be read ({error.strerror}); correct its permissions, or move it away")
