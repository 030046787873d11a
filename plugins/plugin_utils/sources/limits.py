"""How much a source may be: so much that no app comes near it, so little that no source fills the controller."""

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
# Folders in folders, the letters of a path, and those of a link's target.
DEEP, LONG, TARGET = 64, 1024, 4096
BLOCK = 1 << 20


class Bounds:
    """What one source has used up so far, its submodules included."""

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
        """Refuse what there is no more room for."""
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
        """Copy, and count what really comes, whatever was said before."""
        while block := stream.read(BLOCK):
            self.add(len(block))
            target.write(block)


def check_name(name: str, parts: tuple[str, ...]) -> None:
    """Refuse a path that a host may not be able to hold."""
    if len(parts) > DEEP or len(name) > LONG or any(len(part.encode(errors="replace")) > 255 for part in parts):
        shown = name if len(name) <= 100 else f"{name[:100]}…"
        raise InputError(
            f"source: {shown!r} is longer than {LONG} letters, or more than {DEEP} folders deep; shorten it"
        )


def open_folder(top: Path, name: str) -> int:
    """Open a folder below a folder; its descriptor. No link is followed on the way, whatever stood there a moment ago.

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
    """Open a file below a folder for reading; its descriptor.

    Someone else may be able to write to the folder. So no link is followed, and nothing else than a file is opened:
    a FIFO would make us wait for ever.

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
    """The error for what was listed as a file, a folder or a link, and cannot be read as one."""
    # ELOOP: it is a link by now; EINVAL: no link any more; ENXIO: a socket.
    if error.errno in (errno.ENOENT, errno.ENOTDIR, errno.ELOOP, errno.EINVAL, errno.ENXIO):
        return _changed(name)
    return InputError(f"source: {name} cannot be read ({error.strerror}); correct its permissions, or move it away")
