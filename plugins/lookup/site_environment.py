"""Lookup of a site's environment: the operator's values over the generated secrets."""

from __future__ import annotations

DOCUMENTATION = """
name: site_environment
short_description: The environment of a site
description:
  - The secrets that the action C(secrets) stores beside the inventory, and over them the site's C(env).
  - Every value is text. true and false are written in lower case.
  - The result is secret. Pass it only to a module that does not show it.
options:
  _terms:
    description: The site's key, and its C(env).
    required: true
  mask:
    description: Replace the values by stars.
    type: bool
    default: false
  file_of:
    description:
      - The site's merged entry. The result is then the text of a release's environment file, as the build on a host
        writes it, with a placeholder for the release's ID.
    type: dict
author: The authors of wsgi.sites (@wsgi)
"""

EXAMPLES = """
- name: Show the names in the environment of a site
  ansible.builtin.debug:
    msg: "{{ lookup('wsgi.sites.site_environment', site_name, site_entry.env, mask=true) | list }}"
"""

RETURN = """
_raw:
  description: Name to value, or the text of the file.
  type: list
  elements: raw
"""

from collections.abc import Mapping
from pathlib import Path
from typing import Any

from ansible.module_utils.common.text.formatters import human_to_bytes
from ansible.plugins.lookup import LookupBase

from ansible_collections.wsgi.sites.plugins.module_utils.releases.environment import (
    format_environment,
    release_environment,
)
from ansible_collections.wsgi.sites.plugins.plugin_utils.config import environment, site_config

RELEASE = "(the release's ID)"


class LookupModule(LookupBase):
    """``lookup('wsgi.sites.site_environment', site_name, site_entry.env)``."""

    def run(self, terms: list[Any], variables: Mapping[str, Any] | None = None, **kwargs: object) -> list[Any]:
        """Answer the lookup."""
        variables = variables or {}
        site_config.guard(variables)
        self.set_options(var_options=variables, direct=kwargs)
        site, given = str(terms[0]), terms[1] if len(terms) > 1 else {}
        if self.get_option("mask"):
            values = environment.masked(given)
        else:
            check_mode = bool(self._templar.template(variables.get("ansible_check_mode", False)))
            values = environment.values(site, given, variables.get("inventory_dir"), self._loader, check_mode)
        entry = self.get_option("file_of")
        if not entry:
            return [values]
        largest_body = human_to_bytes(str(entry["client_max_body_size"]))
        return [format_environment(release_environment(values, site, RELEASE, Path(entry["root"]), largest_body))]
