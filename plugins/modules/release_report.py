"""List the retained releases and the history of sites."""

from __future__ import annotations

DOCUMENTATION = r"""
module: release_report
short_description: List the retained releases and the history of sites
description:
  - Returns the releases of each site, newest first, and the last lines of its history. Changes nothing.
options:
  site: {description: One site; empty for every site of this host., type: str, default: ""}
  lines: {description: Number of lines of history., type: int, default: 10}
author: The authors of wsgi.sites (@wsgi)
"""

EXAMPLES = r"""
- name: List the retained releases
  wsgi.sites.release_report:
    site: wordbook
"""

RETURN = r"""
sites:
  description: One entry per site.
  type: list
  elements: dict
  returned: always
  contains:
    site: {description: The site's key., type: str, returned: always}
    releases:
      description: Retained releases, newest first.
      type: list
      elements: dict
      returned: always
      contains:
        release: {description: Its ID., type: str, returned: always}
        mark: {description: "C(live), C(previous) or nothing.", type: str, returned: always}
        built: {description: When it was built (UTC)., type: str, returned: always}
        live_since: {description: When it last went live (UTC)., type: str, returned: always}
        by: {description: Who put it live., type: str, returned: always}
        source: {description: What it was made from., type: str, returned: always}
    history:
      description: The last lines of the history, oldest first.
      type: list
      elements: dict
      returned: always
      contains:
        time: {description: When (UTC)., type: str, returned: always}
        action: {description: What was done., type: str, returned: always}
        result: {description: How it ended., type: str, returned: always}
        by: {description: By whom., type: str}
        release: {description: With which release., type: str}
        previous: {description: Which one was live before., type: str}
        seconds: {description: How long it took., type: str}
        downtime: {description: Seconds of downtime., type: str}
        reason: {description: Why it failed., type: str}
"""

from pathlib import Path

from ansible.module_utils.basic import AnsibleModule

from ansible_collections.wsgi.sites.plugins.module_utils.releases import retained
from ansible_collections.wsgi.sites.plugins.module_utils.site.paths import Layout
from ansible_collections.wsgi.sites.plugins.module_utils.site.registry import recorded, recorded_sites
from ansible_collections.wsgi.sites.plugins.module_utils.system.text import visible_all


def main() -> None:
    """Entry point."""
    module = AnsibleModule(
        argument_spec={"site": {"type": "str", "default": ""}, "lines": {"type": "int", "default": 10}},
        supports_check_mode=True,
    )
    name = module.params["site"]
    record = recorded(name) if name else {}
    sites = recorded_sites() if not name else [Layout(name, Path(record["root"]))] if record.get("root") else []
    found = [retained.report(site, module.params["lines"]) for site in sites]
    module.exit_json(changed=False, sites=visible_all(found))


if __name__ == "__main__":
    main()
