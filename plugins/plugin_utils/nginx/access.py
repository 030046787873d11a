"""Access control and rate limits, from allow, deny, basic_auth, limits and `locations`."""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from typing import Any

from ansible_collections.wsgi.sites.plugins.plugin_utils.nginx.syntax import Pair, Site, by_name, mount, pattern, zone

# The keys of a path that restrict access to it.
RESTRICTIONS = {"allow", "deny", "basic_auth", "limits", "client_verify"}


def access(site: Site, client_connections: int) -> dict[str, Any]:
    """The access restrictions of the whole site.

    ``access`` are directives of its server block; ``limit_zones`` those outside of it, and ``unlimited`` the patterns
    of paths that do not count, or nothing if the site has no limits. ``traversal`` is the variable set for requests
    whose path leads through ``..``, empty if no path has restrictions of its own.
    """
    restricted = any(RESTRICTIONS & keys.keys() for keys in site["locations"].values())
    return {
        "access": restrictions(site, {key: value for key, value in site.items() if value}, client_connections),
        "limit_zones": list(limit_zones(site)),
        "unlimited": unlimited(site),
        "traversal": f"$sites_astray__{site['name']}" if restricted else "",
    }


def restrictions(site: Site, keys: Mapping[str, Any], client_connections: int, path: str = "") -> list[Pair]:
    """The directives of the site (``path`` is empty), or those of a path, which replace them."""
    pairs: list[Pair] = []
    if "allow" in keys or "deny" in keys:
        allowed = keys.get("allow", site["allow"])
        pairs += [("deny", address) for address in keys.get("deny", site["deny"])]
        pairs += [("allow", address) for address in allowed]
        pairs.append(("deny" if allowed else "allow", "all"))
    if keys.get("basic_auth"):
        pairs.append(("auth_basic", f'"{site["server_names"][0]}"'))
        pairs.append(("auth_basic_user_file", password_file(site, path)))
    elif "basic_auth" in keys:
        pairs.append(("auth_basic", "off"))
    limits = keys.get("limits", {})
    if limits.get("requests"):
        burst = limits.get("burst", site["limits"]["burst"])
        pairs.append(("limit_req", f"zone=requests_{zone(site, path)}" + (f" burst={burst} nodelay" if burst else "")))
    if limits.get("connections"):
        pairs.append(("limit_conn", f"connections_{zone(site, path)} {limits['connections']}"))
        # Repeated, since the path's own limit replaces that of the host.
        if client_connections:
            pairs.append(("limit_conn", f"clients {client_connections}"))
    return pairs


def limit_zones(site: Site) -> Iterator[Pair]:
    """The shared memory zones of these limits."""
    counted = [("", site["limits"], f"$sites_counted__{site['name']}")]
    counted += [(path, keys.get("limits", {}), "$sites_client") for path, keys in by_name(site["locations"])]
    for path, limits, client in counted:
        if limits.get("requests"):
            yield "limit_req_zone", f"{client} zone=requests_{zone(site, path)}:10m rate={limits['requests']}"
        if limits.get("connections"):
            yield "limit_conn_zone", f"{client} zone=connections_{zone(site, path)}:10m"


def unlimited(site: Site) -> list[str] | None:
    """Patterns that the site's limits do not count: files, and paths with empty limits. None without limits."""
    if not (site["limits"]["requests"] or site["limits"]["connections"]):
        return None
    free = [f"{prefix.rstrip('/')}/" for prefix in sorted(site["aliases"])]
    free += [path for path, keys in by_name(site["locations"]) if "limits" in keys and not keys["limits"]]
    return [pattern(mount(site), path) for path in free]


def passwords(site: Site) -> dict[str, Mapping[str, str]]:
    """The files of users and password hashes: the site's, and those of its paths."""
    places = {"": site, **site["locations"]}
    return {password_file(site, path): keys["basic_auth"] for path, keys in places.items() if keys.get("basic_auth")}


def password_file(site: Site, path: str) -> str:
    """The file with the users of the site or a path."""
    return f"/etc/{site['name']}/htpasswd{path.replace(':', '%3A').replace('/', ':')}"
