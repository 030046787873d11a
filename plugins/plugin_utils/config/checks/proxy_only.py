"""A site whose servers are on other hosts."""

from __future__ import annotations

from collections.abc import Mapping
from datetime import UTC, datetime
from typing import Any

from ansible_collections.wsgi.sites.plugins.plugin_utils.config import certificate_files
from ansible_collections.wsgi.sites.plugins.plugin_utils.config.checks.values import items
from ansible_collections.wsgi.sites.plugins.plugin_utils.config.reading import BROKEN, Reading
from ansible_collections.wsgi.sites.plugins.plugin_utils.config.rules.network import is_address

# Keys that only hosts with the site's server need.
BACK_KEYS = (
    "source.path", "source.git", "source.archive", "env", "bind", "gunicorn.certfile", "aliases", "processes", "cron",
    "error_pages", "hooks.before_start", "hooks.after_live",
)  # fmt: skip


def check_proxy_only(config: Reading, name: str, site: dict[str, Any], upstream: Mapping[str, Any]) -> None:
    """A site whose servers are on other hosts has no keys of a server."""
    for dotted in BACK_KEYS:
        outer, _, inner = dotted.partition(".")
        holder = site[outer]
        value = holder.get(inner) if inner and isinstance(holder, Mapping) else None if inner else holder
        if value and value is not BROKEN:
            config.report(
                f"{name}.{dotted}", "is a key for the hosts that run the server; leave out it or upstream.servers"
            )
    servers = items(upstream["servers"])
    for number, given in enumerate(servers):
        if given in servers[:number]:
            config.report(f"{name}.upstream.servers[{number}]", "is there twice; leave one out")
    if upstream.get("tls") is not True:
        return
    first = next(iter(items(site["server_names"])), "")
    if not upstream.get("name") and (first.startswith("*.") or is_address(first)):
        words = "is missing; the first of server_names is no host name to verify a certificate by"
        config.report(f"{name}.upstream.name", words)
    if not isinstance(upstream.get("ca"), str):
        return
    if not upstream["ca"]:
        config.report(
            f"{name}.upstream.ca",
            "is missing; give the PEM file with the CA certificates of the servers (or tls: false)",
        )
        return
    try:
        text = certificate_files.text_of("ca", upstream["ca"], config.loader.get_text_file_contents)
        found = certificate_files.certificates_in("ca", text)
    except certificate_files.PairError as error:
        config.report(f"{name}.upstream.ca", error.words)
        return
    if all(each.not_valid_after_utc <= datetime.now(UTC) for each in found):
        config.report(f"{name}.upstream.ca", "has expired; give the authority of the servers' present certificates")
