"""Lookup of a site's processes and jobs on one host."""

from __future__ import annotations

DOCUMENTATION = """
name: site_processes
short_description: The processes and jobs of a site on one host
description:
  - One entry for each of the site's C(processes) and C(cron) that this host is to run, with every key filled in, and
    with C(name), C(kind) (C(process) or C(job)) and C(manifest), the entry of C(release.json) that the launcher reads;
    its C(command) is split as a shell would.
  - Where the number of gunicorn's workers follows the load, also the autoscaler, by the name C(scaler).
options:
  _terms:
    description: The site's merged entry.
    required: true
author: The authors of wsgi.sites (@wsgi)
"""

EXAMPLES = """
- name: List the processes
  ansible.builtin.debug:
    msg: "{{ query('wsgi.sites.site_processes', site_entry) | map(attribute='name') }}"
"""

RETURN = """
_raw:
  description: The entries, by name.
  type: list
  elements: dict
"""

import shlex
from collections.abc import Mapping
from typing import Any

from ansible.plugins.lookup import LookupBase

from ansible_collections.wsgi.sites.plugins.plugin_utils.places import ROLES

SITE_ROLE = ROLES / "site"
SCALER = "/usr/local/lib/sites/scaler"
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
                    found.append(described(str(name), kind, entry))
        if terms[0]["workers_min"] and terms[0]["server"] == "gunicorn":
            command = [SCALER, terms[0]["root"], str((variables or {})["site_name"])]
            given = {"count": 1, **defaults["site_processes_keys"], "command": shlex.join(command)}
            found.append(described("scaler", "process", given))
        return sorted(found, key=lambda entry: entry["name"])


def described(name: str, kind: str, entry: dict[str, Any]) -> dict[str, Any]:
    """A process or job with its name, and with its entry for the launcher."""
    manifest = {
        "kind": kind,
        "command": shlex.split(entry["command"]),
        **{key: entry[key] for key in ("count", "stop_signal", "patience")},
    }
    return {**entry, "name": name, "kind": kind, "manifest": manifest}
