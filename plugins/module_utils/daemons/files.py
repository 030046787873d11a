"""Atomic replacement of files and links, with rollback."""

from __future__ import annotations

import grp
import os
from collections.abc import Iterable, Iterator, Mapping
from contextlib import contextmanager
from dataclasses import dataclass, field
from pathlib import Path

from ansible_collections.wsgi.sites.plugins.module_utils.daemons.errors import Refused
from ansible_collections.wsgi.sites.plugins.module_utils.daemons.ownership import is_ours, is_stock

MODE = 0o644


@dataclass
class Change:
    """The present and the wanted state of one path: text, a link's target, or absent."""

    path: Path
    content: str | None = None
    target: str | None = None
    mode: int = MODE
    group: str | None = None
    secret: bool = False
    before: bytes | None = field(init=False, default=None)
    before_target: str | None = field(init=False, default=None)
    before_mode: int = field(init=False, default=MODE)
    before_group: int | None = field(init=False, default=None)
    right_owner: bool = field(init=False, default=True)

    def __post_init__(self) -> None:
        if self.path.is_symlink():
            self.before_target = os.readlink(self.path)
        elif self.path.is_file():
            self.before = self.path.read_bytes()
            status = self.path.stat()
            self.before_mode = status.st_mode & 0o7777
            self.before_group = status.st_gid
            self.right_owner = (status.st_uid, self.before_mode) == (os.geteuid(), self.mode)
            self.right_owner &= self.gid in (None, status.st_gid)
        elif self.path.exists():
            raise Refused(f"{self.path} is neither a file nor a link. Move it away, then run this again.")

    @property
    def after(self) -> bytes | None:
        return None if self.content is None else self.content.encode()

    @property
    def gid(self) -> int | None:
        return None if self.group is None else grp.getgrnam(self.group).gr_gid

    @property
    def needed(self) -> bool:
        differs = (self.before, self.before_target) != (self.after, self.target)
        return differs or (self.after is not None and not self.right_owner)

    def apply(self) -> None:
        place(self.path, self.after, self.target, self.mode, self.gid)

    def undo(self) -> None:
        place(self.path, self.before, self.before_target, self.before_mode, self.before_group)

    def diff(self) -> dict[str, str]:
        def words(content: bytes | None, target: str | None) -> str:
            if self.secret:
                return "" if content is None else "(hidden)\n"
            return f"link to {target}\n" if target is not None else (content or b"").decode(errors="replace")

        return {
            "before_header": str(self.path),
            "after_header": str(self.path),
            "before": words(self.before, self.before_target),
            "after": words(self.after, self.target),
        }


def place(path: Path, content: bytes | None, target: str | None, mode: int, gid: int | None = None) -> None:
    """Atomically make ``path`` a file or a link, or remove it."""
    if content is None and target is None:
        path.unlink(missing_ok=True)
        return
    path.parent.mkdir(mode=0o755, parents=True, exist_ok=True)
    # Neither `*` nor `*.conf`, with which daemons include folders, sees a name that begins with a dot.
    temporary = path.with_name(f".{path.name}.new")
    temporary.unlink(missing_ok=True)
    if target is not None:
        temporary.symlink_to(target)
    else:
        descriptor = os.open(temporary, os.O_WRONLY | os.O_CREAT | os.O_EXCL | os.O_NOFOLLOW, 0o600)
        with open(descriptor, "wb") as stream:
            stream.write(content or b"")
            if gid is not None:
                os.fchown(stream.fileno(), -1, gid)
            os.fchmod(stream.fileno(), mode)
            stream.flush()
            os.fsync(stream.fileno())
    os.replace(temporary, path)


@contextmanager
def placed(changes: Iterable[Change]) -> Iterator[None]:
    """Apply all changes; undo them if that or the body of the ``with`` fails."""
    done: list[Change] = []
    try:
        for change in changes:
            done.append(change)
            change.apply()
        yield
    except BaseException:
        for change in reversed(done):
            change.undo()
        raise


def refuse_foreign(change: Change, conffiles: Mapping[str, str], folder: Path) -> None:
    """Refuse to change a file or link that does not belong to the collection, with the remedy.

    :param conffiles: the distribution's configuration files
    :param folder: the daemon's folder of additional files
    :raises Refused: if it belongs to someone else
    """
    if change.before is not None:
        stock = is_stock(str(change.path), change.before, conffiles)
        if change.target is None and (is_ours(change.before) or stock):
            return
        what = "was not made from one of our templates, or the distribution's file was edited by hand"
    elif change.before_target is not None:
        link = Path(os.path.normpath(change.path.parent / change.before_target))
        # For removal or a new target: a dangling link is free, and one to a file of the collection is the collection's.
        if change.content is None and (not link.exists() or (change.target is None and is_ours(link.read_bytes()))):
            return
        if change.target is not None and link == Path(os.path.normpath(change.path.parent / change.target)):
            return
        what = f"leads to {change.before_target}, which is not ours"
    else:
        return
    raise Refused(
        f"{change.path} {what}. Nothing was changed. Move what you need of it to templates/ (or to a file of another"
        f" name in {folder}/), then: mv {change.path} /root/ ; and run this again."
    )
