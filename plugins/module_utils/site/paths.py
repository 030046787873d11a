"""Where a site's things lie on a host. Every path that a module or the launcher uses is named here, once."""

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
        """What each release answers by http."""
        return self.slot(slot) / "sock"

    def sockets(self, slot: str) -> list[Path]:
        """All that a server may listen on; `uwsgi.sock` is there where nginx may speak the uwsgi protocol."""
        return [self.socket(slot), self.slot(slot) / "uwsgi.sock"]

    def public(self, slot: str) -> Path:
        """What nginx serves of a slot's release, and of the release before it (`releases/public_files.py`)."""
        return self.slot(slot) / "public"

    def pending_hooks(self, slot: str) -> Path:
        """Tells that the hooks that come after this slot went live have not run yet."""
        return self.slot(slot) / "after_live"

    def has_pending_hooks(self) -> bool:
        """Whether a run was cut off between the switch and the hooks that come after it."""
        slot = self.live_slot()
        return slot is not None and self.pending_hooks(slot).exists()

    @property
    def live(self) -> Path:
        """The only pointer that says what is live: a link to one of the slots."""
        return self.root / "live"

    @property
    def previous(self) -> Path:
        """A record (a release's ID), for rollback; nothing serves from it."""
        return self.root / "previous"

    def previous_release(self) -> str:
        """What the record says; empty if there is none."""
        try:
            return self.previous.read_text(encoding="utf-8").strip()
        except OSError:
            return ""

    @property
    def shared(self) -> Path:
        return self.root / "shared"

    def program(self, name: str) -> Path:
        """Of a slot, or of one of the site's processes: none is called as a slot is."""
        return PROGRAMS / f"{self.name}-{name}.conf"

    @property
    def crontab(self) -> Path:
        """Tells cron when which of the site's jobs starts."""
        return CONFIG / "cron.d" / self.name

    def token(self, slot: str) -> Path:
        """Tells the launcher that a deploy is starting this slot, although it is not live."""
        return RUN / f"{self.name}-{slot}.token"

    def pid(self, key: str) -> Path:
        """The launcher's note of a slot's server, or of ``NAME-NUMBER``: a supervisord that was killed forgets them."""
        return RUN / f"{self.name}-{key}.pid"

    @property
    def lock(self) -> Path:
        """Held by a step while it is at work."""
        return RUN / f"{self.name}.lock"

    @property
    def run_note(self) -> Path:
        """Which run holds the site, from its first step to its last."""
        return RUN / f"{self.name}.run"

    @property
    def stopped(self) -> Path:
        """Which slot was stopped so that another one can start, where a site may not run twice at once."""
        return RUN / f"{self.name}.stopped"

    @property
    def log(self) -> Path:
        return self.logs / "server.log"

    @property
    def logs(self) -> Path:
        return LOGS / self.name

    @property
    def config(self) -> Path:
        """Holds the link to the live release's environment."""
        return CONFIG / self.name

    @property
    def rotation(self) -> Path:
        """The site's file for logrotate."""
        return CONFIG / "logrotate.d" / self.name

    @property
    def command(self) -> Path:
        """The site's command on the host."""
        return COMMANDS / f"{self.name}-ctl"

    @property
    def jail(self) -> Path:
        """The site's file for fail2ban, which role ban writes."""
        return CONFIG / "fail2ban/jail.d" / f"site-{self.name}.conf"

    @property
    def named_paths(self) -> list[Path]:
        """What every site has outside of its own directory."""
        return [self.config, self.logs, self.rotation, self.command]

    @property
    def record(self) -> Path:
        """The record that the collection has set up the site on this host."""
        return REGISTRY / f"{self.name}.json"

    @property
    def shut(self) -> Path:
        """Shuts the site while it is there; only root writes there, and no reboot takes it away."""
        return REGISTRY / "shut" / self.name

    def live_slot(self) -> str | None:
        """The slot that nginx reaches, or None before the first release is live."""
        try:
            slot = os.path.basename(os.readlink(self.live))
        except OSError:
            return None
        return slot if slot in SLOTS else None

    def idle_slot(self) -> str:
        return "green" if self.live_slot() == "blue" else "blue"

    def release_in(self, slot: str | None) -> str | None:
        """The ID of the release that lies in a slot, or None."""
        return self._linked(slot, "release")

    def before_in(self, slot: str | None) -> str | None:
        """The ID of the release whose hashed files nginx looks for as well until it is configured by 1.0.0, or None."""
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
        """What ``release.json`` of a release says; an empty dict if it is not there or not whole."""
        try:
            return json.loads((self.release(release_id) / "release.json").read_text(encoding="utf-8"))
        except (OSError, ValueError):
            return {}


def replace_link(link: Path, target: str) -> None:
    """Point ``link`` at ``target`` with one rename, so that no reader ever finds it missing."""
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
