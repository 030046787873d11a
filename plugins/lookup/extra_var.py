"""What the operator says for this one run: extra variables, and no others."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

from ansible.plugins.lookup import LookupBase
from ansible.utils.vars import load_extra_vars

DOCUMENTATION = """
name: extra_var
short_description: What the operator says for this one run
description:
  - The text of an extra variable (C(-e release=ID)), or an empty one. A variable of the inventory may well have such a
    name, and must not stand for a word that somebody says once.
options:
  _terms: {description: Names of variables., required: true}
"""

EXAMPLES = """
- name: Go back to the release that was asked for
  ansible.builtin.debug:
    msg: "{{ lookup('wsgi.sites.extra_var', 'release') or 'previous' }}"
"""

RETURN = """
_raw: {description: Their texts., type: list, elements: str}
"""


class LookupModule(LookupBase):
    """``lookup('wsgi.sites.extra_var', 'release')``."""

    def run(self, terms: list[str], variables: Mapping[str, Any] | None = None, **kwargs: object) -> list[str]:
        """Answer the lookup."""
        given = load_extra_vars(self._loader)
        return [str(given.get(term, "")) for term in terms]
