"""Lookup of CA certificates in files of the controller."""

from __future__ import annotations

DOCUMENTATION = """
name: ca_certificates
short_description: CA certificates in files of the controller
description:
  - Returns the certificates of each file, in PEM, by the file's name without its extension. Nothing else of a file
    leaves the controller.
options:
  _terms:
    description: Paths of the files, absolute or relative to the project's root.
    required: true
author: The authors of wsgi.sites (@wsgi)
"""

EXAMPLES = """
- name: Trust the operator's certificate authorities
  wsgi.sites.host_authorities:
    certificates: "{{ lookup('wsgi.sites.ca_certificates', *host_ca_certificates) }}"
"""

RETURN = """
_raw:
  description: Name to certificates.
  type: list
  elements: dict
"""

from collections.abc import Mapping
from pathlib import Path
from typing import Any

from ansible.errors import AnsibleError
from ansible.plugins.lookup import LookupBase

from ansible_collections.wsgi.sites.plugins.plugin_utils.config import certificate_files, site_config


class LookupModule(LookupBase):
    """``lookup('wsgi.sites.ca_certificates', *paths)``."""

    def run(
        self, terms: list[Any], variables: Mapping[str, Any] | None = None, **kwargs: object
    ) -> list[dict[str, str]]:
        """Answer the lookup."""
        site_config.guard(variables or {})
        return [{Path(str(term)).stem: self._certificates(str(term)) for term in terms}]

    def _certificates(self, path: str) -> str:
        try:
            text = certificate_files.text_of("ca", path, self._loader.get_text_file_contents)
            return certificate_files.pem(certificate_files.certificates_in("ca", text))
        except certificate_files.PairError as error:
            name = "a text in place of a path" if "\n" in path else path
            raise AnsibleError(f"host_ca_certificates: {name} {error.words}") from None
