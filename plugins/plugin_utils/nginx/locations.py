"""Locations that pass requests to the app or redirect them, from `locations` and `redirects`."""

from __future__ import annotations

import re
from collections.abc import Mapping
from typing import Any

from ansible_collections.wsgi.sites.plugins.plugin_utils.nginx.access import restrictions
from ansible_collections.wsgi.sites.plugins.plugin_utils.nginx.cache import cache_directives
from ansible_collections.wsgi.sites.plugins.plugin_utils.nginx.syntax import (
    Pair,
    Site,
    by_name,
    location,
    mount,
    pattern,
)
from ansible_collections.wsgi.sites.plugins.plugin_utils.nginx.upstream import speaks_uwsgi

# Seconds for which a WebSocket, or another stream, may be silent.
STREAM_TIMEOUT = 3600


def locations(site: Site, client_connections: int) -> dict[str, Any]:
    """``redirects`` and ``paths`` in their order, each with its ``location``; ``streams``, the patterns of WebSockets.

    A path has its ``directives`` and whether it is a ``stream``; ``root_directives`` are those of the location for all
    that no other takes.
    """
    below = mount(site)
    return {
        "redirects": [redirect(below, path, target) for path, target in by_name(site["redirects"])],
        "paths": [
            {
                "location": location(below, path),
                "directives": path_directives(site, path, keys, client_connections),
                "stream": bool(keys.get("stream")),
            }
            for path, keys in by_name(site["locations"])
            if path not in site["aliases"]
        ],
        "root_directives": cache_directives(site, {}),
        "streams": [pattern(below, path) for path, keys in by_name(site["locations"]) if keys.get("stream")],
    }


def redirect(mount: str, path: str, target: str) -> dict[str, str]:
    """One redirect; if path and target end in a slash, the rest of the path is kept by the arguments ``rewrite``."""
    target = (mount if target.startswith("/") else "") + target
    rewrite = ""
    if path.endswith("/") and target.endswith("/"):
        # Not to a target that begins with two slashes or backslashes, which browsers treat as another host.
        rewrite = rf"^{re.escape(mount + path)}(?![/\x5C])(.*)$ {target}$1"
    return {"location": location(mount, path), "rewrite": rewrite, "target": target}


def path_directives(site: Site, path: str, keys: Mapping[str, Any], client_connections: int) -> list[Pair]:
    """What a path of ``locations`` changes."""
    pairs: list[Pair] = []
    if "client_max_body_size" in keys:
        pairs.append(("client_max_body_size", keys["client_max_body_size"]))
    pairs += restrictions(site, keys, client_connections, path)
    pairs += cache_directives(site, keys)
    if keys.get("stream"):
        pairs.append(("proxy_buffering", "off"))
    if keys.get("stream") or "proxy_timeout" in keys:
        seconds = keys.get("proxy_timeout", STREAM_TIMEOUT)
        pairs += [("proxy_send_timeout", f"{seconds}s"), ("proxy_read_timeout", f"{seconds}s")]
        # Streams use HTTP.
        if speaks_uwsgi(site) and not keys.get("stream"):
            pairs += [("uwsgi_send_timeout", f"{seconds}s"), ("uwsgi_read_timeout", f"{seconds}s")]
    return pairs
