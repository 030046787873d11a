"""All paths of a site on a host, defined once for modules and launcher."""

from __future__ import annotations

import json
import os
from pathlib import Path
from typing import NamedTuple

from ansible_collections.wsgi.sites.plugins.module_utils.system.runtime import RUN

SLOTS = ("blue", "green")
REGISTRY = Path("/var/lib/sites")
PROGRAMS = Path("/etc/supervisor/conf.d")
LOGS = Path("/var/log")
CONFIG = Path("/etc")
LIBRARY = Path("/usr/local/lib/sites")
COMMANDS = Path("/usr/local/bin")
CACHE = Path("/var/cache/uv")


class Layout(NamedTuple):
    """The paths of one site on this host.

    :param name: the site's key in the site config
    :param root: the site's own directory, ``/srv/NAME`` by default
    """

    name: str
    root: Path

    @property
    def releases(self) -> Path:
        return self.root / "releases"

    def release(self, release_id: str) -> Path:
        return self.releases / release_id

    def slot(self, slot: str) -> Path:
        return self.root / "slots" / slot

    def socket(self, slot: str) -> Path:
        """The slot's socket for HTTP."""
        return self.slot(slot) / "sock"

    def sockets(self, slot: str) -> list[Path]:
        """All sockets of a slot; `uwsgi.sock` exists where nginx can speak the uwsgi protocol."""
        return [self.socket(slot), self.slot(slot) / "uwsgi.sock"]

    def public(self, slot: str) -> Path:
        """The files of a slot's release, and of the previous one, that nginx serves (`releases/public_files.py`)."""
        return self.slot(slot) / "public"

    def pending_hooks(self, slot: str) -> Path:
        """Marks that the after_live hooks of this slot have not run yet."""
        return self.slot(slot) / "after_live"

    def has_pending_hooks(self) -> bool:
        """Whether a run was interrupted between the switch and the after_live hooks."""
        slot = self.live_slot()
        return slot is not None and self.pending_hooks(slot).exists()

    @property
    def live(self) -> Path:
        """The link to the live slot, the only record of what is live."""
        return self.root / "live"

    @property
    def previous(self) -> Path:
        """The record of the previous release's ID, for rollback."""
        return self.root / "previous"

    def previous_release(self) -> str:
        """The previous release's ID, or an empty text."""
        try:
            return self.previous.read_text(encoding="utf-8").strip()
        except OSError:
            return ""

    @property
    def shared(self) -> Path:
        return self.root / "shared"

    def program(self, name: str) -> Path:
        """The program file of a slot or a process, whose names differ from those of slots."""
        return PROGRAMS / f"{self.name}-{name}.conf"

    @property
    def crontab(self) -> Path:
        """The schedule of the site's jobs for cron."""
        return CONFIG / "cron.d" / self.name

    def token(self, slot: str) -> Path:
        """Permits the launcher to start this slot although it is not live, during a deploy."""
        return RUN / f"{self.name}-{slot}.token"

    def pid(self, key: str) -> Path:
        """The launcher's record of the process of a slot or of ``NAME-NUMBER``, which outlives a killed supervisord."""
        return RUN / f"{self.name}-{key}.pid"

    @property
    def lock(self) -> Path:
        """The lock file that a running step holds."""
        return RUN / f"{self.name}.lock"

    @property
    def run_note(self) -> Path:
        """The record of the run that has locked the site, from its first step to its last."""
        return RUN / f"{self.name}.run"

    @property
    def stopped(self) -> Path:
        """The record of a slot that was stopped so that another can start (`going_live: replace`)."""
        return RUN / f"{self.name}.stopped"

    @property
    def log(self) -> Path:
        return self.logs / "server.log"

    @property
    def logs(self) -> Path:
        return LOGS / self.name

    @property
    def config(self) -> Path:
        """The site's folder in /etc, with the link to the live release's environment."""
        return CONFIG / self.name

    @property
    def rotation(self) -> Path:
        """The site's configuration for logrotate."""
        return CONFIG / "logrotate.d" / self.name

    @property
    def command(self) -> Path:
        """SITE-ctl, the site's command on the host."""
        return COMMANDS / f"{self.name}-ctl"

    @property
    def jail(self) -> Path:
        """The site's jail for fail2ban, written by role ban."""
        return CONFIG / "fail2ban/jail.d" / f"site-{self.name}.conf"

    @property
    def named_paths(self) -> list[Path]:
        """The paths of every site outside its own directory."""
        return [self.config, self.logs, self.rotation, self.command]

    @property
    def record(self) -> Path:
        """The host's record of the site, which marks it as set up by the collection."""
        return REGISTRY / f"{self.name}.json"

    @property
    def maintenance(self) -> Path:
        """The file that turns maintenance on; only root can write it, and it survives reboots."""
        return REGISTRY / "maintenance" / self.name

    def live_slot(self) -> str | None:
        """The slot that nginx uses, or None before the first release is live."""
        try:
            slot = os.path.basename(os.readlink(self.live))
        except OSError:
            return None
        return slot if slot in SLOTS else None

    def idle_slot(self) -> str:
        return "green" if self.live_slot() == "blue" else "blue"

    def release_in(self, slot: str | None) -> str | None:
        """The ID of the release in a slot, or None."""
        return self._linked(slot, "release")

    def before_in(self, slot: str | None) -> str | None:
        """The ID of the release whose hashed files nginx also serves, configured by a version before 1.0.0; or None."""
        return self._linked(slot, "before")

    def _linked(self, slot: str | None, name: str) -> str | None:
        if slot is None:
            return None
        try:
            return os.path.basename(os.readlink(self.slot(slot) / name))
        except OSError:
            return None

    def live_release(self) -> str | None:
        return self.release_in(self.live_slot())

    def manifest(self, release_id: str) -> dict:
        """Read a release's ``release.json``; an empty dict if it is missing or damaged."""
        try:
            return json.loads((self.release(release_id) / "release.json").read_text(encoding="utf-8"))
        except (OSError, ValueError):
            return {}


def replace_link(link: Path, target: str) -> None:
    """Atomically point ``link`` at ``target`` by a rename."""
    temporary = link.with_name(f".{link.name}.new")
    temporary.unlink(missing_ok=True)
    temporary.symlink_to(target)
    os.replace(temporary, link)


def write_file(path: Path, content: str, mode: int, gid: int = 0) -> None:
    """Write a root-owned file under a temporary name and rename it into place."""
    temporary = path.with_name(f".{path.name}.new")
    temporary.unlink(missing_ok=True)
    descriptor = os.open(temporary, os.O_WRONLY | os.O_CREAT | os.O_EXCL | os.O_NOFOLLOW, 0o600)
    with open(descriptor, "w", encoding="utf-8") as stream:
        stream.write(content)
        os.fchown(stream.fileno(), 0, gid)
        os.fchmod(stream.fileno(), mode)
        stream.flush()
        os.fsync(stream.fileno())
    os.replace(temporary, path)
