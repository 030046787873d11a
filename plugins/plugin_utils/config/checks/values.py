"""Access to values of a merged entry, without those that could not be read."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

from ansible_collections.wsgi.sites.plugins.plugin_utils.config import derived


def port_keys(site: Mapping[str, Any]) -> list[str]:
    """The keys that say which ports of nginx a site uses."""
    has_https = isinstance(site["tls"], Mapping) and derived.https(site)
    return ["http_port", "https_port"] if has_https else ["http_port"]


def items(value: object) -> list[str]:
    """The texts of a list, without what was already found broken."""
    return [item for item in value if isinstance(item, str)] if isinstance(value, list) else []
