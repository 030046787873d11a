"""The launcher's main command: become the server of a slot."""

from __future__ import annotations

import json
import os
from pathlib import Path
from typing import NoReturn

from ansible_collections.wsgi.sites.plugins.module_utils.launcher import (
    identity,
    limits,
    listeners,
    messages,
    predecessor,
)
from ansible_collections.wsgi.sites.plugins.module_utils.launcher.release import Release
from ansible_collections.wsgi.sites.plugins.module_utils.runtime import orphans, workers
from ansible_collections.wsgi.sites.plugins.module_utils.site.paths import Layout
from ansible_collections.wsgi.sites.plugins.module_utils.system import cpus, process


def serve(root: Path, slot: str) -> NoReturn:
    """Become the server of a slot, if the slot is live or a deploy is starting it."""
    release = Release.at(root, root / "slots" / slot / "release")
    site, manifest = release.site, release.manifest
    if site.live_slot() != slot and not has_token(site, slot):
        messages.refuse(
            f"{site.name}-{slot} is not the live slot and no deploy is starting it, so it exits; "
            "the next deploy removes its program",
            messages.SLOT_PAUSE,
        )
    uid, gid = release.account()
    environment = release.environment()
    if manifest.get("going_live") == "replace":
        # It must not run twice at once, so the site is down until the older server has ended.
        predecessor.await_end(site, slot, uid)
    # An older server that supervisord lost finishes its requests; other leftovers of this slot are killed.
    limits.confine(release, slot, keep=predecessor.find(site, slot) is not None)
    bound = listeners.bind(release, slot, uid)
    predecessor.retire(site, slot)
    listeners.hand_over(bound)
    environment |= workers.environment(manifest, cpus.usable(), live_workers(site))
    if manifest.get("server") == "uwsgi":
        # uWSGI's configuration names the sockets: with LISTEN_FDS it would speak the uwsgi protocol on all of them.
        environment |= {"SITE_SLOT": slot}
    else:
        environment |= {"LISTEN_FDS": str(len(bound)), "LISTEN_PID": str(os.getpid())}
    os.chdir(release.path / "app")
    identity.drop_privileges(uid, gid)
    identity.execute(manifest["command"], environment)


def has_token(site: Layout, slot: str) -> bool:
    """Whether a deploy is starting this slot under the supervisord that is our parent."""
    try:
        token = json.loads(site.token(slot).read_text(encoding="utf-8"))
    except (OSError, ValueError):
        return False
    parent = process.find(os.getppid())
    return parent is not None and token == {"supervisord_pid": parent.pid, "supervisord_start": parent.start}


def live_workers(site: Layout) -> int:
    """The number of child processes of the live slot's server; 0 if it does not run."""
    live = site.live_slot()
    master = orphans.orphan(site, live) if live else None
    return len(process.children(master)) if master else 0
