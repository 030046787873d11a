"""The files of a site below /etc/nginx: their templates, and paths of obsolete ones."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

from ansible_collections.wsgi.sites.plugins.plugin_utils.nginx.access import passwords
from ansible_collections.wsgi.sites.plugins.plugin_utils.nginx.cache import cache_folder, cached_seconds
from ansible_collections.wsgi.sites.plugins.plugin_utils.nginx.syntax import Site
from ansible_collections.wsgi.sites.plugins.plugin_utils.nginx.upstream import speaks_uwsgi

NGINX = "/etc/nginx"
# Without the default server, the only site on a port would get all unknown names; the error pages need the texts.
SHARED = {
    f"{NGINX}/conf.d/unknown-names.conf": "nginx/unknown.conf.j2",
    f"{NGINX}/conf.d/sites-errors.conf": "nginx/errors.conf.j2",
}
SHARED_ACME = {f"{NGINX}/snippets/sites-acme-challenge.conf": "nginx/acme_challenge.conf.j2"}
# The second is shared by all sites, and also has parameters of the uwsgi protocol.
SHARED_UWSGI = {
    f"{NGINX}/snippets/sites-uwsgi-params.conf": "nginx/uwsgi_params.conf.j2",
    f"{NGINX}/snippets/sites-cleared-headers.conf": "nginx/cleared_headers.conf.j2",
}


def files(site: Site, owner: str = "") -> dict[str, Any]:
    """The files of the site.

    ``templates`` has the template of each of its files, ``shared_templates`` those of files that it shares with other
    sites, ``links`` the targets of links, ``passwords`` users and hashes by file, and ``unused_caches`` folders that
    may be there and are not used.

    :param owner: the site whose server block includes this one, if it stands below a path of that one's names
    """
    name, tls = site["name"], site["tls"]
    block, enabled = f"{NGINX}/sites-available/{name}.conf", f"{NGINX}/sites-enabled/{name}.conf"
    templates = {
        f"{NGINX}/sites-http/{name}.conf": "nginx/site_http.conf.j2",
        f"{NGINX}/sites-headers/{name}.conf": "nginx/site_headers.conf.j2",
    }
    if owner:
        templates[f"{NGINX}/sites-below/{owner}/{name}.conf"] = "nginx/site_below.conf.j2"
    else:
        templates[block] = "nginx/site.conf.j2"
    if tls["client_ca"] and not owner:
        templates[f"{NGINX}/client-ca/{name}.pem"] = "nginx/client_ca.pem.j2"
    if site["remote"].get("ca"):
        templates[f"{NGINX}/upstream-ca/{name}.pem"] = "nginx/upstream_ca.pem.j2"
    return {
        "templates": templates,
        "shared_templates": SHARED
        | (SHARED_ACME if tls["mode"] == "acme" else {})
        | (SHARED_UWSGI if speaks_uwsgi(site) else {}),
        "links": {} if owner else {enabled: f"../sites-available/{name}.conf"},
        "passwords": passwords(site),
        "unused_caches": [] if cached_seconds(site) else [cache_folder(site)],
    }


def owner_of(site: Site, others: Mapping[str, Site]) -> str:
    """The present site with path / and this one's name and port, if this one stands below a path; else empty."""
    if site["path"] == "/":
        return ""
    for name, other in others.items():
        whole = other["state"] == "present" and other["path"] == "/" and other["http_port"] == site["http_port"]
        if whole and site["server_names"][0] in other["server_names"]:
            return name
    return ""
