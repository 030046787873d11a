"""Paths: of URLs, in the source and on a host."""

from __future__ import annotations

import re

from ansible_collections.wsgi.sites.plugins.plugin_utils.config.rules.basic import (
    pattern,
)

# A path as browsers send it, decoded; no sign of nginx's own language in it.
PATH = r"/([A-Za-z0-9._~@:,+-]+/)*[A-Za-z0-9._~@:,+-]*"
# Stands in quotes in Python's language.
HOST_PATH = pattern(r"/[^\s\"\\]+", "give an absolute path on the host")


def redirect_target(value: str) -> str | None:
    """A path of this site, or a URL; the query is the client's."""
    plain = re.fullmatch(r"(https?://[A-Za-z0-9.:\[\]-]+)?(/(?!/)[A-Za-z0-9._~%@:,+/-]*)?", str(value))
    return None if value and plain else "give a path such as /new, or an http or https URL, without ? and #"


def inside(value: str) -> str | None:
    """A relative path that stays where it is."""
    parts = str(value).split("/")
    return "give a path below the source, without .." if str(value).startswith("/") or ".." in parts else None


def site_root(value: str) -> str | None:
    """A directory of the site's own, at least two levels deep."""
    if not re.fullmatch(r"(/[A-Za-z0-9._-]+){2,}", str(value)) or {".", ".."} & set(str(value).split("/")):
        return "give an absolute path of plain letters, at least two levels deep, such as /srv/SITE"
    system = r"/(etc|dev|proc|sys|run|boot|bin|sbin|lib\w*|tmp|usr/(?!local/)\w+|var/(lib|log|cache|spool))(/.*)?"
    return "is a place of the system; use one below /srv" if re.fullmatch(system, str(value)) else None
