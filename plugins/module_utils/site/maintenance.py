"""Maintenance of a site: turned on by a file on the host, which nginx checks for at each request."""

from __future__ import annotations

import json
import os
import stat
from datetime import UTC, datetime
from pathlib import Path

from ansible_collections.wsgi.sites.plugins.module_utils.releases.deployment import StepError
from ansible_collections.wsgi.sites.plugins.module_utils.runtime import history
from ansible_collections.wsgi.sites.plugins.module_utils.site.paths import Layout, write_file
from ansible_collections.wsgi.sites.plugins.module_utils.system import trees

NGINX = Path("/etc/nginx")
# The text in a server block that checks for the file.
CHECK = "/maintenance/$sites_maintenance"


def read(site: Layout) -> dict[str, str]:
    """Read since, by and reason of maintenance; empty if it is off. A bare `touch` of the file turns it on too."""
    try:
        time = datetime.fromtimestamp(site.maintenance.stat().st_mtime, tz=UTC)
        text = site.maintenance.read_text(encoding="utf-8", errors="replace")
    except OSError:
        return {}
    found = {"since": f"{time:%Y-%m-%dT%H:%M:%SZ}", "by": "", "reason": ""}
    try:
        said = json.loads(text)
    except ValueError:
        return found
    return found | {key: str(said[key]) for key in found if key in said} if isinstance(said, dict) else found


def describe(found: dict[str, str]) -> str:
    """The same as text for a table; empty if maintenance is off."""
    if not found:
        return ""
    by, why = (f" by {found['by']}" if found["by"] else ""), (f": {found['reason']}" if found["reason"] else "")
    return f"on since {found['since'][:16].replace('T', ' ')} UTC{by}{why}"


def turn_on(site: Layout, by: str, reason: str, check_mode: bool = False) -> bool:
    """Turn maintenance on, or change its reason; returns whether anything changed.

    :raises StepError: if nginx does not check for the file, so that it would have no effect
    """
    before = read(site)
    if before and reason in ("", before["reason"]):
        return False
    if not is_checked(site):
        raise StepError(
            f"{site.name}: nginx does not check for maintenance; nothing was changed. Its files on this host are of an "
            "older version of the collection, or an override omits the block `maintenance` or `maintenance_check`: run "
            "playbooks/deploy.yml, or correct the override"
        )
    if not check_mode:
        after = {"since": f"{datetime.now(UTC):%Y-%m-%dT%H:%M:%SZ}", "by": by} | before
        trees.make_folder(site.maintenance.parent)
        # Despite the caller's umask: nginx's workers treat a folder without access as empty.
        for folder in (site.maintenance.parent, site.maintenance.parent.parent):
            folder.chmod(stat.S_IMODE(folder.stat().st_mode) | 0o111)
        # nginx only checks that it exists; only root can read the reason.
        write_file(site.maintenance, json.dumps({**after, "reason": reason}) + "\n", 0o600)
        history.append(site, "maintenance-on", "ok", by=by, reason=reason)
    return True


def turn_off(site: Layout, by: str, check_mode: bool = False) -> bool:
    """Turn maintenance off; returns whether anything changed."""
    if not os.path.lexists(site.maintenance):
        return False
    if not check_mode:
        site.maintenance.unlink(missing_ok=True)
        history.append(site, "maintenance-off", "ok", by=by)
    return True


def is_checked(site: Layout) -> bool:
    """Whether nginx's files for the site, and for the site whose server block includes it, check for the file."""
    below = list(NGINX.glob(f"sites-below/*/{site.name}.conf"))
    own = below or [NGINX / f"sites-available/{site.name}.conf"]
    servers = [NGINX / f"sites-available/{each.parent.name}.conf" for each in below] or own
    return all(f"$sites_maintenance__{site.name};" in _text(file) for file in own) and all(
        CHECK in _text(file) for file in servers
    )


def _text(file: Path) -> str:
    try:
        return file.read_text(encoding="utf-8", errors="replace")
    except OSError:
        return ""
