"""What the page names under `tls`, as a host gets it."""

from __future__ import annotations

import sys
from collections.abc import Mapping
from pathlib import Path
from typing import Any

from ansible.errors import AnsibleError
from ansible.plugins.lookup import LookupBase

ROLE = Path(__file__).resolve().parent.parent
if str(ROLE / "plugin_utils") not in sys.path:
    sys.path.append(str(ROLE / "plugin_utils"))

import provided_pair  # noqa: E402
import site_config  # noqa: E402

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
  certificate_place:
    fullchain: "{{ lookup('tls_files', site_entry.tls, 'fullchain') }}"
    privkey: "{{ lookup('tls_files', site_entry.tls, 'privkey') }}"
"""

RETURN = """
_raw:
  description: The text, in PEM.
  type: list
  elements: str
"""


class LookupModule(LookupBase):
    """``lookup('tls_files', site_entry.tls, 'fullchain')``."""

    def run(self, terms: list[Any], variables: Mapping[str, Any] | None = None, **kwargs: object) -> list[str]:
        """Answer the lookup."""
        site_config.guard(variables or {})
        tls, which = terms
        load = self._loader.get_text_file_contents
        try:
            if which in ("client_ca", "ca"):
                text = provided_pair.text_of(which, tls[which], load)
                return [provided_pair.pem(provided_pair.certificates_in(which, text))]
            pair = provided_pair.read(tls, load)
        except provided_pair.PairError as error:
            raise AnsibleError(str(error)) from None
        return [pair.fullchain if which == "fullchain" else pair.key.decode()]
