"""The environment of a site: what was made for it, and what the operator says over that."""

from __future__ import annotations

from collections.abc import Mapping
from pathlib import Path
from typing import Any

import yaml
from ansible.errors import AnsibleError
from ansible.plugins.lookup import LookupBase

from ansible_collections.wsgi.sites.plugins.plugin_utils.config import site_config

DOCUMENTATION = """
name: site_environment
short_description: The environment of a site
description:
  - The secrets that the action C(secrets) keeps beside the inventory, and over them what the page says under C(env).
  - Every value is a text, since that is all that an environment holds. true and false are written in small letters.
  - The result is secret. Hand it only to something that shows nothing.
options:
  _terms:
    description: The site's key on the page, and its C(env).
    required: true
  mask:
    description: Give stars for values, for files that are only to be looked at.
    type: bool
    default: false
"""

EXAMPLES = """
- name: Build the release
  wsgi.sites.release_build:
    environment: "{{ lookup('wsgi.sites.site_environment', site_name, site_entry.env) }}"
"""

RETURN = """
_raw:
  description: Name to value.
  type: list
  elements: dict
"""

FILE = ".secrets.yml"
MASK = "********"


class LookupModule(LookupBase):
    """``lookup('wsgi.sites.site_environment', site_name, site_entry.env)``."""

    def run(
        self, terms: list[Any], variables: Mapping[str, Any] | None = None, **kwargs: object
    ) -> list[dict[str, str]]:
        """Answer the lookup."""
        variables = variables or {}
        site_config.guard(variables)
        self.set_options(var_options=variables, direct=kwargs)
        site, given = str(terms[0]), terms[1] if len(terms) > 1 else {}
        if self.get_option("mask"):
            return [dict.fromkeys(sorted({"SECRET_KEY", *map(str, given)}), MASK)]
        made = {} if "SECRET_KEY" in given else self._made(site, variables)
        return [{str(key): text(value) for key, value in {**made, **dict(given.items())}.items()}]

    def _made(self, site: str, variables: Mapping[str, Any]) -> dict[str, Any]:
        path = Path(str(variables.get("inventory_dir"))) / FILE
        kept: dict[str, Any] = {}
        if path.is_absolute() and path.exists():  # Ansible says "None" for `-i host,`
            try:
                kept = (yaml.safe_load(self._loader.get_text_file_contents(str(path))) or {}).get(site) or {}
            except (AnsibleError, yaml.YAMLError, AttributeError):
                raise AnsibleError(
                    f"{path} cannot be read: it is damaged, or its vault password is missing "
                    "(--vault-password-file, or --ask-vault-pass)."
                ) from None
        if "SECRET_KEY" in kept:
            return kept
        if self._templar.template(variables.get("ansible_check_mode", False)):
            return {"SECRET_KEY": MASK}  # a first run in check mode makes none
        raise AnsibleError(f"There is no SECRET_KEY for {site} yet; run playbooks/preflight.yml, which makes one.")


def text(value: object) -> str:
    """As a program expects it in its environment."""
    return str(value).lower() if isinstance(value, bool) else str(value)
