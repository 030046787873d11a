"""Lookup of the values that a site's nginx templates print."""

from __future__ import annotations

DOCUMENTATION = """
name: nginx_site
short_description: Values that a site's nginx templates print
description:
  - The templates of role C(nginx) get the result as C(nginx), beside the site's keys in C(site). They only print it.
  - It is computed in C(plugin_utils/nginx/), with one module per part of the server block - C(listeners), C(tls),
    C(upstream), C(headers), C(access), C(cache), C(static), C(locations), C(errors), C(logs) and C(files). Each
    documents its values and the keys that they come from.
options:
  _terms:
    description: The site's merged entry, and the name of the site.
    required: true
  version: {description: The release of nginx., type: str, required: true}
  ipv6: {description: Whether to listen on IPv6 too., type: bool, required: true}
  client_connections: {description: Concurrent requests allowed per client on the host., type: int, default: 0}
  log_format: {description: "The host's format of access.log, for a site that masks it.", type: str, default: ""}
  brotli: {description: Whether nginx can serve files that are compressed by brotli., type: bool, default: false}
author: The authors of wsgi.sites (@wsgi)
"""

EXAMPLES = """
- name: Show where the site listens
  ansible.builtin.debug:
    msg: "{{ lookup('wsgi.sites.nginx_site', site_entry, version='1.26', ipv6=true).listens.main }}"
"""

RETURN = """
_raw:
  description: The values.
  type: list
  elements: dict
"""

from collections.abc import Mapping
from typing import Any

from ansible.plugins.lookup import LookupBase

from ansible_collections.wsgi.sites.plugins.plugin_utils.config import site_config
from ansible_collections.wsgi.sites.plugins.plugin_utils.nginx.files import owner_of
from ansible_collections.wsgi.sites.plugins.plugin_utils.nginx.site import Host, settings


class LookupModule(LookupBase):
    """``lookup('wsgi.sites.nginx_site', site_entry, …)``."""

    def run(self, terms: list[Any], variables: Mapping[str, Any] | None = None, **kwargs: Any) -> list[dict[str, Any]]:
        """Answer the lookup."""
        (entry,) = terms
        others = site_config.of_host(variables or {})["sites"]
        return [settings(entry, Host(**kwargs), owner_of(entry, others))]
