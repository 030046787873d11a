"""Lookup of a host's sites with their merged settings."""

from __future__ import annotations

DOCUMENTATION = """
name: site_entries
short_description: The sites of a host with their merged settings
description:
  - Returns one entry for each key of C(sites), in the order of the site config, with C(name) added - the site's
    settings over C(site_defaults) over the defaults of the keys, as role C(preflight) has read them before any host
    answered. It is what role C(site) gets as C(site_entry), for tasks that need all sites.
options:
  _terms:
    description:
      - Keys of each entry to return, or all if none is named. Leave out the secrets C(env) and C(tls.key) in what goes
        to a module. C(tls.mode) returns C(tls) with only its C(mode).
  state:
    description: Only sites of this state.
    type: str
    choices: [present, absent]
author: The authors of wsgi.sites (@wsgi)
"""

EXAMPLES = """
- name: List the ports of the sites
  ansible.builtin.debug:
    msg: "{{ query('wsgi.sites.site_entries', 'name', 'http_port', state='present') }}"
"""

RETURN = """
_raw:
  description: The entries.
  type: list
  elements: dict
"""

from collections.abc import Mapping
from typing import Any

from ansible.plugins.lookup import LookupBase

from ansible_collections.wsgi.sites.plugins.plugin_utils.config import site_config


class LookupModule(LookupBase):
    """``query('wsgi.sites.site_entries')``."""

    def run(
        self, terms: list[str], variables: Mapping[str, Any] | None = None, **kwargs: object
    ) -> list[dict[str, Any]]:
        """Answer the lookup."""
        sites = site_config.of_host(variables or {})["sites"]
        wanted = [entry for entry in sites.values() if kwargs.get("state") in (None, entry["state"])]
        return [part(entry, terms) if terms else entry for entry in wanted]


def part(entry: Mapping[str, Any], keys: list[str]) -> dict[str, Any]:
    """Only these keys of an entry; a dot selects a nested key."""
    chosen: dict[str, Any] = {}
    for key in keys:
        outer, _, inner = key.partition(".")
        if inner:
            chosen.setdefault(outer, {})[inner] = entry[outer][inner]
        else:
            chosen[outer] = entry[outer]
    return chosen
