"""Removes a site from a host: processes, files and user. Shared files are archived, or purged."""

from __future__ import annotations

import json
import os
import pwd
import re
import stat
from collections.abc import Callable, Iterable, Iterator
from dataclasses import dataclass, field
from datetime import UTC, datetime
from pathlib import Path

from ansible_collections.wsgi.sites.plugins.module_utils.certificates.lineage import Lineage
from ansible_collections.wsgi.sites.plugins.module_utils.releases.deployment import StepError
from ansible_collections.wsgi.sites.plugins.module_utils.releases.slots import clear_slot, traces
from ansible_collections.wsgi.sites.plugins.module_utils.runtime import processes, site_groups
from ansible_collections.wsgi.sites.plugins.module_utils.runtime.supervisor import SupervisorError
from ansible_collections.wsgi.sites.plugins.module_utils.site import accounts, paths
from ansible_collections.wsgi.sites.plugins.module_utils.site.paths import SLOTS, Layout, write_file
from ansible_collections.wsgi.sites.plugins.module_utils.site.registry import PROXY_ONLY, recorded
from ansible_collections.wsgi.sites.plugins.module_utils.system import trees
from ansible_collections.wsgi.sites.plugins.module_utils.system.termination import StillRunningError, end_processes

# The collection's entries in folders that an operator can put on another disk and link to.
OF_ROOT = ("releases", "slots", "previous", "releases.log", "shared")
OF_SHARED = ("data", "media")
# Owner and mode of these in an archive.
CLOSED = (0, 0o700)

Run = Callable[[list[str]], tuple[int, str, str]]


def _exists(path: Path) -> bool:
    return path.is_symlink() or path.exists()


@dataclass
class Removal:
    """Removes a site from a host; shared files are archived, or deleted on request."""

    name: str
    run: Run
    purge: bool = False
    check_mode: bool = False
    changes: list[str] = field(default_factory=list)
    archive: str = ""
    left: list[str] = field(default_factory=list)

    @property
    def register(self) -> Path:
        """The list of this site's archives, which outlives the site's record."""
        return paths.REGISTRY / f"{self.name}.archives"

    def remove(self) -> list[str]:
        """Remove everything in the host's record; returns the changes (in check mode, the pending ones)."""
        record = recorded(self.name)
        if record.get(PROXY_ONLY):
            site = Layout(self.name, Path("/nonexistent"))
            self._delete([*site.named_paths, site.maintenance])
        elif record:
            site = Layout(self.name, Path(record["root"]))
            account = accounts.find_user(record.get("user", ""))
            self._stop_all(site, account)
            # Before anything is moved or deleted, since running processes could still write to it.
            self._end(account)
            uid = account.pw_uid if account else None
            if self.purge:
                self._shared(site.shared, uid)
            else:
                self._archive(site, uid)
            self._behind(site.root, [name for name in OF_ROOT if name != "shared" or self.purge], 0)
            self._delete([site.root, *site.named_paths, site.maintenance])
            self._user(record.get("user", ""))
            for path in (site.run_note, site.stopped, *(site.pid(slot) for slot in SLOTS)):
                if not self.check_mode:
                    path.unlink(missing_ok=True)
        if self.purge:
            self._purge_archives()
        # Last, so that an interrupted removal starts over.
        if record and self._note(f"forget the site in {paths.REGISTRY / f'{self.name}.json'}"):
            (paths.REGISTRY / f"{self.name}.json").unlink(missing_ok=True)
            site.lock.unlink(missing_ok=True)  # without the site it has no effect
        return self.changes

    def _note(self, words: str) -> bool:
        self.changes.append(words)
        return not self.check_mode

    def _delete(self, paths: list[Path]) -> None:
        lineage = Lineage(self.name)
        for path in (*(lineage.paths if lineage.ours else []), *paths):
            if _exists(path) and self._note(f"remove {path}"):
                delete(path)

    def _stop_all(self, site: Layout, account: pwd.struct_passwd | None) -> None:
        before = len(self.changes)
        try:
            self._stop(site)
        except SupervisorError:
            if self.check_mode:
                raise
            # A user can hide the end of its processes from supervisord (by ptrace): end all of them, and try again.
            self._end(account)
            del self.changes[before:]
            self._stop(site)

    def _stop(self, site: Layout) -> None:
        # First, so that nothing that is stopped here starts again.
        if site.live.is_symlink() and self._note(f"take {site.live} away"):
            site.live.unlink()
        for slot in SLOTS:
            if traces(site, slot) and self._note(f"stop {site.name}-{slot}"):
                clear_slot(site, slot)
        self.changes += processes.remove(site, self.check_mode)

    def _end(self, account: pwd.struct_passwd | None) -> None:
        if self.check_mode:
            return
        site_groups.end(self.name)
        if account is not None and account.pw_uid != 0:
            try:
                end_processes(account.pw_uid)
            except StillRunningError as error:
                raise StepError(f"{self.name}: {error}") from error

    def _shared(self, shared: Path, uid: int | None) -> None:
        # Deleted later, together with ROOT, but reported here.
        if _exists(shared):
            self._note(f"delete {shared}")
        self._behind(shared, OF_SHARED, uid)

    def _behind(self, link: Path, names: Iterable[str], uid: int | None, mode: int | None = None) -> None:
        """Delete the collection's entries behind an operator's link, since `delete` removes only the link.

        They are recognized by owner. All other entries stay and are reported.
        """
        if not link.is_symlink():
            return
        folder = Path(os.path.realpath(link))
        if not folder.is_dir():
            self.left.append(f"{link} leads to {folder}, which does not exist now; its content stays")
            return
        ours = [folder / name for name in names if _is(folder / name, uid, mode)]
        for path in ours:
            if self._note(f"delete {path}"):
                delete(path)
        gone = {path.name for path in ours}
        if self.check_mode:  # in check mode nothing was removed before
            gone |= {"live", "shared"} if self.archive else {"live"}
        if rest := sorted(set(os.listdir(folder)) - gone):
            self.left.append(f"{folder}, the target of {link}, stays, since it has other content: {_few(rest)}")
        elif not os.path.ismount(folder) and self._note(f"delete {folder}"):
            folder.rmdir()

    def _archive(self, site: Layout, uid: int | None) -> None:
        if not _exists(site.shared):
            return
        folder = site.root.parent / ".archive"
        base = f"{self.name}-{datetime.now(UTC):%Y%m%dT%H%M%SZ}"
        target = next(path for path in _names(folder / base) if not _exists(path))
        self.archive = str(target)
        if site.shared.is_symlink():
            # The site may have created a link there that leads to files of others.
            odd = [
                path for path in (site.shared / name for name in OF_SHARED) if _is(path, uid) and not _is_folder(path)
            ]
            self.left += [f"{path} must be a folder and is not; it was not changed" for path in odd]
        if not self._note(f"move {site.shared} to {target}"):
            return
        # Root only, since another account may get the user's ID later.
        if not folder.is_dir():
            folder.mkdir(mode=0o700)
        folder.chmod(0o700)
        write_file(self.register, json.dumps([*self._archives(), str(target)]) + "\n", 0o600)
        if site.shared.is_symlink():
            self._archive_link(site.shared, target, uid)
            return
        code, _, words = self.run(["mv", "--no-target-directory", str(site.shared), str(target)])
        if code != 0:
            raise StepError(f"{self.name}: cannot move {site.shared} to {target}: {words.strip()}")
        target.chmod(0o700)

    def _archive_link(self, shared: Path, target: Path, uid: int | None) -> None:
        """Shared files on another disk stay there, closed like an archive."""
        for path in (shared / name for name in OF_SHARED):
            if uid is not None and _is(path, uid):
                trees.close(path, uid, CLOSED[1])
        # Not moved unchanged, since a relative link may lead elsewhere from there.
        target.symlink_to(os.path.realpath(shared))
        shared.unlink()

    def _archives(self) -> list[str]:
        try:
            return json.loads(self.register.read_text(encoding="utf-8"))
        except (OSError, ValueError):
            return []

    def _purge_archives(self) -> None:
        pattern = re.compile(rf"{re.escape(self.name)}-\d{{8}}T\d{{6}}Z(-\d+)?")
        for path in map(Path, self._archives()):
            # The list is root's; still only paths with an archive's name are deleted.
            if _exists(path) and path.parent.name == ".archive" and pattern.fullmatch(path.name):
                self._behind(path, OF_SHARED, *CLOSED)
                if self._note(f"delete {path}"):
                    delete(path)
        if self.register.exists() and not self.check_mode:
            self.register.unlink()

    def _user(self, user: str) -> None:
        account = accounts.find_user(user)
        if account is not None and account.pw_uid != 0 and self._note(f"remove the user {user}"):
            code, _, words = self.run(["userdel", user])
            if code != 0:
                raise StepError(f"{self.name}: cannot remove the user {user}: {words.strip()}")
        if accounts.find_group(user) is not None and (account is None or account.pw_uid != 0):
            if self.check_mode:
                return
            self.run(["groupdel", user])


def _is(path: Path, uid: int | None, mode: int | None = None) -> bool:
    """Whether the path has this owner and, if given, this mode."""
    try:
        info = path.lstat()
    except FileNotFoundError:
        return False
    return info.st_uid == uid and mode in (None, stat.S_IMODE(info.st_mode))


def _is_folder(path: Path) -> bool:
    return stat.S_ISDIR(path.lstat().st_mode)


def _few(names: list[str], most: int = 10) -> str:
    more = f" and {len(names) - most} more" if len(names) > most else ""
    return ", ".join(names[:most]) + more


def _names(path: Path) -> Iterator[Path]:
    yield path
    for number in range(2, 1000):
        yield path.with_name(f"{path.name}-{number}")


def delete(path: Path) -> None:
    """Remove a file, a link (not its target), a directory with its content, or the content of a mount point."""
    if path.is_symlink() or not path.is_dir():
        path.unlink(missing_ok=True)
    elif os.path.ismount(path):
        for child in path.iterdir():
            delete(child)
    else:
        trees.remove(path)
