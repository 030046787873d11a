"""The unprivileged account that pip and uv run as, and how root takes over the files that they created.

Both download and unpack files, so this account owns nothing else on the host.
"""

from __future__ import annotations

import contextlib
import ctypes
import os
import pwd
import resource
import shutil
import signal
import stat
import subprocess
import tempfile
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import IO

ACCOUNT = "sites-uv"
PR_SET_NO_NEW_PRIVS, PR_SET_CHILD_SUBREAPER = 38, 36
FOLDER = os.O_RDONLY | os.O_DIRECTORY | os.O_NOFOLLOW | os.O_CLOEXEC
# Bytes of output that are kept: more than any lock has, and for errors.
MOST_OUTPUT, MOST_ERRORS = 16 * 1024 * 1024, 64 * 1024


class BuilderError(Exception):
    """The files of a build cannot be taken over; the text has the reason."""


@dataclass(frozen=True)
class Account:
    """The user that a build runs as."""

    name: str
    uid: int
    gid: int


def account(name: str = ACCOUNT) -> Account:
    """The account, created if it is missing: no login, no home, only its own group."""
    try:
        found = pwd.getpwnam(name)
    except KeyError:
        command = ["/usr/sbin/useradd", "--system", "--user-group", "--no-create-home", "--home-dir", "/nonexistent"]
        done = subprocess.run(
            [*command, "--shell", "/usr/sbin/nologin", name], capture_output=True, text=True, check=False, timeout=60
        )
        try:
            found = pwd.getpwnam(name)
        except KeyError:
            raise BuilderError(f"the account {name}, which runs uv, cannot be created: {done.stderr.strip()}") from None
    return Account(name, found.pw_uid, found.pw_gid)


def run(
    command: Sequence[str], *, cwd: Path, environment: Mapping[str, str], who: Account | None, timeout: float
) -> subprocess.CompletedProcess[str]:
    """Run a program with only the rights of an account; its background processes end with it.

    :param who: the account; without one, the current user
    :raises subprocess.TimeoutExpired: with the end of its stderr
    """
    libc = ctypes.CDLL(None, use_errno=True)

    def confine() -> None:
        resource.setrlimit(resource.RLIMIT_CORE, (0, 0))
        if libc.prctl(PR_SET_NO_NEW_PRIVS, 1, 0, 0, 0) != 0:
            raise OSError(ctypes.get_errno(), "prctl")

    drop = {"user": who.uid, "group": who.gid, "extra_groups": []} if who else {}
    with tempfile.TemporaryFile() as out, tempfile.TemporaryFile() as errors:
        libc.prctl(PR_SET_CHILD_SUBREAPER, int(who is not None), 0, 0, 0)
        process = subprocess.Popen(
            list(command), cwd=cwd, env=dict(environment), stdin=subprocess.DEVNULL, stdout=out, stderr=errors,
            start_new_session=True, umask=0o022, preexec_fn=confine, **drop,
        )  # fmt: skip
        try:
            process.wait(timeout)
        except subprocess.TimeoutExpired as error:
            error.stderr = _text(errors, MOST_ERRORS, last=True)
            raise
        finally:
            with contextlib.suppress(ProcessLookupError, PermissionError):
                os.killpg(process.pid, signal.SIGKILL)
            process.wait()
            if who:
                _end_children(who.uid)
            libc.prctl(PR_SET_CHILD_SUBREAPER, 0, 0, 0, 0)
        words = _text(out, MOST_OUTPUT), _text(errors, MOST_ERRORS, last=True)
        return subprocess.CompletedProcess(process.args, process.returncode, *words)


def _text(stream: IO[bytes], most: int, *, last: bool = False) -> str:
    size = stream.seek(0, os.SEEK_END)
    stream.seek(max(0, size - most) if last else 0)
    return stream.read(most).decode("utf-8", errors="replace")


def _end_children(uid: int) -> None:
    """End processes that left its session and were reparented to us, the child subreaper."""
    while left := [pid for pid in _children() if _owner(pid) == uid]:
        for pid in left:
            with contextlib.suppress(ProcessLookupError):
                os.kill(pid, signal.SIGKILL)
            with contextlib.suppress(ChildProcessError):
                os.waitpid(pid, 0)


def _children() -> list[int]:
    found: list[int] = []
    for task in Path("/proc/self/task").iterdir():
        with contextlib.suppress(OSError):
            found += map(int, (task / "children").read_text(encoding="ascii").split())
    return found


def _owner(pid: int) -> int | None:
    try:
        return Path("/proc", str(pid)).stat().st_uid
    except OSError:
        return None


def give(path: Path, who: Account | None, *, folders_only: bool = False) -> None:
    """Give the account a file, or a folder with its content, that only root could change until now.

    Works with descriptors, one folder at a time, so that neither depth nor path length matters. A folder is changed
    after its content: until then all folders above belong to root and cannot be replaced.

    :param folders_only: files in it stay root's
    """
    if who is None:
        return
    if not stat.S_ISDIR(path.lstat().st_mode):
        os.chown(path, who.uid, who.gid, follow_symlinks=False)
        return
    here = os.open(path, FOLDER)
    try:
        # For this folder and each above it: its identity, and its subfolders that remain.
        waiting = [_give_files(here, who, folders_only)]
        while True:
            if waiting[-1][1]:
                here = _go(here, waiting[-1][1].pop())
                waiting.append(_give_files(here, who, folders_only))
                continue
            waiting.pop()
            os.fchown(here, who.uid, who.gid)
            if not waiting:
                return
            here = _go(here, "..")
            if _which(here) != waiting[-1][0]:
                raise BuilderError(f"folders in {path} were moved during the run; run again")
    finally:
        os.close(here)


def _give_files(folder: int, who: Account, folders_only: bool) -> tuple[tuple[int, int], list[str]]:
    """Change everything but subfolders; returns the folder's identity and the names of its subfolders."""
    folders = []
    with os.scandir(folder) as entries:
        for entry in entries:
            if entry.is_dir(follow_symlinks=False):
                folders.append(entry.name)
            elif not folders_only:
                os.chown(entry.name, who.uid, who.gid, dir_fd=folder, follow_symlinks=False)
    return _which(folder), folders


def _which(folder: int) -> tuple[int, int]:
    status = os.fstat(folder)
    return status.st_dev, status.st_ino


def _go(folder: int, name: str) -> int:
    """Open a folder relative to this descriptor without following links, and close this one."""
    there = os.open(name, FOLDER, dir_fd=folder)
    os.close(folder)
    return there


@contextlib.contextmanager
def passable(folder: Path) -> Iterator[None]:
    """Allow the account to pass through a folder without listing it."""
    mode = stat.S_IMODE(folder.stat().st_mode)
    folder.chmod(mode | 0o001)
    try:
        yield
    finally:
        folder.chmod(mode)


def private_cache(cache: Path, who: Account | None) -> None:
    """Make uv's cache folder private to the account, also if it was root's and readable by all.

    Package files stay root's: releases share them by hard links.
    """
    cache.mkdir(mode=0o700, parents=True, exist_ok=True)
    status = cache.lstat()
    if not stat.S_ISDIR(status.st_mode):
        raise BuilderError(f"{cache} is not a folder; remove it, then run again")
    if stat.S_IMODE(status.st_mode) & 0o077:
        cache.chmod(0o700)
        # Others that opened the lock file can still hold it, so it is replaced by a new file.
        (cache / ".lock").unlink(missing_ok=True)
    if who is None or status.st_uid == who.uid:
        return
    for path in cache.iterdir():
        give(path, who, folders_only=path.name.startswith("archive-v"))
    # Last, so that an interrupted run is repeated by the next one.
    os.chown(cache, who.uid, who.gid)


def take_over(tree: Path, who: Account, cache: Path, python: Path) -> None:
    """Transfer a venv that the account has built, with links into uv's cache, to root.

    From the top down, a folder before its content: from then on only root can change it. A link into the cache becomes
    a hard link to the file (or a copy, on another filesystem). Wheels contain no links, so any other link was made by
    the account and is refused.

    :raises BuilderError: for anything that a venv cannot contain
    """
    waiting = [tree]
    while waiting:
        folder = waiting.pop()
        os.chown(folder, 0, 0, follow_symlinks=False)
        folder.chmod(0o755)
        with os.scandir(folder) as entries:
            found = list(entries)
        for entry in found:
            mode = entry.stat(follow_symlinks=False).st_mode
            path = Path(entry.path)
            if stat.S_ISDIR(mode):
                waiting.append(path)
            elif stat.S_ISREG(mode):
                descriptor = os.open(path, os.O_RDONLY | os.O_NOFOLLOW | os.O_NONBLOCK)
                _own(descriptor, who, path)
                os.close(descriptor)
            elif stat.S_ISLNK(mode):
                _take_link(path, who, tree, cache, python)
            else:
                raise BuilderError(f"{path} is neither a file, a folder nor a link")


def _own(descriptor: int, who: Account, path: Path) -> None:
    """Give an open file to root, readable by all, without setuid and setgid bits."""
    status = os.fstat(descriptor)
    if not stat.S_ISREG(status.st_mode) or status.st_uid not in (0, who.uid):
        raise BuilderError(f"{path} is not a file of the build")
    if status.st_uid == 0:
        # Taken over for an earlier release; other files of root's are refused if not readable by all.
        if not status.st_mode & stat.S_IROTH:
            raise BuilderError(f"{path} is not a file of the build")
        return
    os.fchown(descriptor, 0, 0)
    os.fchmod(descriptor, 0o755 if status.st_mode & 0o100 else 0o644)


def _take_link(link: Path, who: Account, tree: Path, cache: Path, python: Path) -> None:
    target = os.readlink(link)
    packages = f"{os.path.realpath(cache)}{os.sep}archive-v"
    if not os.path.realpath(target).startswith(packages):
        end = os.path.realpath(link)
        if end == os.path.realpath(python) or Path(end).is_relative_to(os.path.realpath(tree)):
            os.chown(link, 0, 0, follow_symlinks=False)
            return
        raise BuilderError(f"the link {link} leads out of the venv")
    descriptor = os.open(target, os.O_RDONLY | os.O_NOFOLLOW | os.O_NONBLOCK)
    try:
        here = f"/proc/self/fd/{descriptor}"
        # The real place of the open file, whatever links the account has put on the path.
        if not os.readlink(here).startswith(packages):
            raise BuilderError(f"the link {link} leads out of uv's cache")
        _own(descriptor, who, link)
        link.unlink()
        try:
            # Only with a dir_fd, which an absolute path ignores, does Python follow /proc's link to the open file.
            os.link(here, link, src_dir_fd=descriptor, follow_symlinks=True)
        except OSError:
            _copy(descriptor, link)
    finally:
        os.close(descriptor)


def take_out(file: Path, who: Account | None, path: Path) -> None:
    """Copy a program that the account has created to root's place for it.

    :raises BuilderError: if it is not a file
    """
    descriptor = os.open(file, os.O_RDONLY | os.O_NOFOLLOW | os.O_NONBLOCK)
    try:
        if who:
            _own(descriptor, who, file)
        path.unlink(missing_ok=True)
        _copy(descriptor, path)
    finally:
        os.close(descriptor)


def _copy(descriptor: int, path: Path) -> None:
    status = os.fstat(descriptor)
    copy = os.open(path, os.O_WRONLY | os.O_CREAT | os.O_EXCL | os.O_NOFOLLOW, 0o600)
    with open(copy, "wb") as target, open(descriptor, "rb", closefd=False) as source:
        shutil.copyfileobj(source, target)
        os.fchmod(target.fileno(), stat.S_IMODE(status.st_mode))
    os.utime(path, ns=(status.st_atime_ns, status.st_mtime_ns))


def holder(lock: Path) -> str:
    """The holder of a lock as text: ``PID 4711 (uv) of user shop``."""
    try:
        inode = lock.stat().st_ino
        lines = Path("/proc/locks").read_text(encoding="ascii").splitlines()
    except OSError:
        return "a process that is gone"
    for words in map(str.split, lines):
        if "->" in words or len(words) < 6 or words[5].rpartition(":")[2] != str(inode):
            continue
        process = Path("/proc", words[4])
        with contextlib.suppress(OSError, KeyError):
            user = pwd.getpwuid(process.stat().st_uid).pw_name
            name = (process / "comm").read_text(encoding="utf-8", errors="replace").strip()
            return f"PID {process.name} ({''.join(filter(str.isprintable, name))}) of user {user}"
    return "a process that is gone"
