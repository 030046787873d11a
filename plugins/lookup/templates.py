"""Lookup that renders several templates, by the path of their file on the host."""

from __future__ import annotations

DOCUMENTATION = """
name: templates
short_description: Render several role templates, or the operator's overrides
description:
  - Renders several templates as the lookup C(wsgi.sites.template) does one, for the modules that write files.
options:
  _terms:
    description: Templates by the path of the file, such as C(/etc/nginx/nginx.conf) and C(nginx/nginx.conf.j2).
    required: true
notes:
  - Keyword arguments are those of C(wsgi.sites.template).
author: The authors of wsgi.sites (@wsgi)
"""

EXAMPLES = """
- name: Write nginx's own configuration
  wsgi.sites.nginx_config:
    files: "{{ lookup('wsgi.sites.templates', {'/etc/nginx/nginx.conf': 'nginx/nginx.conf.j2'}) }}"
"""

RETURN = """
_raw:
  description: One mapping of all texts by path.
  type: list
  elements: dict
"""

from collections.abc import Mapping
from typing import Any

from ansible.plugins.loader import lookup_loader
from ansible.plugins.lookup import LookupBase


class LookupModule(LookupBase):
    """``lookup('wsgi.sites.templates', {PATH: TEMPLATE, …}, …)``."""

    def run(
        self, terms: list[Mapping[str, str]], variables: Mapping[str, Any] | None = None, **kwargs: Any
    ) -> list[dict[str, str]]:
        """Answer the lookup."""
        template = lookup_loader.get("wsgi.sites.template", loader=self._loader, templar=self._templar)
        names = {path: name for term in terms for path, name in term.items()}
        texts = template.run(list(names.values()), variables, **kwargs)
        return [dict(zip(names, texts, strict=True))]
