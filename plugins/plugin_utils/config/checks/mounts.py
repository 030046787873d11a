"""A site below a path of a name: it shares the server block of the site that has path /."""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from typing import Any

from ansible_collections.wsgi.sites.plugins.plugin_utils.config.checks.values import items
from ansible_collections.wsgi.sites.plugins.plugin_utils.config.reading import Reading

# Keys of a whole server block, which the site with path / sets.
SERVER_KEYS = (
    "trusted_balancers", "proxy_protocol", "https_port", "canonical_name", "tls.mode", "tls.redirect", "tls.client_ca",
    "tls.client_verify",
)  # fmt: skip


def check_mount(config: Reading, name: str, site: Mapping[str, Any], present: Mapping[str, dict[str, Any]]) -> None:
    """A site below a path has its names to itself, or shares all of them with one that has path /."""
    own = set(items(site["server_names"]))
    sharing = {
        other: entry
        for other, entry in present.items()
        if other != name and entry["http_port"] == site["http_port"] and own & set(items(entry["server_names"]))
    }
    owner = next((other for other, entry in sharing.items() if entry["path"] == "/"), None)
    if owner is None:
        if sharing:
            others = ", ".join(sharing)
            config.report(f"{name}.path", f"shares a name with {others}; one of the sites of a name needs path /")
        return
    top = sharing[owner]
    if not own <= set(items(top["server_names"])):
        config.report(
            f"{name}.server_names", f"are not all names of {owner}, which has path / there; share all or none"
        )
    for key in SERVER_KEYS:
        outer, _, inner = key.partition(".")
        mine, its = (each[outer].get(inner) if inner else each[outer] for each in (site, top))
        if mine != its:
            config.report(f"{name}.{key}", f"differs from that of {owner}, which has path / there; set the same here")
    for place, words in (*_access(name, site, owner, top), *_paths(name, site, owner, top)):
        config.report(place, words)


def _access(name: str, site: Mapping[str, Any], owner: str, top: Mapping[str, Any]) -> Iterator[tuple[str, str]]:
    """To nginx, allow and deny are one list: a site that sets one of them sets both."""
    locations = site["locations"] if isinstance(site["locations"], Mapping) else {}
    places = {name: {key: site[key] for key in ("allow", "deny") if site[key]}}
    places |= {f"{name}.locations.{path}": keys for path, keys in locations.items() if isinstance(keys, Mapping)}
    for place, keys in places.items():
        for given, other in (("deny", "allow"), ("allow", "deny")):
            if given in keys and other not in keys and not site[other] and top[other]:
                yield (
                    f"{place}.{other}",
                    f"of {owner} does not apply where {given} is set again; set it here too",
                )


def _paths(name: str, site: Mapping[str, Any], owner: str, top: Mapping[str, Any]) -> Iterator[tuple[str, str]]:
    """Each path is set by the site that it belongs to."""
    locations = site["locations"] if isinstance(site["locations"], Mapping) else {}
    for path, keys in locations.items():
        if isinstance(keys, Mapping) and "client_verify" in keys and site["tls"].get("client_ca"):
            yield f"{name}.locations.{path}.client_verify", f"is a key of {owner}, which has path / there; set it there"
    for key in ("aliases", "locations", "redirects"):
        for path in top[key] if isinstance(top[key], Mapping) else ():
            if f"{path}/".startswith(f"{site['path']}/"):
                yield f"{owner}.{key}.{path}", f"is below the path of {name}; set it there"
