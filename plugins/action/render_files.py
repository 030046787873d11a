"""Write the files of a host under ``build/HOST/`` on the controller."""

from __future__ import annotations

import errno
import os
import secrets
import stat
from collections.abc import Callable, Iterator
from contextlib import contextmanager, suppress
from pathlib import Path, PurePosixPath
from typing import Any

from ansible.errors import AnsibleActionFail
from ansible.plugins.action import ActionBase

from ansible_collections.wsgi.sites.plugins.plugin_utils.places import PROJECT

BUILD = PROJECT / "build"


class ActionModule(ActionBase):
    """``render_files: {files: {/etc/…: …}}``."""

    _requires_connection = False

    def run(self, tmp: str | None = None, task_vars: dict[str, Any] | None = None) -> dict[str, Any]:
        """Write what differs."""
        super().run(tmp, task_vars)
        _validated, arguments = self.validate_argument_spec(
            {"files": {"type": "dict", "required": True}, "links": {"type": "dict", "default": {}}}
        )
        host = task_vars["inventory_hostname"]
        changed = [path for path, content in arguments["files"].items() if write(host, path, str(content))]
        changed += [path for path, target in arguments["links"].items() if link(host, path, str(target))]
        return {"changed": bool(changed), "files": sorted(changed)}


def write(host: str, path: str, content: str) -> bool:
    """Write a file; returns whether it differed."""
    data = content.encode()

    def make(name: str, folder: int) -> None:
        # A rendered environment may contain secrets, if the operator requested them.
        handle = os.open(name, os.O_WRONLY | os.O_CREAT | os.O_EXCL | os.O_NOFOLLOW, 0o600, dir_fd=folder)
        with os.fdopen(handle, "wb") as file:
            file.write(data)

    with below(host, path) as (folder, name):
        if holds(folder, name, data):
            return False
        replace(folder, name, make, BUILD / host / path.lstrip("/"))
        return True


def link(host: str, path: str, target: str) -> bool:
    """Create a symbolic link; returns whether it differed."""

    def make(name: str, folder: int) -> None:
        os.symlink(target, name, dir_fd=folder)

    with below(host, path) as (folder, name):
        with suppress(OSError):
            if os.readlink(name, dir_fd=folder) == target:
                return False
        replace(folder, name, make, BUILD / host / path.lstrip("/"))
        return True


@contextmanager
def below(host: str, path: str) -> Iterator[tuple[int, str]]:
    """A descriptor of the parent folder of a host's path, and the last part of the path."""
    parts = PurePosixPath(path.lstrip("/")).parts
    if not parts or ".." in parts or host in ("", ".", "..") or "/" in host:
        raise AnsibleActionFail(f"{path} leads out of {BUILD / host}.")
    place = BUILD
    try:
        BUILD.mkdir(mode=0o755, exist_ok=True)
        folder = os.open(BUILD, os.O_RDONLY | os.O_DIRECTORY | os.O_CLOEXEC)
    except OSError as error:
        raise in_the_way(place, error) from None
    try:
        for part in (host, *parts[:-1]):
            place /= part
            inner = enter(folder, part, place)
            os.close(folder)
            folder = inner
        yield folder, parts[-1]
    finally:
        os.close(folder)


def enter(folder: int, name: str, place: Path) -> int:
    """Open a private folder, created if it is missing, without following links."""
    try:
        with suppress(FileExistsError):
            os.mkdir(name, 0o700, dir_fd=folder)
        inner = os.open(name, os.O_RDONLY | os.O_DIRECTORY | os.O_NOFOLLOW | os.O_CLOEXEC, dir_fd=folder)
    except OSError as error:
        raise in_the_way(place, error) from None
    status = os.fstat(inner)
    # The owner of the parent folder could have created anything here.
    if status.st_uid not in (os.geteuid(), os.fstat(folder).st_uid):
        os.close(inner)
        raise AnsibleActionFail(f"{place} belongs to another user; remove it, and run again.")
    if status.st_mode & 0o077:
        with suppress(PermissionError):
            os.fchmod(inner, 0o700)
    return inner


def holds(folder: int, name: str, data: bytes) -> bool:
    """Whether a file with this content exists that no other user can read."""
    try:
        handle = os.open(name, os.O_RDONLY | os.O_NOFOLLOW | os.O_NONBLOCK | os.O_CLOEXEC, dir_fd=folder)
    except OSError:
        return False
    try:
        status = os.fstat(handle)
        private = stat.S_ISREG(status.st_mode) and not status.st_mode & 0o077
        if not private or status.st_size != len(data):
            return False
        with os.fdopen(handle, "rb", closefd=False) as file:
            return file.read(len(data) + 1) == data
    finally:
        os.close(handle)


def replace(folder: int, name: str, make: Callable[[str, int], None], place: Path) -> None:
    """Create an entry under a temporary name, then atomically replace the present one."""
    new = f".{secrets.token_hex(8)}.new"
    try:
        make(new, folder)
        os.rename(new, name, src_dir_fd=folder, dst_dir_fd=folder)
    except BaseException as error:
        with suppress(FileNotFoundError):
            os.unlink(new, dir_fd=folder)
        if isinstance(error, OSError):
            raise in_the_way(place, error) from None
        raise


def in_the_way(place: Path, error: OSError) -> AnsibleActionFail:
    """The message for an entry of the wrong type, with the remedy."""
    if error.errno in (errno.EEXIST, errno.ENOTDIR, errno.ELOOP):
        return AnsibleActionFail(f"{place} is a file or a link and must be a folder; remove it, and run again.")
    if error.errno == errno.EISDIR:
        return AnsibleActionFail(f"{place} is a folder and must be a file; remove it, and run again.")
    return AnsibleActionFail(f"{place} cannot be written: {error.strerror}. Correct that, or remove it, and run again.")
