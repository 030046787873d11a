"""Lookup of the ports that nginx uses for a host's sites."""

from __future__ import annotations

DOCUMENTATION = """
name: nginx_ports
short_description: The ports that nginx uses for a host's sites
description:
  - Of all sites that are to be present on the host, each port once, in order.
options:
  version: {description: "The release of nginx, which may have no HTTP/3.", type: str, required: true}
author: The authors of wsgi.sites (@wsgi)
"""

EXAMPLES = """
- name: Show the ports for https
  ansible.builtin.debug:
    msg: "{{ lookup('wsgi.sites.nginx_ports', version='1.26').https }}"
"""

RETURN = """
_raw:
  description: Lists of ports by their use, C(http), C(https), C(http3) and C(proxy_protocol).
  type: list
  elements: dict
"""

from collections.abc import Mapping
from typing import Any

from ansible.plugins.lookup import LookupBase

from ansible_collections.wsgi.sites.plugins.plugin_utils.config import site_config
from ansible_collections.wsgi.sites.plugins.plugin_utils.nginx.listeners import ports


class LookupModule(LookupBase):
    """``lookup('wsgi.sites.nginx_ports', version=…)``."""

    def run(
        self, terms: list[Any], variables: Mapping[str, Any] | None = None, **kwargs: Any
    ) -> list[dict[str, list[int]]]:
        """Answer the lookup."""
        sites = site_config.of_host(variables or {})["sites"].values()
        return [ports((site for site in sites if site["state"] == "present"), kwargs["version"])]
