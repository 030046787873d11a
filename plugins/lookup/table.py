"""Lookup of a plain-text table of the results of all hosts in the play."""

from __future__ import annotations

DOCUMENTATION = """
name: table
short_description: Plain-text table of the results of all hosts in the play
description:
  - C(status) is made of the results of M(wsgi.sites.release_status), registered as C(release_status), and of the site
    config that role C(preflight) has read.
  - C(releases) is made of those of M(wsgi.sites.release_report), registered as C(release_report).
  - C(certificates) is made of those of M(wsgi.sites.certificate_status), registered as C(certificate_status).
options:
  _terms:
    description: Table, one of C(status), C(releases) and C(certificates).
    required: true
  site_name:
    description: The only site to list as missing in C(status). All sites if it is empty.
    type: str
    default: ""
    vars:
      - name: site_name
author: The authors of wsgi.sites (@wsgi)
"""

EXAMPLES = """
- name: Read the status of each host
  wsgi.sites.release_status:
    sites: []
  register: release_status

- name: Show the table
  ansible.builtin.debug:
    msg: "{{ lookup('wsgi.sites.table', 'status') }}"
  run_once: true
"""

RETURN = """
_raw:
  description: The table, with a newline after each row.
  type: list
  elements: str
"""

from collections.abc import Mapping
from typing import Any

from ansible.errors import AnsibleError
from ansible.plugins.lookup import LookupBase

from ansible_collections.wsgi.sites.plugins.plugin_utils import tables
from ansible_collections.wsgi.sites.plugins.plugin_utils.config import site_config

REGISTERED = {"status": "release_status", "releases": "release_report", "certificates": "certificate_status"}


class LookupModule(LookupBase):
    """``lookup('wsgi.sites.table', 'status')``."""

    def run(self, terms: list[str], variables: Mapping[str, Any] | None = None, **kwargs: object) -> list[str]:
        """Answer the lookup."""
        self.set_options(var_options=variables, direct=kwargs)
        return [self.table(str(term), variables or {}) for term in terms]

    def table(self, name: str, variables: Mapping[str, Any]) -> str:
        """One table."""
        if name not in REGISTERED:
            raise AnsibleError(f"There is no table {name!r}; there are: {', '.join(sorted(REGISTERED))}.")
        answers = {host: variables["hostvars"][host][REGISTERED[name]] for host in variables["ansible_play_hosts"]}
        if name == "status":
            return tables.status(answers, variables[site_config.VARIABLE]["hosts"], self.get_option("site_name"))
        return tables.releases(answers) if name == "releases" else tables.certificates(answers)
