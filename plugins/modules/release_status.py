"""List what is live on this host."""

from __future__ import annotations

DOCUMENTATION = r"""
module: release_status
short_description: List what is live on this host
description:
  - Returns slot, release, time of going live and health of each site. Changes nothing.
options:
  sites:
    description: >-
      Names of the sites to report, as far as they are there; without it every site of this host.
    type: list
    elements: str
    default: []
  timeout: {description: Seconds that a site has to answer the health check., type: float, default: 3}
author: The authors of wsgi.sites (@wsgi)
"""

EXAMPLES = r"""
- name: List what is live
  wsgi.sites.release_status:
  register: status
"""

RETURN = r"""
sites:
  description: One entry per site.
  type: list
  elements: dict
  returned: always
  contains:
    site: {description: The site's key., type: str, returned: always}
    root: {description: Its directory., type: str, returned: always}
    slot: {description: The live slot; C(proxy-only) if its servers are on other hosts., type: str, returned: always}
    release: {description: The live release., type: str, returned: always}
    version: {description: Short form of its source., type: str, returned: always}
    since: {description: When it went live (UTC)., type: str, returned: always}
    previous: {description: The release that was live before., type: str, returned: always}
    state: {description: State of its supervisor program., type: str, returned: always}
    managed: {description: Whether supervisord knows its program., type: bool, returned: always}
    healthy: {description: Whether it passes the health check., type: bool, returned: always}
    detail: {description: "Answer of the health check, in words.", type: str, returned: always}
    processes: {description: Running processes of all; empty without any., type: str, returned: always}
    problems:
      description: Problems of processes, jobs or single servers.
      type: str
      returned: always
    maintenance: {description: "Since when, by whom and why.", type: str, returned: always}
    unfinished: {description: "Rest of an interrupted run, by slot.", type: dict, returned: always}
"""

from concurrent.futures import ThreadPoolExecutor
from functools import partial

from ansible.module_utils.basic import AnsibleModule

from ansible_collections.wsgi.sites.plugins.module_utils.site import remote_upstream
from ansible_collections.wsgi.sites.plugins.module_utils.site.registry import recorded_proxy_only, recorded_sites
from ansible_collections.wsgi.sites.plugins.module_utils.site.status import status
from ansible_collections.wsgi.sites.plugins.module_utils.system.text import visible_all


def reports(names: list[str], timeout: float) -> list[dict]:
    """The status of each of these sites, or of all sites of the host."""
    asks = {site.name: partial(status, site, timeout) for site in recorded_sites()}
    asks |= {
        name: partial(remote_upstream.status, name, where, timeout) for name, where in recorded_proxy_only().items()
    }
    here = [asks[name] for name in names or sorted(asks) if name in asks]
    # In parallel, so that timeouts do not add up.
    with ThreadPoolExecutor(max_workers=8) as pool:
        return list(pool.map(lambda ask: ask(), here))


def main() -> None:
    """Entry point."""
    module = AnsibleModule(
        argument_spec={
            "sites": {"type": "list", "elements": "str", "default": []},
            "timeout": {"type": "float", "default": 3},
        },
        supports_check_mode=True,
    )
    module.exit_json(changed=False, sites=visible_all(reports(module.params["sites"], module.params["timeout"])))


if __name__ == "__main__":
    main()
