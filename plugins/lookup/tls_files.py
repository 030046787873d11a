"""What the page names under `tls`, as a host gets it."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

from ansible.errors import AnsibleError
from ansible.plugins.lookup import LookupBase

from ansible_collections.wsgi.sites.plugins.plugin_utils.config import certificate_files, site_config

DOCUMENTATION = """
name: tls_files
short_description: What the page names under tls, as a host gets it
description:
  - One of C(fullchain), the certificate that is provided with its chain; C(privkey), its key; and C(client_ca), the
    authorities of clients' certificates; of C(upstream), C(ca), those of servers on other hosts.
  - The key is secret; hand it only to a C(no_log) option.
options:
  _terms:
    description: What the page says under C(tls), and which of them.
    required: true
"""

EXAMPLES = """
- name: Lay the pair down
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
