"""What a site runs in the background on one host."""

from __future__ import annotations

import shlex
from collections.abc import Mapping
from typing import Any

from ansible.plugins.lookup import LookupBase

from ansible_collections.wsgi.sites.plugins.plugin_utils.places import ROLES

DOCUMENTATION = """
name: site_processes
short_description: What a site runs in the background on one host
description:
  - One entry for each of the site's C(processes) and C(cron) that this host is to run, with every key filled in, and
    with C(name), C(kind) (C(process) or C(job)) and C(words), the command as a shell would split it.
  - Where gunicorn's workers follow the load, also what lets them, by the name C(scaler).
options:
  _terms:
    description: The site's merged entry.
    required: true
author: The authors of wsgi.sites (@wsgi)
"""

EXAMPLES = """
- name: Tell which processes there are
  ansible.builtin.debug:
    msg: "{{ query('wsgi.sites.site_processes', site_entry) | map(attribute='name') }}"
"""

RETURN = """
_raw:
  description: The entries, by name.
  type: list
  elements: dict
"""

SITE_ROLE = ROLES / "site"
KINDS = {"processes": "process", "cron": "job"}


class LookupModule(LookupBase):
    """``query('wsgi.sites.site_processes', site_entry)``."""

    def run(
        self, terms: list[Any], variables: Mapping[str, Any] | None = None, **kwargs: object
    ) -> list[dict[str, Any]]:
        """Answer the lookup."""
        host = str((variables or {}).get("inventory_hostname", ""))
        defaults = self._loader.load_from_file(str(SITE_ROLE / "defaults/main.yml"))
        found = []
        for key, kind in KINDS.items():
            for name, given in terms[0][key].items():
                entry = {"count": 1, **defaults[f"site_{key}_keys"], **given}
                if not entry["hosts"] or host in entry["hosts"]:
                    words = shlex.split(entry["command"])
                    found.append({**entry, "name": str(name), "kind": kind, "words": words})
        if terms[0]["workers_min"] and terms[0]["server"] == "gunicorn":
            words = ["/usr/local/lib/sites/scaler", terms[0]["root"], str((variables or {})["site_name"])]
            given = {**defaults["site_processes_keys"], "command": shlex.join(words)}
            found.append({**given, "name": "scaler", "kind": "process", "words": words})
        return sorted(found, key=lambda entry: entry["name"])
