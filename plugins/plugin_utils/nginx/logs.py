"""The access log's format, from mask_paths."""

from __future__ import annotations

import re
from typing import Any

from ansible_collections.wsgi.sites.plugins.plugin_utils.nginx.syntax import Site, mount


def logs(site: Site, log_format: str) -> dict[str, Any]:
    """``log`` names the format; ``log_format`` is its text if it is the site's own, and ``masks`` its patterns."""
    masks = [re.escape(mount(site) + path) for path in site["mask_paths"]]
    return {
        "masks": masks,
        "log": site["name"] if masks else "sites",
        "log_format": masked(log_format.strip(), site["name"]) if masks else "",
    }


def masked(log_format: str, name: str) -> str:
    """The host's format, with the variables that have a site's masks."""
    return log_format.replace('$request"', f'$sites_request__{name}"').replace(
        "$http_referer", f"$sites_referer__{name}"
    )
