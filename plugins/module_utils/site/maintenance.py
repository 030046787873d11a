"""A site that is shut for maintenance: a file on the host, which nginx looks for at each request."""

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
# What a server block says that looks for it.
LOOKS = "/shut/$sites_shut"


def note(site: Layout) -> dict[str, str]:
    """Since when a site is shut, by whom and why; empty if it is open. Somebody's bare `touch` shuts it as well."""
    try:
        time = datetime.fromtimestamp(site.shut.stat().st_mtime, tz=UTC)
        text = site.shut.read_text(encoding="utf-8", errors="replace")
    except OSError:
        return {}
    found = {"since": f"{time:%Y-%m-%dT%H:%M:%SZ}", "by": "", "reason": ""}
    try:
        said = json.loads(text)
    except ValueError:
        return found
    return found | {key: str(said[key]) for key in found if key in said} if isinstance(said, dict) else found


def words(found: dict[str, str]) -> str:
    """The same for a table; empty if it is open."""
    if not found:
        return ""
    by, why = (f" by {found['by']}" if found["by"] else ""), (f": {found['reason']}" if found["reason"] else "")
    return f"shut since {found['since'][:16].replace('T', ' ')} UTC{by}{why}"


def shut(site: Layout, by: str, reason: str, check_mode: bool = False) -> bool:
    """Shut it, or give another reason; whether that changes anything.

    :raises StepError: where nginx would not look, so that the site would stay open
    """
    before = note(site)
    if before and reason in ("", before["reason"]):
        return False
    if not looked_for(site):
        raise StepError(
            f"{site.name}: nginx does not look whether it is shut; nothing was changed. Its files on this host are of "
            "an older bundle, or an override leaves out the blocks `shut` or `shut_out`: run playbooks/deploy.yml, or "
            "mend the override"
        )
    if not check_mode:
        after = {"since": f"{datetime.now(UTC):%Y-%m-%dT%H:%M:%SZ}", "by": by} | before
        trees.make_folder(site.shut.parent)
        # Whatever the umask of who calls: nginx's workers would take what they may not look into for empty.
        for folder in (site.shut.parent, site.shut.parent.parent):
            folder.chmod(stat.S_IMODE(folder.stat().st_mode) | 0o111)
        # nginx only looks whether it is there; why is for who runs the site.
        write_file(site.shut, json.dumps({**after, "reason": reason}) + "\n", 0o600)
        history.append(site, "shut", "ok", by=by, reason=reason)
    return True


def reopen(site: Layout, by: str, check_mode: bool = False) -> bool:
    """Open it again; whether that changes anything."""
    if not os.path.lexists(site.shut):
        return False
    if not check_mode:
        site.shut.unlink(missing_ok=True)
        history.append(site, "open", "ok", by=by)
    return True


def looked_for(site: Layout) -> bool:
    """Whether nginx's files for the site, and for the one whose server block it stands in, look for the file."""
    below = list(NGINX.glob(f"sites-below/*/{site.name}.conf"))
    own = below or [NGINX / f"sites-available/{site.name}.conf"]
    servers = [NGINX / f"sites-available/{each.parent.name}.conf" for each in below] or own
    return all(f"$sites_shut__{site.name};" in _text(file) for file in own) and all(
        LOOKS in _text(file) for file in servers
    )


def _text(file: Path) -> str:
    try:
        return file.read_text(encoding="utf-8", errors="replace")
    except OSError:
        return ""
