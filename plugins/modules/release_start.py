"""Start a release in the idle slot of a site and wait until it is healthy."""

from __future__ import annotations

from pathlib import Path

from ansible.module_utils.basic import AnsibleModule

from ansible_collections.wsgi.sites.plugins.module_utils.releases.deployment import StepError, start
from ansible_collections.wsgi.sites.plugins.module_utils.runtime.lock import Busy, site_lock
from ansible_collections.wsgi.sites.plugins.module_utils.site.paths import Layout

DOCUMENTATION = r"""
module: release_start
short_description: Start a release in a site's idle slot and wait until it is healthy
description:
  - Links the release into the idle slot, places and adds its supervisor program, and asks its socket for the health
    page. If the release does not get healthy, the slot is cleared again and the last lines of its log are shown.
  - What is live is not touched. What an earlier run left in the idle slot is cleared first.
  - Only where this release or the live one says C(going_live=replace) does the live one stop before. The new one is
    then live as soon as it is healthy; if it does not get that, the old one comes back.
options:
  site: {description: The site's name., type: str, required: true}
  root: {description: The site's own directory., type: path, required: true}
  release: {description: ID of a release that was built., type: str, required: true}
  needs_room:
    description: Whether to refuse where there is no memory for it beside the live one.
    type: bool
    default: true
  after_live:
    description:
      - Whether M(release_hooks) follows on this host once the release is live. It is noted, so that a later run makes
        good for one that is cut off in between.
    type: bool
    default: false
author: The project's authors
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
slot: {description: The slot that the release runs in now., type: str, returned: always}
health: {description: What the health page answered., type: str, returned: always}
took: {description: Seconds that the server took from its start until it was healthy., type: float, returned: always}
away: {description: Seconds that nobody answered because the live slot had to stop., type: float, returned: always}
"""


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
