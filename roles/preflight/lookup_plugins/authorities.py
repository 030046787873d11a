"""Certificate authorities that stand in files of the controller."""

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
name: authorities
short_description: Certificate authorities that stand in files of the controller
description:
  - The certificates of each file, in PEM, by the file's name without its ending. Nothing else of a file leaves the
    controller.
options:
  _terms:
    description: Paths of the files, absolute or relative to the project's root.
    required: true
"""

EXAMPLES = """
- name: Trust the operator's certificate authorities
  host_authorities:
    certificates: "{{ lookup('authorities', *host_ca_certificates) }}"
"""

RETURN = """
_raw:
  description: Name to certificates.
  type: list
  elements: dict
"""


class LookupModule(LookupBase):
    """``lookup('authorities', *paths)``."""

    def run(
        self, terms: list[Any], variables: Mapping[str, Any] | None = None, **kwargs: object
    ) -> list[dict[str, str]]:
        """Answer the lookup."""
        site_config.guard(variables or {})
        return [{Path(str(term)).stem: self._certificates(str(term)) for term in terms}]

    def _certificates(self, path: str) -> str:
        try:
            text = provided_pair.text_of("ca", path, self._loader.get_text_file_contents)
            return provided_pair.pem(provided_pair.certificates_in("ca", text))
        except provided_pair.PairError as error:
            name = "a text in place of a path" if "\n" in path else path
            raise AnsibleError(f"host_ca_certificates: {name} {error.words}") from None
