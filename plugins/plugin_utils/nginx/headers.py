"""Headers of every response, from `headers`, tls.hsts, tls.http3 and micro_cache."""

from __future__ import annotations

from typing import Any

from ansible_collections.wsgi.sites.plugins.plugin_utils.nginx.cache import cached_seconds
from ansible_collections.wsgi.sites.plugins.plugin_utils.nginx.listeners import client_scheme, has_http3
from ansible_collections.wsgi.sites.plugins.plugin_utils.nginx.syntax import Site, by_name


def response_headers(site: Site, version: str) -> dict[str, Any]:
    """``headers``: each with ``name`` and ``value``; ``header_maps``: behind those that the app may set itself.

    A map has its ``source``, the source's value ``unset`` with which the header is added, the ``variable``, and the
    header's ``value``.
    """
    headers = [{"name": "X-Request-ID", "value": "$request_id"}]
    if has_http3(site, version):
        headers.append({"name": "Alt-Svc", "value": f"'h3=\":{site['https_port']}\"; ma=86400'"})
    if cached_seconds(site):
        headers.append({"name": "X-Cache", "value": "$upstream_cache_status"})
    configured = dict(site["headers"])
    if site["tls"]["hsts"]:
        configured.setdefault("Strict-Transport-Security", f"max-age={site['tls']['hsts']}")
    maps = []
    for name, value in by_name(configured):
        if not value:
            continue
        word = name.lower().replace("-", "_")
        source, unset = f"$sent_http_{word}", ""
        if word == "strict_transport_security":  # ignored by clients over plain http
            source, unset = f"{client_scheme(site)}:{source}", "https:"
        variable = f"$sites_header_{word}__{site['name']}"
        maps.append({"source": source, "unset": unset, "variable": variable, "value": value})
        headers.append({"name": name, "value": variable})
    return {"headers": headers, "header_maps": maps}
