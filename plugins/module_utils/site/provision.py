"""What a site has on a host besides its releases: user, directories, logs, and the record that they are ours."""

from __future__ import annotations

import contextlib
import grp
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
from ansible_collections.wsgi.sites.plugins.module_utils.releases import store
from ansible_collections.wsgi.sites.plugins.module_utils.releases.deployment import StepError
from ansible_collections.wsgi.sites.plugins.module_utils.releases.slots import clear_slot, traces
from ansible_collections.wsgi.sites.plugins.module_utils.runtime import history, processes, site_groups
from ansible_collections.wsgi.sites.plugins.module_utils.runtime.supervisor import SupervisorError
from ansible_collections.wsgi.sites.plugins.module_utils.site import cli as _cli  # noqa: F401 - is packed
from ansible_collections.wsgi.sites.plugins.module_utils.site import logs, paths
from ansible_collections.wsgi.sites.plugins.module_utils.site.paths import SLOTS, Layout, replace_link, write_file
from ansible_collections.wsgi.sites.plugins.module_utils.site.registry import recorded
from ansible_collections.wsgi.sites.plugins.module_utils.system import trees
from ansible_collections.wsgi.sites.plugins.module_utils.system.program import install, packed
from ansible_collections.wsgi.sites.plugins.module_utils.system.termination import StillRunningError, end_processes

WEB_GROUP = "www-data"
NOLOGIN = "/usr/sbin/nologin"
# What the bundle makes in a folder that an operator may put on another disk and link to.
OF_ROOT = ("releases", "slots", "previous", "releases.log", "shared")
OF_SHARED = ("data", "media")
# Of a site whose server comes to a host that had only its nginx, or the other way.
MOVES = "take the site away there first (`state: absent`), then bring it again"
# What it makes of these once they are in an archive.
CLOSED = (0, 0o700)

Run = Callable[[list[str]], tuple[int, str, str]]


def _exists(path: Path) -> bool:
    return path.is_symlink() or path.exists()


def rotation(name: str) -> Path:
    """The site's file for logrotate."""
    return paths.CONFIG / "logrotate.d" / name


def console(name: str) -> Path:
    """The site's command on the host."""
    return paths.COMMANDS / f"{name}-ctl"


def jail(name: str) -> Path:
    """The site's file for fail2ban, which role ban makes."""
    return paths.CONFIG / "fail2ban/jail.d" / f"site-{name}.conf"


def find_user(name: str) -> pwd.struct_passwd | None:
    """The account of this name, or None."""
    try:
        return pwd.getpwnam(name)
    except KeyError:
        return None


def find_group(name: str) -> grp.struct_group | None:
    """The group of this name, or None."""
    try:
        return grp.getgrnam(name)
    except KeyError:
        return None


def collisions(site: Layout, user: str) -> list[str]:
    """What already has one of the site's names on this host."""
    found = []
    if find_user(user):
        found.append(f"the user {user}")
    elif find_group(user):
        found.append(f"the group {user}")
    places = [site.root, *named_paths(site), *(site.program(slot) for slot in SLOTS)]
    return found + [str(path) for path in places if _exists(path)]


def named_paths(site: Layout) -> list[Path]:
    """What every site has outside of its own directory."""
    return [site.config, site.logs, rotation(site.name), console(site.name)]


def refuse(site: Layout, found: list[str]) -> None:
    """Leave alone what bears the site's name and is somebody else's."""
    if found:
        raise StepError(
            f"{site.name}: this host already has {', '.join(found)}, and not from this bundle (there is no "
            f"{site.record}). Nothing was changed. Remove or rename what is there if nobody needs it, or give the site "
            "another name, `user` or `root`"
        )


def check(site: Layout, user: str) -> dict:
    """Refuse what is somebody else's; the record of the site, or an empty dict for a new one."""
    record = recorded(site.name)
    if record.get("front"):
        raise StepError(f"{site.name}: this host has its nginx alone so far; {MOVES}")
    if record:
        for key, now in (("root", str(site.root)), ("user", user)):
            if record.get(key) != now:
                raise StepError(
                    f"{site.name}: it was set up on this host with {key} {record.get(key)}, and the page says {now}; "
                    f"put {key} back, or take the site away first (`state: absent` keeps its shared files) and bring "
                    "it again"
                )
        return record
    refuse(site, collisions(site, user))
    for other in paths.REGISTRY.glob("*.json"):
        known = recorded(other.stem)
        if known.get("user") == user:
            raise StepError(f"{site.name}: the user {user} belongs to the site {other.stem}; give each its own `user`")
    return {}


@dataclass
class Home:
    """Brings a site's home to what it should be, and notes each thing that was not."""

    site: Layout
    user: str
    run: Run
    files: dict[str, str] = field(default_factory=dict)
    check_mode: bool = False
    changes: list[str] = field(default_factory=list)
    # Logs that this site has besides those of every site.
    more_logs: tuple[str, ...] = ()

    def bring(self) -> list[str]:
        """Do all of it; the list of what was changed (or would be)."""
        site = self.site
        if not check(site, self.user):
            # First of all: a run that is cut off after this one knows that the rest is ours.
            self._record({"name": site.name, "root": str(site.root), "user": self.user})
        uid, gid = self._user()
        web = find_group(WEB_GROUP)
        web_gid = web.gr_gid if web else None
        if web is None and not self.check_mode:
            raise StepError(f"{site.name}: this host has no group {WEB_GROUP}; install nginx first")
        for path in (site.root, site.releases, site.root / "slots", *(site.slot(slot) for slot in SLOTS), site.shared):
            self._directory(path, 0o755, 0, 0)
        self._directory(site.shared / "data", 0o700, uid, gid)
        self._directory(site.shared / "media", 0o2750, uid, web_gid)
        self._releases(gid)
        self._directory(site.config, 0o755, 0, 0)
        self._link(site.config / "environment", str(site.live / "release" / "environment"))
        # Its own user may list it, the others only walk through: nginx's workers reopen their logs by themselves.
        self._directory(site.logs, 0o751, 0, gid)
        for path in (*(site.logs / name for name in (*logs.NAMES, *self.more_logs)), history.path(site)):
            self._log(path, gid)
        self._of_name()
        return self.changes

    def _of_name(self) -> None:
        for path, content in self.files.items():
            self._file(Path(path), content)
        self._console()

    def _note(self, words: str) -> bool:
        """Note a change; whether to do it now."""
        self.changes.append(words)
        return not self.check_mode

    def _record(self, content: dict) -> None:
        if self._note(f"record the site in {self.site.record}"):
            trees.make_folder(paths.REGISTRY)
            write_file(self.site.record, json.dumps(content) + "\n", 0o600)

    def _user(self) -> tuple[int | None, int | None]:
        account = find_user(self.user)
        if account is None and self._note(f"create the user {self.user}"):
            code, _, words = self.run(
                [
                    "useradd",
                    "--system",
                    "--user-group",
                    "--no-create-home",
                    "--shell",
                    NOLOGIN,
                    "--home-dir",
                    str(self.site.shared),
                    self.user,
                ]
            )
            if code != 0:
                raise StepError(f"{self.site.name}: cannot create the user {self.user}: {words.strip()}")
            account = find_user(self.user)
        return (account.pw_uid, account.pw_gid) if account else (None, None)

    def _directory(self, path: Path, mode: int, uid: int | None, gid: int | None) -> None:
        """A directory as it should be. Numbers that are not known yet (check mode) are not compared."""
        if path.is_symlink() and path in (self.site.root, self.site.shared):
            return  # an operator may put it on another disk
        try:
            info = path.lstat()
        except FileNotFoundError:
            if self._note(f"create {path}"):
                trees.make_folder(path.parent)
                with contextlib.suppress(FileExistsError):  # another site's step may make the same one
                    path.mkdir(mode=0o700)
                trees.own(path, uid, gid, mode)
            return
        if not stat.S_ISDIR(info.st_mode):
            raise StepError(f"{self.site.name}: {path} should be a directory and is not; move it away and run again")
        self._owner(path, info, mode, uid, gid)

    def _owner(self, path: Path, info: os.stat_result, mode: int, uid: int | None, gid: int | None) -> None:
        right = stat.S_IMODE(info.st_mode) == mode and uid in (None, info.st_uid) and gid in (None, info.st_gid)
        if not right and self._note(f"correct owner and mode of {path}"):
            trees.own(path, uid, gid, mode)

    def _releases(self, gid: int | None) -> None:
        """What an older bundle has built lets others read more than they should."""
        if gid is None:
            return  # nobody's yet
        for name in store.correct_modes(self.site, gid, self.check_mode):
            self._note(f"correct owners and modes of {self.site.release(name)}")

    def _link(self, path: Path, target: str) -> None:
        if not (path.is_symlink() and os.readlink(path) == target) and self._note(f"link {path} to {target}"):
            replace_link(path, target)

    def _file(self, path: Path, content: str) -> None:
        try:
            before = path.read_text(encoding="utf-8")
        except FileNotFoundError:
            before = None
        if before != content and self._note(f"write {path}"):
            trees.make_folder(path.parent)
            write_file(path, content, 0o644)

    def _console(self) -> None:
        """One program for all sites, which goes by the name that it is called by."""
        program, content = paths.LIBRARY / "console", packed("site.cli")
        # Sites run the launcher from there: whatever umask the step had that made it.
        self._directory(paths.LIBRARY, 0o755, 0, None)
        try:
            same = program.read_bytes() == content
        except OSError:
            same = False
        if not same and self._note(f"write {program}"):
            # Sites are set up side by side, each under its own lock.
            install(program, content, owner=f"{self.site.name}.")
        path = console(self.site.name)
        if _exists(path) and not path.is_symlink():
            raise StepError(f"{self.site.name}: {path} is there, and not from this bundle; move it away and run again")
        self._link(path, str(program))

    def _log(self, path: Path, gid: int | None) -> None:
        try:
            info = path.lstat()
        except FileNotFoundError:
            if self._note(f"create {path}"):
                logs.make(path, gid)
            return
        if not stat.S_ISREG(info.st_mode):
            raise StepError(f"{self.site.name}: {path} should be a file and is not; move it away and run again")
        # The owner is left alone: nginx gives its logs to its workers when it reopens them.
        self._owner(path, info, 0o640, None, gid)


@dataclass
class Front(Home):
    """The same for a site of which this host has nginx alone: no user, and no place for releases."""

    front: dict = field(default_factory=dict)

    def bring(self) -> list[str]:
        """Do all of it; the list of what was changed (or would be)."""
        site, record = self.site, recorded(self.site.name)
        if record and not record.get("front"):
            raise StepError(f"{site.name}: this host has its server so far; {MOVES}")
        if not record:
            refuse(site, [str(path) for path in named_paths(site) if _exists(path)])
        if record.get("front") != self.front:
            self._record({"name": site.name, "front": self.front})
        self._directory(site.config, 0o755, 0, 0)
        self._directory(site.logs, 0o751, 0, 0)
        for name in (*logs.OF_NGINX, *self.more_logs):
            self._log(site.logs / name, 0)
        self._of_name()
        return self.changes


@dataclass
class Removal:
    """Takes a site off a host; what outlives releases is archived, or deleted when asked for."""

    name: str
    run: Run
    purge: bool = False
    check_mode: bool = False
    changes: list[str] = field(default_factory=list)
    archive: str = ""
    left: list[str] = field(default_factory=list)

    @property
    def register(self) -> Path:
        """Where this site's archives are: the record of the site itself goes with the site."""
        return paths.REGISTRY / f"{self.name}.archives"

    def remove(self) -> list[str]:
        """Do all of it; the list of what was changed (or would be). Only what the host's record calls ours."""
        record = recorded(self.name)
        if record.get("front"):
            site = Layout(self.name, Path("/nonexistent"))
            self._delete([*named_paths(site), site.shut])
        elif record:
            site = Layout(self.name, Path(record["root"]))
            account = find_user(record.get("user", ""))
            self._stop_all(site, account)
            # Before anything is moved or deleted: what still ran could write into it meanwhile.
            self._end(account)
            uid = account.pw_uid if account else None
            if self.purge:
                self._shared(site.shared, uid)
            else:
                self._archive(site, uid)
            self._behind(site.root, [name for name in OF_ROOT if name != "shared" or self.purge], 0)
            self._delete([site.root, *named_paths(site), site.shut])
            self._user(record.get("user", ""))
            for path in (site.run_note, site.stopped, *(site.pid(slot) for slot in SLOTS)):
                if not self.check_mode:
                    path.unlink(missing_ok=True)
        if self.purge:
            self._purge_archives()
        # Last of all: a run that is cut off before this one starts over.
        if record and self._note(f"forget the site in {paths.REGISTRY / f'{self.name}.json'}"):
            (paths.REGISTRY / f"{self.name}.json").unlink(missing_ok=True)
            site.lock.unlink(missing_ok=True)  # without its file it keeps nobody out any more
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
            # A user can keep the end of its processes from supervisord (by ptrace): end all of them, and try again.
            self._end(account)
            del self.changes[before:]
            self._stop(site)

    def _stop(self, site: Layout) -> None:
        # First, so that nothing that is stopped here can start again.
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
        # Together with ROOT, later; but said aloud.
        if _exists(shared):
            self._note(f"delete {shared}")
        self._behind(shared, OF_SHARED, uid)

    def _behind(self, link: Path, names: Iterable[str], uid: int | None, mode: int | None = None) -> None:
        """Delete what is ours behind a link of the operator's, where `delete` would take the link alone.

        Its owner tells what is ours. Nobody knows whose the rest is: it stays, and the operator is told.
        """
        if not link.is_symlink():
            return
        folder = Path(os.path.realpath(link))
        if not folder.is_dir():
            self.left.append(f"{link} leads to {folder}, which is not there now; what it holds elsewhere stays")
            return
        ours = [folder / name for name in names if _is(folder / name, uid, mode)]
        for path in ours:
            if self._note(f"delete {path}"):
                delete(path)
        gone = {path.name for path in ours}
        if self.check_mode:  # the steps before this one took nothing away
            gone |= {"live", "shared"} if self.archive else {"live"}
        if rest := sorted(set(os.listdir(folder)) - gone):
            self.left.append(f"{folder}, where {link} led, stays with what is not ours: {_few(rest)}")
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
            # The site may have laid a link of its own there, which leads to what is somebody else's.
            odd = [
                path for path in (site.shared / name for name in OF_SHARED) if _is(path, uid) and not _is_folder(path)
            ]
            self.left += [f"{path} should be a folder and is not; it stays as it is" for path in odd]
        if not self._note(f"move {site.shared} to {target}"):
            return
        # Root only: the user's number may be another account's one day.
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
        """What an operator has put on another disk stays there, as closed as in any archive."""
        for path in (shared / name for name in OF_SHARED):
            if uid is not None and _is(path, uid):
                trees.close(path, uid, CLOSED[1])
        # Not moved as it is: a relative link may lead elsewhere from there.
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
            # The register is root's, but nothing but an archive's name is ever deleted for it.
            if _exists(path) and path.parent.name == ".archive" and pattern.fullmatch(path.name):
                self._behind(path, OF_SHARED, *CLOSED)
                if self._note(f"delete {path}"):
                    delete(path)
        if self.register.exists() and not self.check_mode:
            self.register.unlink()

    def _user(self, user: str) -> None:
        account = find_user(user)
        if account is not None and account.pw_uid != 0 and self._note(f"remove the user {user}"):
            code, _, words = self.run(["userdel", user])
            if code != 0:
                raise StepError(f"{self.name}: cannot remove the user {user}: {words.strip()}")
        if find_group(user) is not None and (account is None or account.pw_uid != 0):
            if self.check_mode:
                return
            self.run(["groupdel", user])


def _is(path: Path, uid: int | None, mode: int | None = None) -> bool:
    """Whether there is something of this owner, and if that is asked for of this mode."""
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
    """Remove a file, a link (not what it leads to), or a directory with all in it; of a mount, what is in it."""
    if path.is_symlink() or not path.is_dir():
        path.unlink(missing_ok=True)
    elif os.path.ismount(path):
        for child in path.iterdir():
            delete(child)
    else:
        trees.remove(path)
