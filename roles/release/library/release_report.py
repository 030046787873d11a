"""Say which releases are kept on this host, and who put them live."""

from __future__ import annotations

from pathlib import Path

from ansible.module_utils.basic import AnsibleModule
from ansible.module_utils.daemons.text import visible_all
from ansible.module_utils.releases import kept
from ansible.module_utils.releases.layout import Layout
from ansible.module_utils.releases.records import recorded, recorded_sites

DOCUMENTATION = r"""
module: release_report
short_description: Say which releases are kept on this host, and who put them live
description:
  - For each site its releases, newest first, and the last lines of its history. Changes nothing.
options:
  site: {description: One site; empty for every site that the bundle set up on this host., type: str, default: ""}
  lines: {description: How many lines of history., type: int, default: 10}
author: The project's authors
"""

EXAMPLES = r"""
- name: Ask which releases are kept
  release_report:
    site: wordbook
"""

RETURN = r"""
sites:
  description: >-
    One entry a site: site, releases (release, mark, built, live_since, by, source), history (time, action, result, …).
  type: list
  elements: dict
  returned: always
"""


def main() -> None:
    """Entry point."""
    module = AnsibleModule(
        argument_spec={"site": {"type": "str", "default": ""}, "lines": {"type": "int", "default": 10}},
        supports_check_mode=True,
    )
    name = module.params["site"]
    record = recorded(name) if name else {}
    sites = recorded_sites() if not name else [Layout(name, Path(record["root"]))] if record.get("root") else []
    found = [kept.report(site, module.params["lines"]) for site in sites]
    module.exit_json(changed=False, sites=visible_all(found))


if __name__ == "__main__":
    main()
