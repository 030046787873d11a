"""Lookup of the certificates and key that the site config names under `tls`."""

from __future__ import annotations

DOCUMENTATION = """
name: tls_files
short_description: Certificates and key of a site, as a host gets them
description:
  - Returns one of C(fullchain), the provided certificate with its chain; C(privkey), its key; C(client_ca), the CA
    certificates of clients; and for C(upstream), C(ca), the CA certificates of servers on other hosts.
  - The key is secret; pass it only to a C(no_log) option.
options:
  _terms:
    description: The site's C(tls), and the name of one of them.
    required: true
author: The authors of wsgi.sites (@wsgi)
"""

EXAMPLES = """
- name: Install the pair
  wsgi.sites.certificate_install:
    fullchain: "{{ lookup('wsgi.sites.tls_files', site_entry.tls, 'fullchain') }}"
    privkey: "{{ lookup('wsgi.sites.tls_files', site_entry.tls, 'privkey') }}"
"""

RETURN = """
_raw:
  description: The text, in PEM.
  type: list
  elements: str
"""

from collections.abc import Mapping
from typing import Any

from ansible.errors import AnsibleError
from ansible.plugins.lookup import LookupBase

from ansible_collections.wsgi.sites.plugins.plugin_utils.config import certificate_files, site_config


class LookupModule(LookupBase):
    """``lookup('wsgi.sites.tls_files', site_entry.tls, 'fullchain')``."""

    def run(self, terms: list[Any], variables: Mapping[str, Any] | None = None, **kwargs: object) -> list[str]:
        """Answer the lookup."""
        site_config.guard(variables or {})
        tls, which = terms
        load = self._loader.get_text_file_contents
        try:
            if which in ("client_ca", "ca"):
                text = certificate_files.text_of(which, tls[which], load)
                return [certificate_files.pem(certificate_files.certificates_in(which, text))]
            pair = certificate_files.read(tls, load)
        except certificate_files.PairError as error:
            raise AnsibleError(str(error)) from None
        return [pair.fullchain if which == "fullchain" else pair.key.decode()]
