"""The sites that the collection has set up on this host."""

from __future__ import annotations

import contextlib
import json
import pwd
from pathlib import Path

from ansible_collections.wsgi.sites.plugins.module_utils.site import paths
from ansible_collections.wsgi.sites.plugins.module_utils.site.paths import Layout

# The key, named before 1.0, of a record with the servers of a site that has only nginx on this host.
PROXY_ONLY = "front"


def recorded(name: str) -> dict:
    """The host's record of a site; empty if there is none."""
    try:
        return json.loads((paths.REGISTRY / f"{name}.json").read_text(encoding="utf-8"))
    except (OSError, ValueError):
        return {}


def recorded_accounts() -> dict[int, tuple[str, pwd.struct_passwd]]:
    """The users of all sites whose server runs on this host: user ID → the site's name, the account."""
    found = {}
    for path in sorted(paths.REGISTRY.glob("*.json")):
        with contextlib.suppress(KeyError):  # not created yet, or removed
            account = pwd.getpwnam(recorded(path.stem).get("user", ""))
            found[account.pw_uid] = (path.stem, account)
    return {uid: its for uid, its in found.items() if uid != 0}


def recorded_proxy_only() -> dict[str, dict]:
    """Every site whose servers are on other hosts, by name, with these servers."""
    records = {path.stem: recorded(path.stem) for path in sorted(paths.REGISTRY.glob("*.json"))}
    return {name: record[PROXY_ONLY] for name, record in records.items() if record.get(PROXY_ONLY)}


def recorded_sites() -> list[Layout]:
    """Every site whose server runs on this host."""
    names = sorted(path.stem for path in paths.REGISTRY.glob("*.json"))
    records = (recorded(name) for name in names)
    return [Layout(record["name"], Path(record["root"])) for record in records if record.get("root")]
