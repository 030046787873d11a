"""``listen``, ``server_name`` and redirects to https, from server_names, canonical_name, ports, tls and balancers."""

from __future__ import annotations

import re
from collections.abc import Iterable
from typing import Any

from ansible.module_utils.compat.version import LooseVersion

from ansible_collections.wsgi.sites.plugins.plugin_utils.config.derived import bracketed
from ansible_collections.wsgi.sites.plugins.plugin_utils.nginx.syntax import Site


def names(site: Site) -> dict[str, Any]:
    """The names of the site's servers.

    ``names`` are all, ``main_names`` those that serve, with ``has_wildcard``; ``other_names`` lead to ``canonical``.
    """
    every = [bracketed(name) for name in site["server_names"]]
    canonical = bracketed(site["canonical_name"])
    main = [canonical] if canonical else every
    return {
        "names": every,
        "canonical": canonical,
        "main_names": main,
        "other_names": [name for name in every if name not in main],
        "has_wildcard": any(name.startswith("*.") for name in main),
    }


def listeners(site: Site, version: str, ipv6: bool) -> dict[str, Any]:
    """The arguments of each ``listen``, by server.

    ``listens`` has ``main``, ``redirect`` (plain http that leads to https) and ``addresses`` (clients without SNI); a
    server without any is not printed. ``http2`` asks for ``http2 on``. ``insecure`` is the variable that is set for
    requests that a balancer got by plain http, empty if those have a server of their own; ``https_url`` is where these
    and the redirect server lead, without the path.
    """
    # HTTP/2 is a directive of its own since 1.25.1.
    http2 = site["https"] and LooseVersion(version) >= LooseVersion("1.25.1")
    proxied = ["proxy_protocol"] if site["proxy_protocol"] else []

    def arguments(port: int, *more: str) -> list[str]:
        places = [str(port), f"[::]:{port}"] if ipv6 else [str(port)]
        return [" ".join([place, *more]) for place in places]

    plain = arguments(site["http_port"], *proxied)
    encrypted = []
    if site["https"]:
        encrypted = arguments(site["https_port"], "ssl", *([] if http2 else ["http2"]), *proxied)
    if has_http3(site, version):
        encrypted += arguments(site["https_port"], "quic")
    redirects = site["https"] and bool(site["tls"]["redirect"])
    # Behind a balancer that terminates TLS, only the main server knows the client's scheme.
    apart = redirects and not balanced(site)
    return {
        "http2": http2,
        "insecure": f"$sites_insecure__{site['name']}" if redirects and not apart else "",
        "https_url": f"https://{bracketed(site['canonical_name']) or '$host'}{https_port(site)}",
        "listens": {
            "redirect": plain if apart else [],
            "main": encrypted if apart else plain + encrypted,
            "addresses": [f"{each} default_server" for each in encrypted] if by_address(site) else [],
        },
    }


def balanced(site: Site) -> bool:
    """Whether an HTTP balancer reports the client's scheme; otherwise the listener determines it."""
    return bool(site["trusted_balancers"]) and not site["proxy_protocol"]


def client_scheme(site: Site) -> str:
    """The variable with the client's scheme."""
    return f"$sites_scheme__{site['name']}" if balanced(site) else "$scheme"


def https_port(site: Site) -> str:
    """The port in a URL for https; behind a balancer the default port, which is the balancer's."""
    return "" if site["https_port"] == 443 or site["trusted_balancers"] else f":{site['https_port']}"


def has_http3(site: Site, version: str) -> bool:
    """Whether the site enables HTTP/3 and this nginx supports it."""
    return site["https"] and bool(site["tls"]["http3"]) and LooseVersion(version) >= LooseVersion("1.25")


def by_address(site: Site) -> bool:
    """Whether an address is among the site's names."""
    return any(re.fullmatch(r"[0-9.]+|.*:.*", each) for each in site["server_names"])


def ports(sites: Iterable[Site], version: str) -> dict[str, list[int]]:
    """The ports of the sites by their use: ``http``, ``https``, ``http3`` and ``proxy_protocol``."""
    sites = list(sites)
    found = {
        "http": {site["http_port"] for site in sites},
        "https": {site["https_port"] for site in sites if site["https"]},
        "http3": {site["https_port"] for site in sites if has_http3(site, version)},
        "proxy_protocol": {port for site in sites if site["proxy_protocol"] for port in site["ports"]},
    }
    return {use: sorted(int(port) for port in numbers) for use, numbers in found.items()}
