"""nginx's own error pages and maintenance, from error_pages, `path` and tls.mode."""

from __future__ import annotations

import re
from typing import Any

from ansible_collections.wsgi.sites.plugins.plugin_utils.nginx.syntax import Site, mount

# The internal path, below the site's path, of nginx's error pages. Clients cannot request it.
ERRORS = "/.sites-errors"
# The status codes of errors that nginx itself sends to clients.
ERROR_CODES = (400, 401, 403, 404, 405, 413, 414, 421, 429, 500, 501, 502, 503, 504, 505, 507)
ACME_CHALLENGE = r"/\.well-known/acme-challenge/"


def errors(site: Site) -> dict[str, Any]:
    """``errors`` is the path of nginx's own errors, ``error_codes`` which these are.

    ``error_pages`` is the folder with the site's own pages, empty if it has none; ``mount_pattern`` and
    ``errors_pattern`` are the site's path and ``errors`` as patterns; ``during_maintenance`` the patterns of paths that
    everybody reaches during maintenance.
    """
    folder, own = site["error_pages"].rstrip("/"), re.escape(f"{mount(site)}{ERRORS}/")
    return {
        "errors": f"{mount(site)}{ERRORS}",
        "error_codes": list(ERROR_CODES),
        "error_pages": f"{site['root']}/live/public/{folder}" if folder else "",
        "mount_pattern": re.escape(mount(site)),
        "errors_pattern": own,
        "during_maintenance": [own, *([ACME_CHALLENGE] if site["tls"]["mode"] == "acme" else [])],
    }
