"""Lookup of extra variables (`-e`), ignoring other variables of that name."""

from __future__ import annotations

DOCUMENTATION = """
name: extra_var
short_description: Value of an extra variable
description:
  - Returns the text of an extra variable (C(-e release=ID)), or an empty text. A variable of the inventory with the
    same name is ignored, since it is no request for this run.
options:
  _terms: {description: Names of variables., required: true}
author: The authors of wsgi.sites (@wsgi)
"""

EXAMPLES = """
- name: Show the requested release
  ansible.builtin.debug:
    msg: "{{ lookup('wsgi.sites.extra_var', 'release') or 'previous' }}"
"""

RETURN = """
_raw: {description: Their texts., type: list, elements: str}
"""

from collections.abc import Mapping
from typing import Any

from ansible.plugins.lookup import LookupBase
from ansible.utils.vars import load_extra_vars


class LookupModule(LookupBase):
    """``lookup('wsgi.sites.extra_var', 'release')``."""

    def run(self, terms: list[str], variables: Mapping[str, Any] | None = None, **kwargs: object) -> list[str]:
        """Answer the lookup."""
        given = load_extra_vars(self._loader)
        return [str(given.get(term, "")) for term in terms]
