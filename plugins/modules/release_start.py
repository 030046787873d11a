"""Start a release in the idle slot of a site and wait until it is healthy."""

from __future__ import annotations

DOCUMENTATION = r"""
module: release_start
short_description: Start a release in a site's idle slot and wait until it is healthy
description:
  - Links the release into the idle slot, adds its supervisor program, and sends the health check to its socket. If the
    release does not become healthy, the slot is cleared again and the last lines of its log are shown.
  - The live slot is not touched. What an earlier run left in the idle slot is cleared first.
  - With C(going_live=replace) in this release or the live one, the live one stops before. The new one is then live as
    soon as it is healthy; if it does not become healthy, the old one is started again.
options:
  site: {description: The site's name., type: str, required: true}
  root: {description: The site's own directory., type: path, required: true}
  release: {description: ID of a release that was built., type: str, required: true}
  needs_room:
    description: Refuse if there is no memory for it beside the live one.
    type: bool
    default: true
  after_live:
    description:
      - Whether M(wsgi.sites.release_hooks) follows on this host once the release is live. It is recorded, so that a
        later run completes an interrupted one.
    type: bool
    default: false
author: The authors of wsgi.sites (@wsgi)
"""

EXAMPLES = r"""
- name: Start the release in the idle slot
  wsgi.sites.release_start:
    site: wordbook
    root: /srv/wordbook
    release: 20261121T031500Z-1a2b3c4d
  register: started
"""

RETURN = r"""
slot: {description: The slot that the release runs in., type: str, returned: always}
health: {description: Answer of the health check., type: str, returned: always}
took: {description: Seconds from the start until the server was healthy., type: float, returned: always}
downtime: {description: Seconds of downtime with going_live=replace., type: float, returned: always}
"""

from pathlib import Path

from ansible.module_utils.basic import AnsibleModule

from ansible_collections.wsgi.sites.plugins.module_utils.releases.deployment import StepError, start
from ansible_collections.wsgi.sites.plugins.module_utils.runtime.lock import Busy, site_lock
from ansible_collections.wsgi.sites.plugins.module_utils.site.paths import Layout


def main() -> None:
    """Entry point."""
    module = AnsibleModule(
        argument_spec={
            "site": {"type": "str", "required": True},
            "root": {"type": "path", "required": True},
            "release": {"type": "str", "required": True},
            "after_live": {"type": "bool", "default": False},
            "needs_room": {"type": "bool", "default": True},
        },
        supports_check_mode=True,
    )
    site = Layout(module.params["site"], Path(module.params["root"]))
    try:
        with site_lock(site, enabled=not module.check_mode):
            given = module.params
            result = start(
                site, given["release"], given["after_live"], given["needs_room"], check_mode=module.check_mode
            )
    except (StepError, Busy) as error:
        module.fail_json(msg=str(error))
    module.exit_json(**result)


if __name__ == "__main__":
    main()
