"""Collects all values that a site's templates get as `nginx`."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any

from ansible_collections.wsgi.sites.plugins.plugin_utils.nginx.access import access
from ansible_collections.wsgi.sites.plugins.plugin_utils.nginx.cache import micro_cache
from ansible_collections.wsgi.sites.plugins.plugin_utils.nginx.errors import errors
from ansible_collections.wsgi.sites.plugins.plugin_utils.nginx.files import files
from ansible_collections.wsgi.sites.plugins.plugin_utils.nginx.headers import response_headers
from ansible_collections.wsgi.sites.plugins.plugin_utils.nginx.listeners import (
    balanced,
    client_scheme,
    listeners,
    names,
)
from ansible_collections.wsgi.sites.plugins.plugin_utils.nginx.locations import locations
from ansible_collections.wsgi.sites.plugins.plugin_utils.nginx.logs import logs
from ansible_collections.wsgi.sites.plugins.plugin_utils.nginx.static import static
from ansible_collections.wsgi.sites.plugins.plugin_utils.nginx.syntax import Site, mount
from ansible_collections.wsgi.sites.plugins.plugin_utils.nginx.tls import client_certificates
from ansible_collections.wsgi.sites.plugins.plugin_utils.nginx.upstream import backend


@dataclass(frozen=True)
class Host:
    """Host values that a site's files depend on."""

    version: str
    ipv6: bool
    client_connections: int = 0
    log_format: str = ""
    brotli: bool = False


def settings(site: Site, host: Host, owner: str = "") -> dict[str, Any]:
    """The values of all modules of this package, each described where it is made, and four of their own.

    ``mount`` is the site's path without its last slash, ``root`` the path of the location for all that no other takes;
    ``client_scheme`` is the variable with the client's scheme, and ``balancer`` is true if a balancer reports it.
    """
    return {
        "mount": mount(site),
        "root": f"{mount(site)}/",
        "balancer": balanced(site),
        "client_scheme": client_scheme(site),
        **names(site),
        **listeners(site, host.version, host.ipv6),
        **client_certificates(site),
        **backend(site),
        **response_headers(site, host.version),
        **access(site, host.client_connections),
        "cache": micro_cache(site),
        **static(site, host.client_connections, host.brotli),
        **locations(site, host.client_connections),
        **errors(site),
        **logs(site, host.log_format),
        **files(site, owner),
    }
