"""Client certificates, from tls.client_ca, tls.client_verify and `client_verify` of locations."""

from __future__ import annotations

from typing import Any

from ansible_collections.wsgi.sites.plugins.plugin_utils.nginx.listeners import by_address
from ansible_collections.wsgi.sites.plugins.plugin_utils.nginx.syntax import Site, mount, pattern


def client_certificates(site: Site) -> dict[str, Any]:
    """Which clients need a certificate; nginx itself can only ask for one in a whole server.

    ``verify`` is the value of ``ssl_verify_client``, or empty. Where paths differ, ``client_verify`` has the site's
    ``default``, the ``pattern`` and ``wants`` of ``paths``, the most special first, and the variable ``missing``, set
    for requests that lack a certificate. ``misdirected`` is the variable set for requests whose certificate was perhaps
    verified for another site, empty if there are none.
    """
    tls = site["tls"]
    if not tls["client_ca"]:
        return {"verify": "", "client_verify": None, "misdirected": ""}
    # Without SNI, or with an unknown name, only a site with addresses lets clients in, by authorities of its own.
    misdirected = "" if by_address(site) else f"$sites_misdirected__{site['name']}"
    special = {path: keys["client_verify"] for path, keys in site["locations"].items() if "client_verify" in keys}
    if not special:
        verify = "on" if tls["client_verify"] == "required" else "optional"
        return {"verify": verify, "client_verify": None, "misdirected": misdirected}
    # In nginx's order of locations: exact paths first, then the longest prefix.
    order = sorted(special, key=lambda path: (path.endswith("/"), -len(path), path))
    return {
        "verify": "optional",
        "misdirected": misdirected,
        "client_verify": {
            "default": tls["client_verify"],
            "paths": [{"pattern": pattern(mount(site), path), "wants": special[path]} for path in order],
            "missing": f"$sites_uncertified__{site['name']}",
        },
    }
