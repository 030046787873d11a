"""Sets up a site on a host without its releases: user, directories, logs, and the host's record of them."""

from __future__ import annotations

import contextlib
import json
import os
import stat
from collections.abc import Callable
from dataclasses import dataclass, field
from pathlib import Path

from ansible_collections.wsgi.sites.plugins.module_utils.inspection import site_names
from ansible_collections.wsgi.sites.plugins.module_utils.inspection.host import Host
from ansible_collections.wsgi.sites.plugins.module_utils.releases import store
from ansible_collections.wsgi.sites.plugins.module_utils.releases.deployment import StepError
from ansible_collections.wsgi.sites.plugins.module_utils.runtime import history
from ansible_collections.wsgi.sites.plugins.module_utils.site import accounts, logs, paths
from ansible_collections.wsgi.sites.plugins.module_utils.site import cli as _cli  # noqa: F401 - is packed
from ansible_collections.wsgi.sites.plugins.module_utils.site.paths import SLOTS, Layout, replace_link, write_file
from ansible_collections.wsgi.sites.plugins.module_utils.site.registry import PROXY_ONLY, recorded
from ansible_collections.wsgi.sites.plugins.module_utils.system import trees
from ansible_collections.wsgi.sites.plugins.module_utils.system.program import install, packed

WEB_GROUP = "www-data"
NOLOGIN = "/usr/sbin/nologin"

Run = Callable[[list[str]], tuple[int, str, str]]


def refuse(name: str, reasons: list[str]) -> None:
    """Fail before any change if the site's names are in use for something else."""
    if reasons:
        lines = "".join(f"\n- {reason}" for reason in reasons)
        raise StepError(f"{name}: the site conflicts with what is on this host. Nothing was changed.{lines}")


@dataclass
class SiteSetup:
    """Creates and corrects user, directories and logs of a site, and records each change."""

    site: Layout
    user: str
    run: Run
    files: dict[str, str] = field(default_factory=dict)
    check_mode: bool = False
    changes: list[str] = field(default_factory=list)
    # Names of additional logs.
    further_logs: tuple[str, ...] = ()

    def apply(self) -> list[str]:
        """Do all of it; the list of what was changed (or would be)."""
        site = self.site
        refuse(site.name, site_names.taken(Host(), site.name, str(site.root), self.user))
        if not recorded(site.name):
            # First, so that after an interrupted run the next one knows that the rest belongs to the site.
            self._record({"name": site.name, "root": str(site.root), "user": self.user})
        uid, gid = self._user()
        web = accounts.find_group(WEB_GROUP)
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
        # The site's user can list it; others pass through, since nginx's workers reopen their logs themselves.
        self._directory(site.logs, 0o751, 0, gid)
        for path in (*(site.logs / name for name in (*logs.NAMES, *self.further_logs)), history.path(site)):
            self._log(path, gid)
        self._shared_files()
        return self.changes

    def _shared_files(self) -> None:
        """Install the operator's additional files and SITE-ctl."""
        for path, content in self.files.items():
            self._file(Path(path), content)
        self._command()
        self._rename_maintenance_folder()

    def _rename_maintenance_folder(self) -> None:
        """Rename the folder of a version before 1.0.0; nginx finds it by its former name until it has its new files."""
        former, folder = paths.REGISTRY / "shut", self.site.maintenance.parent
        if former.is_dir() and not former.is_symlink() and not folder.exists() and self._note(f"rename {former}"):
            with contextlib.suppress(FileNotFoundError):  # another site's step may do the same
                former.rename(folder)
                former.symlink_to(folder.name)

    def _note(self, words: str) -> bool:
        """Record a change; returns whether to apply it (not in check mode)."""
        self.changes.append(words)
        return not self.check_mode

    def _record(self, content: dict) -> None:
        if self._note(f"record the site in {self.site.record}"):
            trees.make_folder(paths.REGISTRY)
            write_file(self.site.record, json.dumps(content) + "\n", 0o600)

    def _user(self) -> tuple[int | None, int | None]:
        account = accounts.find_user(self.user)
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
            account = accounts.find_user(self.user)
        return (account.pw_uid, account.pw_gid) if account else (None, None)

    def _directory(self, path: Path, mode: int, uid: int | None, gid: int | None) -> None:
        """Ensure a directory with owner and mode. IDs that do not exist yet (check mode) are not compared."""
        if path.is_symlink() and path in (self.site.root, self.site.shared):
            return  # the operator may have put it on another disk
        try:
            info = path.lstat()
        except FileNotFoundError:
            if self._note(f"create {path}"):
                trees.make_folder(path.parent)
                with contextlib.suppress(FileExistsError):  # another site's step may create the same one
                    path.mkdir(mode=0o700)
                trees.own(path, uid, gid, mode)
            return
        if not stat.S_ISDIR(info.st_mode):
            raise StepError(f"{self.site.name}: {path} must be a directory and is not; move it away and run again")
        self._owner(path, info, mode, uid, gid)

    def _owner(self, path: Path, info: os.stat_result, mode: int, uid: int | None, gid: int | None) -> None:
        right = stat.S_IMODE(info.st_mode) == mode and uid in (None, info.st_uid) and gid in (None, info.st_gid)
        if not right and self._note(f"correct owner and mode of {path}"):
            trees.own(path, uid, gid, mode)

    def _releases(self, gid: int | None) -> None:
        """Correct releases of older versions of the collection, whose modes were too permissive."""
        if gid is None:
            return
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

    def _command(self) -> None:
        """Install SITE-ctl: one program for all sites, which finds its site by the name of its link."""
        program, content = paths.LIBRARY / "console", packed("site.cli")
        # Sites' users run the launcher from there, whatever umask created it.
        self._directory(paths.LIBRARY, 0o755, 0, None)
        try:
            same = program.read_bytes() == content
        except OSError:
            same = False
        if not same and self._note(f"write {program}"):
            # Other sites may be set up at the same time, each under its own lock.
            install(program, content, owner=f"{self.site.name}.")
        path = self.site.command
        if path.exists() and not path.is_symlink():
            raise StepError(
                f"{self.site.name}: {path} exists and was not made by this collection; move it away and run again"
            )
        self._link(path, str(program))

    def _log(self, path: Path, gid: int | None) -> None:
        try:
            info = path.lstat()
        except FileNotFoundError:
            if self._note(f"create {path}"):
                logs.make(path, gid)
            return
        if not stat.S_ISREG(info.st_mode):
            raise StepError(f"{self.site.name}: {path} must be a file and is not; move it away and run again")
        # The owner is not changed: nginx gives its logs to its workers when it reopens them.
        self._owner(path, info, 0o640, None, gid)


@dataclass
class ProxyOnlySetup(SiteSetup):
    """The setup of a site whose servers are on other hosts: no user, and no directories for releases."""

    upstream: dict = field(default_factory=dict)

    def apply(self) -> list[str]:
        """Do all of it; the list of what was changed (or would be)."""
        site, record = self.site, recorded(self.site.name)
        refuse(site.name, site_names.taken(Host(), site.name, "", ""))
        if record.get(PROXY_ONLY) != self.upstream:
            self._record({"name": site.name, PROXY_ONLY: self.upstream})
        self._directory(site.config, 0o755, 0, 0)
        self._directory(site.logs, 0o751, 0, 0)
        for name in (*logs.OF_NGINX, *self.further_logs):
            self._log(site.logs / name, 0)
        self._shared_files()
        return self.changes
