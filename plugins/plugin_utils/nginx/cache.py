"""Caching of responses, from micro_cache of the site and its locations."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

from ansible_collections.wsgi.sites.plugins.plugin_utils.nginx.listeners import client_scheme
from ansible_collections.wsgi.sites.plugins.plugin_utils.nginx.syntax import Pair, Site

# The cases in which nginx serves an expired response.
STALE_WHEN = "error timeout invalid_header updating http_500 http_502 http_503 http_504"


def settings_at(site: Site, keys: Mapping[str, Any]) -> dict[str, Any]:
    """The cache's settings at a path with these keys."""
    return {**site["micro_cache"], **keys.get("micro_cache", {})}


def cached_seconds(site: Site) -> list[int]:
    """The distinct caching times in seconds."""
    places = [{}, *site["locations"].values()]
    return sorted({settings_at(site, keys)["seconds"] for keys in places if not keys.get("stream")} - {0})


def micro_cache(site: Site) -> dict[str, Any] | None:
    """The site's cache, or an empty value.

    ``zone``, ``path``, ``size`` and ``key``; ``inactive``, the seconds after which an unused response goes; ``bypass``,
    the variable set for clients that get responses of their own; ``uncacheable``, for each time a ``variable`` and the
    pattern of responses that are ``cacheable`` for so long.
    """
    times, name = cached_seconds(site), site["name"]
    if not times:
        return None
    stale = max(settings_at(site, keys)["stale"] for keys in [{}, *site["locations"].values()])
    # The release, so that a switch invalidates old responses; it is unknown for remote servers.
    release = "" if site["remote"] else "$realpath_root "
    return {
        "zone": f"micro_{name}",
        "path": cache_folder(site),
        "size": site["micro_cache"]["size"],
        "inactive": times[-1] + stale,
        "key": f"{release}{client_scheme(site)}://$host$sites_port$request_uri",
        "bypass": f"$sites_known__{name}",
        "uncacheable": [{"variable": uncacheable(name, each), "cacheable": cacheable(each)} for each in times],
    }


def cache_folder(site: Site) -> str:
    """Where nginx keeps cached responses of the site."""
    return f"/var/cache/nginx-{site['name']}"


def uncacheable(name: str, seconds: int) -> str:
    """The variable set for a response that may not be cached for so long."""
    return f"$sites_unkept_{seconds}__{name}"


def cacheable(seconds: int) -> str:
    """The pattern of a response's length, Expires and Cache-Control, if it may be cached for so long.

    It must have a length below 1 MB, so that streams and large responses are not cached.
    """
    words = "private|no-store|no-cache|must-revalidate|proxy-revalidate"
    refused = rf"(?:{words}|(?:max-age|s-maxage)=\W?0*(?:{below(seconds)})(?![0-9]))"
    return rf"~*^[0-9]{{1,6}};(?:;|[^;]+;(?=.*max-age=))(?!.*{refused})"


def below(limit: int) -> str:
    """A pattern of the numbers below a limit."""
    digits = str(limit)
    found = [f"[0-9]{{0,{len(digits) - 1}}}"]
    for place, digit in enumerate(digits):
        lowest = 0 if place else 1
        if int(digit) > lowest:
            found.append(f"{digits[:place]}[{lowest}-{int(digit) - 1}][0-9]{{{len(digits) - place - 1}}}")
    return "|".join(found)


def cache_directives(site: Site, keys: Mapping[str, Any]) -> list[Pair]:
    """How a location with these keys caches responses, if it does."""
    settings, name = settings_at(site, keys), site["name"]
    if not settings["seconds"] or keys.get("stream"):
        return []
    # Serves nothing; the name of the live release comes from it.
    root = [] if site["remote"] else [("root", f"{site['root']}/live/release")]
    return [
        *root,
        ("proxy_cache", f"micro_{name}"),
        ("proxy_cache_valid", f"200 301 302 404 {settings['seconds']}s"),
        ("proxy_no_cache", f"$sites_known__{name} {uncacheable(name, settings['seconds'])}"),
        ("proxy_cache_use_stale", STALE_WHEN if settings["stale"] else "off"),
        ("proxy_cache_background_update", "on" if settings["stale"] else "off"),
        ("proxy_cache_lock", "on" if settings["wait"] else "off"),
        ("proxy_cache_lock_timeout", f"{settings['wait']}s"),
        ("proxy_cache_lock_age", f"{max(settings['wait'], 5)}s"),
    ]
