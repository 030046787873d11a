"""Values derived from a site's keys when the site config is merged.

======== ==== ==================================================================================================
key      type value
======== ==== ==================================================================================================
`name`   str  its key under `sites`
`https`  bool whether nginx has a certificate for the site: `tls.mode` is not `none`
`scheme` str  `https` or `http`: how clients reach the site
`ports`  list nginx's ports for the site: `http_port`, and `https_port` if it has https
`url`    str  where this host serves it: scheme, canonical or first name, port if it is not the usual one, path and `/`
`public` list folders of the release that nginx reads, relative to it: of `aliases` and `error_pages`; not `shared/…`
`remote` dict the site's servers on other hosts: their addresses, the name and CA of their certificate, the health check
======== ==== ==================================================================================================

They stand in the merged entry beside the site's keys (`site_entry.https`); the operator cannot set them.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping
from contextlib import suppress
from typing import Any

USUAL_PORTS = {"http": 80, "https": 443}


def with_derived(name: str, site: Mapping[str, Any]) -> dict[str, Any]:
    """A merged entry with its derived values; one whose keys could not be read is left out."""
    entry = {**site, "name": name}
    for key, derive in _BY_KEYS.items():
        with suppress(KeyError, IndexError, TypeError, AttributeError):
            entry[key] = derive(entry)
    return entry


def https(site: Mapping[str, Any]) -> bool:
    """Whether nginx has a certificate for the site."""
    return bool(site["tls"]["mode"] != "none")


def scheme(site: Mapping[str, Any]) -> str:
    """How clients reach the site."""
    return "https" if https(site) else "http"


def ports(site: Mapping[str, Any]) -> list[int]:
    """The ports of nginx for the site."""
    return [site["http_port"], site["https_port"]] if https(site) else [site["http_port"]]


def url(site: Mapping[str, Any]) -> str:
    """Where this host serves the site; its path ends in a slash."""
    name, protocol = bracketed(site["canonical_name"] or site["server_names"][0]), scheme(site)
    port = site[f"{protocol}_port"]
    suffix = "" if port == USUAL_PORTS[protocol] else f":{port}"
    return f"{protocol}://{name}{suffix}{site['path'].rstrip('/')}/"


def public(site: Mapping[str, Any]) -> list[str]:
    """The folders of the release that nginx reads."""
    folders = {folder.rstrip("/") for folder in [*site["aliases"].values(), site["error_pages"]]}
    return sorted(folder for folder in folders if folder and not f"{folder}/".startswith("shared/"))


def remote(site: Mapping[str, Any]) -> dict[str, Any]:
    """The site's servers on other hosts; empty if its server is on this one. ``ca`` is empty for plain http."""
    upstream = site["upstream"]
    if not upstream["servers"]:
        return {}
    name = site["server_names"][0]
    health = {key: site["health"][key] for key in ("path", "status", "body")}
    return {
        "servers": upstream["servers"],
        "name": upstream["name"] or name,
        "ca": f"/etc/nginx/upstream-ca/{site['name']}.pem" if upstream["tls"] else "",
        "health": health | {"host": site["health"]["host"] or name, "scheme": scheme(site)},
    }


def bracketed(name: str) -> str:
    """A name as it stands in a URL and a Host header, where IPv6 addresses have brackets."""
    return f"[{name}]" if ":" in name and not name.startswith("[") else name


_BY_KEYS: dict[str, Callable[[Mapping[str, Any]], Any]] = {
    "https": https,
    "scheme": scheme,
    "ports": ports,
    "url": url,
    "public": public,
    "remote": remote,
}
DERIVED = {"name", *_BY_KEYS}
