"""Paths and names of the site config in nginx's syntax."""

from __future__ import annotations

import re
from collections.abc import Mapping
from typing import Any

# A merged entry of the site config, with its name.
Site = Mapping[str, Any]
# A directive and its value.
Pair = tuple[str, str]


def mount(site: Site) -> str:
    """The site's path without its last slash: empty for a site that has all of its names."""
    return str(site["path"]).rstrip("/")


def location(mount: str, path: str) -> str:
    """The argument of ``location`` for a path: itself and all below it if it ends in a slash, else itself alone."""
    return f"{'^~' if path.endswith('/') else '='} {mount}{path}"


def pattern(mount: str, path: str) -> str:
    """The same as a pattern for ``map $uri``; `$` would also match before a trailing %0A."""
    return rf"~^{re.escape(mount + path)}" + ("" if path.endswith("/") else r"\z")


def zone(site: Site, path: str = "") -> str:
    """The end of a shared memory zone's name, for the site or one of its paths; such a name ends at its first colon."""
    return f"{site['name']}{path.replace(':', '%3A')}"


def by_name(entries: Mapping[str, Any]) -> list[tuple[str, Any]]:
    """A mapping's entries in a fixed order, so that their order in the site config does not change the file."""
    return sorted(entries.items(), key=lambda entry: entry[0].lower())
