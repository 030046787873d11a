"""Files that nginx serves itself, from aliases, hashed_names, static_max_age and precompress."""

from __future__ import annotations

import re
from typing import Any

from ansible_collections.wsgi.sites.plugins.plugin_utils.nginx.access import restrictions
from ansible_collections.wsgi.sites.plugins.plugin_utils.nginx.syntax import Site, mount

YEAR = 365 * 24 * 3600


def static(site: Site, client_connections: int, brotli: bool) -> dict[str, Any]:
    """``aliases`` are locations in their order; ``precompressed`` the directives that serve compressed copies of files.

    ``cache_control`` is the map from a file's address to its Cache-Control, or nothing without aliases.
    """
    modules = ["gzip_static", *(["brotli_static"] if brotli else [])]
    return {
        "aliases": [alias(site, prefix, client_connections) for prefix in sorted(site["aliases"])],
        "cache_control": cache_control(site),
        "precompressed": modules if site["precompress"] else [],
    }


def alias(site: Site, prefix: str, client_connections: int) -> dict[str, Any]:
    """One alias: its ``location`` and ``folder``, and the ``directives`` that restrict access.

    ``uploads`` tells that the app can change the files. Then ``safe`` is the part of the folder's path that is root's,
    and ``hidden`` the pattern of hidden files; nothing of a release that is hidden gets published.
    """
    folder = site["aliases"][prefix].rstrip("/")
    uploads = is_shared(folder)
    top = site["root"] if uploads else f"{site['root']}/live/public"
    return {
        # Location and folder end in a slash, or /static../ would reach the folder above.
        "location": f"^~ {place(site, prefix)}",
        "folder": f"{top}/{folder}/",
        "uploads": uploads,
        "hidden": rf"^{re.escape(place(site, prefix))}(?:.*/)?\.",
        # Below it, the app could replace a folder by a link.
        "safe": f"{top}/{'/'.join(folder.split('/')[:2])}/" if uploads else "",
        "directives": restrictions(site, site["locations"].get(prefix, {}), client_connections, prefix),
    }


def cache_control(site: Site) -> dict[str, Any] | None:
    """How long browsers and caches may keep a file.

    ``default`` is for any file; ``immutable`` has a ``pattern`` of addresses and a ``value`` for files that never
    change, since their names carry a hash.
    """
    if not site["aliases"]:
        return None
    hashed = [prefix for prefix, folder in sorted(site["aliases"].items()) if not is_shared(folder)]
    prefixes: dict[str, list[str]] = {}
    for prefix in hashed if site["hashed_names"] else []:
        prefixes.setdefault(audience(site, prefix), []).append(re.escape(place(site, prefix)))
    return {
        "variable": f"$sites_cache_control__{site['name']}",
        "default": f"max-age={site['static_max_age']}",
        "immutable": [
            {
                "pattern": f"~^(?:{'|'.join(places)})(?:{site['hashed_names']})$",
                "value": f"{who}, max-age={YEAR}, immutable",
            }
            for who, places in sorted(prefixes.items())
        ],
    }


def is_shared(folder: str) -> bool:
    """Whether the app writes to a folder."""
    return f"{folder}/".startswith("shared/")


def place(site: Site, prefix: str) -> str:
    """The address of an alias, with a slash at its end."""
    return f"{mount(site)}{prefix.rstrip('/')}/"


def audience(site: Site, prefix: str) -> str:
    """Whether shared caches may store an alias's files: not if access to it is restricted.

    To a site below a path, the restrictions of the site with path / may apply as well.
    """
    own = site["locations"].get(prefix, {})
    restricted = any(own.get(key, site[key]) for key in ("allow", "deny", "basic_auth")) or site["tls"]["client_ca"]
    return "private" if restricted or site["path"] != "/" else "public"
