"""The launcher's command `process`: become a process or a job of the live release."""

from __future__ import annotations

import signal
from pathlib import Path
from typing import NoReturn

from ansible_collections.wsgi.sites.plugins.module_utils.launcher import identity, limits, predecessor
from ansible_collections.wsgi.sites.plugins.module_utils.launcher.messages import PROCESS_PAUSE, LauncherError, refuse
from ansible_collections.wsgi.sites.plugins.module_utils.launcher.release import Release
from ansible_collections.wsgi.sites.plugins.module_utils.runtime import workers
from ansible_collections.wsgi.sites.plugins.module_utils.site.paths import Layout
from ansible_collections.wsgi.sites.plugins.module_utils.system import cpus


def start(root: Path, name: str, number: str) -> NoReturn:
    """Become the process or job of that name in the live release's release.json."""
    slot = Layout("", root).live_slot()
    if slot is None:
        raise LauncherError("nothing is live yet; deploy it first")
    release = Release.at(root, root / "slots" / slot / "release")
    site, known = release.site, release.manifest.get("processes", {})
    if name not in known or not (number.isdecimal() and 1 <= int(number) <= known[name]["count"]):
        refuse(
            f"the live release of {site.name} ({release.path.name}) has no process {name} {number}, so it does not "
            "run; the next deploy removes its program",
            PROCESS_PAUSE,
        )
    uid, _ = release.account()
    key, own = f"{name}-{int(number)}", known[name]
    predecessor.await_end(site, key, uid)
    limits.confine(release, key)
    stop = {"signal": signal.Signals[f"SIG{own['stop_signal']}"], "patience": own["patience"]}
    predecessor.note(site, key, slot=slot, release=release.path.name, **stop)
    identity.become(release, own["command"], workers.environment(release.manifest, cpus.usable()))
