"""The sites of a host, each with everything that the page says of it."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

from ansible.plugins.lookup import LookupBase

from ansible_collections.wsgi.sites.plugins.plugin_utils.config import site_config

DOCUMENTATION = """
name: site_entries
short_description: The sites of a host, each with everything that the page says of it
description:
  - One entry for each key of C(sites), in the page's order, what the site says over C(site_defaults) over the keys'
    own defaults, with C(name) added, as role C(preflight) has read it before any host answered. It is what role C(site)
    sees as C(site_entry), for tasks that need all sites.
options:
  _terms:
    description:
      - The keys to give of each entry, or all if none is named. What goes to a module must leave out C(env) and
        C(tls.key). C(tls.mode) gives C(tls) with nothing but its C(mode).
  state:
    description: Only sites of this state.
    type: str
    choices: [present, absent]
"""

EXAMPLES = """
- name: Tell which ports the sites want
  ansible.builtin.debug:
    msg: "{{ query('wsgi.sites.site_entries', 'name', 'http_port', state='present') }}"
"""

RETURN = """
_raw:
  description: The entries.
  type: list
  elements: dict
"""


class LookupModule(LookupBase):
    """``query('wsgi.sites.site_entries')``."""

    def run(
        self, terms: list[str], variables: Mapping[str, Any] | None = None, **kwargs: object
    ) -> list[dict[str, Any]]:
        """Answer the lookup."""
        sites = site_config.of_host(variables or {})["sites"]
        entries = [{**entry, "name": name} for name, entry in sites.items()]
        wanted = [entry for entry in entries if kwargs.get("state") in (None, entry["state"])]
        return [part(entry, terms) if terms else entry for entry in wanted]


def part(entry: Mapping[str, Any], keys: list[str]) -> dict[str, Any]:
    """These keys of an entry alone; a dot leads into what a key holds."""
    chosen: dict[str, Any] = {}
    for key in keys:
        outer, _, inner = key.partition(".")
        if inner:
            chosen.setdefault(outer, {})[inner] = entry[outer][inner]
        else:
            chosen[outer] = entry[outer]
    return chosen
