"""Paths of a site: aliases, locations, redirects and caching."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

from ansible_collections.wsgi.sites.plugins.plugin_utils.config.reading import BROKEN, Reading

# The keys of a path that restrict access.
GUARDS = frozenset({"allow", "deny", "basic_auth", "limits", "client_verify"})


def check_paths(config: Reading, name: str, site: dict[str, Any]) -> None:
    """Each path has one function: alias, location or redirect."""
    aliases, locations, redirects = (
        site[key] if isinstance(site[key], Mapping) else {} for key in ("aliases", "locations", "redirects")
    )
    for path, keys in locations.items():
        place = f"{name}.locations.{path}"
        if path in aliases:
            if useless := sorted(set(keys if isinstance(keys, Mapping) else ()) - GUARDS):
                config.report(place, f"is an alias, which serves files and has no {', '.join(useless)}")
        elif above := next((alias for alias in aliases if alias != "/" and str(path).startswith(alias)), None):
            config.report(place, f"lies below the alias {above}; make it an alias of its own")
    for path, target in redirects.items():
        place = f"{name}.redirects.{path}"
        if path in aliases or path in locations:
            config.report(place, f"is also one of {'aliases' if path in aliases else 'locations'}; keep one of them")
        elif target == path or (
            str(path).endswith("/") and str(target).endswith("/") and str(target).startswith(str(path))
        ):
            config.report(place, "leads to itself; give another address")


def check_micro_cache(config: Reading, name: str, site: dict[str, Any]) -> None:
    """Nginx caches no responses for single clients, and no streams."""
    tls = site["tls"] if isinstance(site["tls"], Mapping) else {}
    locations = site["locations"] if isinstance(site["locations"], Mapping) else {}
    places = {name: site} | {f"{name}.locations.{path}": keys for path, keys in locations.items()}
    for place, keys in places.items():
        cache = keys.get("micro_cache") if isinstance(keys, Mapping) else None
        if not isinstance(cache, Mapping):
            continue
        here = f"{place}.micro_cache"
        if keys is not site and "size" in cache:
            config.report(f"{here}.size", "is a key of the whole site; set it there")
        if cache.get("seconds") in (0, None, BROKEN):
            continue
        if keys.get("stream") is True:
            config.report(here, "caches no stream; leave one of them out")
        if keys.get("basic_auth"):
            config.report(here, "caches nothing behind basic_auth; leave one of them out")
        if tls.get("client_ca") and keys.get("client_verify", tls.get("client_verify")) == "required":
            config.report(here, "caches nothing where client_verify is required; leave it out")
