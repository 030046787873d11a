"""Walks and removes folder trees of any depth, without recursion and without following links."""

from __future__ import annotations

import os
import stat
import subprocess
import tempfile
from collections.abc import Iterator
from pathlib import Path

RM = "/bin/rm"
# Maximum length of quoted output of `rm`, whose file names are untrusted.
WORDS = 300


def walk(top: Path | str) -> Iterator[tuple[str, list[str], list[str]]]:
    """Like ``os.walk``, but without its limit of a thousand nested folders."""
    todo = [os.fspath(top)]
    while todo:
        folder = todo.pop()
        directories, files = [], []
        try:
            with os.scandir(folder) as entries:
                for entry in entries:
                    (directories if entry.is_dir() else files).append(entry.name)
        except OSError:
            continue
        yield folder, directories, files
        paths = (os.path.join(folder, name) for name in reversed(directories))
        todo += [path for path in paths if not os.path.islink(path)]


def remove(path: Path) -> None:
    """Remove a path with its content; for a link, only the link.

    By ``rm``, which works with descriptors, so that paths may exceed the system's limit, and a folder replaced by
    a link meanwhile is not followed.

    :raises OSError: with the output of ``rm``
    """
    with tempfile.TemporaryFile() as said:
        done = subprocess.run(
            [RM, "-rf", "--", str(path)],
            cwd="/",
            env={"LC_ALL": "C"},
            stdin=subprocess.DEVNULL,
            stdout=subprocess.DEVNULL,
            stderr=said,
            check=False,
        )
        if done.returncode != 0:
            said.seek(0)
            words = (said.read(WORDS).decode("ascii", "replace").strip().splitlines() or ["no words"])[0]
            raise OSError(0, f"cannot be removed completely ({words})", str(path))


def own(path: Path, uid: int | None, gid: int | None, mode: int) -> None:
    """Set owner and mode of a folder or file, not following links; None keeps the owner.

    :raises OSError: if it is a link or anything else
    """
    flags = os.O_RDONLY | os.O_NOFOLLOW | os.O_NONBLOCK | os.O_CLOEXEC
    descriptor = os.open(path, flags)
    try:
        info = os.fstat(descriptor)
        if not (stat.S_ISDIR(info.st_mode) or stat.S_ISREG(info.st_mode)):
            raise OSError(0, "is neither a folder nor a file", str(path))
        os.fchown(descriptor, -1 if uid is None else uid, -1 if gid is None else gid)
        os.fchmod(descriptor, mode)  # after chown, which clears setgid
    finally:
        os.close(descriptor)


def close(path: Path, uid: int, mode: int) -> bool:
    """Give a folder of this owner to root only; returns whether there was one."""
    try:
        descriptor = os.open(path, os.O_RDONLY | os.O_DIRECTORY | os.O_NOFOLLOW | os.O_CLOEXEC)
    except OSError:
        return False
    try:
        if os.fstat(descriptor).st_uid != uid:
            return False
        os.fchown(descriptor, 0, 0)
        os.fchmod(descriptor, mode)
        return True
    finally:
        os.close(descriptor)


def make_folder(path: Path, mode: int = 0o755) -> None:
    """Create a folder, and missing parents with mode 0755, whatever the caller's umask is."""
    for folder in (*reversed(path.parents), path):
        try:
            folder.mkdir(mode=0o700)
        except FileExistsError:
            continue
        folder.chmod(mode if folder == path else 0o755)
