"""Say what is live on this host."""

from __future__ import annotations

from pathlib import Path

from ansible.module_utils.basic import AnsibleModule
from ansible.module_utils.releases.layout import Layout
from ansible.module_utils.releases.steps import recorded, recorded_sites, status

DOCUMENTATION = r"""
module: release_status
short_description: Say what is live on this host
description:
  - For each site its slot, release, since when it is live, and whether it answers its health page. Changes nothing.
options:
  sites:
    description: Names of the sites to report; without it every site that the bundle set up on this host.
    type: list
    elements: str
    default: []
  timeout: {description: Seconds that a site has to answer., type: float, default: 3}
author: The project's authors
"""

EXAMPLES = r"""
- name: Ask what is live
  release_status:
  register: status
"""

RETURN = r"""
sites:
  description: >-
    One entry a site: site, root, slot, release, since (UTC), previous, state (supervisor's word), managed (supervisord
    knows its program), healthy, detail (in words), unfinished (what a run that was cut off left, by slot).
  type: list
  elements: dict
  returned: always
"""


def main() -> None:
    """Entry point."""
    module = AnsibleModule(
        argument_spec={
            "sites": {"type": "list", "elements": "str", "default": []},
            "timeout": {"type": "float", "default": 3},
        },
        supports_check_mode=True,
    )
    given, timeout = module.params["sites"], module.params["timeout"]
    if not given:
        module.exit_json(changed=False, sites=[status(site, timeout) for site in recorded_sites()])
    reports = []
    for name in given:
        record = recorded(name)
        if record:
            reports.append(status(Layout(name, Path(record["root"])), timeout))
        else:
            reports.append(
                {
                    "site": name,
                    "root": "",
                    "slot": "",
                    "release": "",
                    "since": "",
                    "previous": "",
                    "state": "",
                    "managed": False,
                    "healthy": False,
                    "detail": "not on this host",
                    "unfinished": {},
                }
            )
    module.exit_json(changed=False, sites=reports)


if __name__ == "__main__":
    main()
