"""The status of a site: the live release, since when, and its health."""

from __future__ import annotations

import os
import re
from datetime import UTC, datetime

from ansible_collections.wsgi.sites.plugins.module_utils.releases import health
from ansible_collections.wsgi.sites.plugins.module_utils.releases.deployment import abort
from ansible_collections.wsgi.sites.plugins.module_utils.runtime import processes
from ansible_collections.wsgi.sites.plugins.module_utils.runtime.supervisor import Supervisor, SupervisorError
from ansible_collections.wsgi.sites.plugins.module_utils.site import maintenance
from ansible_collections.wsgi.sites.plugins.module_utils.site.paths import Layout

# Maximum length of a branch's name in a table.
NAME_LENGTH = 14


def version(manifest: dict) -> str:
    """A short text of a release's source, such as ``v1.4 3f2a9c1``, ``archive 8d1f2c0`` or ``folder``."""
    source = manifest.get("source", "")
    found = re.match(r"(?:git \S+(?: (\S+))?|(archive) .*) \((?:sha256 )?([0-9a-f]{40,64})\)", source)
    if not found:
        return source.partition(" ")[0]
    name, hashed = found[1] or found[2] or "", found[3]
    if hashed.startswith(name):  # a commit may be named by an abbreviated hash
        name = ""
    return f"{name if len(name) <= NAME_LENGTH else name[: NAME_LENGTH - 1] + '…'} {hashed[:7]}".strip()


def status(site: Layout, timeout: float = 3) -> dict:
    """What is live, since when, and whether it is healthy."""
    slot = site.live_slot()
    release_id = site.live_release()
    report = {
        "site": site.name,
        "root": str(site.root),
        "slot": slot or "",
        "release": release_id or "",
        "version": "",
        "since": "",
        "previous": site.previous_release(),
        "state": "",
        "managed": False,
        "healthy": False,
        "detail": "",
        "processes": "",
        "problems": "",
        "unfinished": {},
        "maintenance": maintenance.describe(maintenance.read(site)),
    }
    if slot is None:
        return report | {"detail": "nothing is live yet", "unfinished": abort(site, check_mode=True)["removed"]}
    changed = datetime.fromtimestamp(os.lstat(site.live).st_mtime, tz=UTC)
    report["since"] = changed.strftime("%Y-%m-%dT%H:%M:%SZ")
    manifest = site.manifest(release_id or "")
    if not manifest:
        return report | {"detail": f"slot {slot} has no complete release"}
    report["version"] = version(manifest)
    try:
        info = Supervisor().info(f"{site.name}-{slot}")
        report["managed"] = info is not None
        report["state"] = info["statename"] if info else "absent"
        report["unfinished"] = abort(site, check_mode=True)["removed"]
        report |= processes.status(site, manifest)
    except SupervisorError as error:
        return report | {"state": "no supervisord", "detail": str(error)}
    report["healthy"], report["detail"] = health.healthy(site, slot, manifest, timeout=timeout)
    return report
