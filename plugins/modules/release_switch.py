"""Make a started slot the live one."""

from __future__ import annotations

DOCUMENTATION = r"""
module: release_switch
short_description: Make a started slot the live one
description:
  - Renames the site's link C(live), waits until nginx has left the old server, stops that server and removes its
    program.
  - Then the release's processes and jobs replace those of the previous release. If one of them does not stay up, the
    site is live nevertheless.
  - nginx is not reloaded; it reaches the new socket by its path.
  - With C(going_live=replace), M(wsgi.sites.release_start) has done the switch; this completes it.
options:
  site: {description: The site's name., type: str, required: true}
  root: {description: The site's own directory., type: path, required: true}
  slot: {description: The slot to make live., type: str, choices: [blue, green], required: true}
  release: {description: The release that this slot must contain., type: str, required: true}
  drain:
    description: Seconds from the rename to the stop of the old server. nginx keeps a connection for up to a second.
    type: float
    default: 2.5
  last: {description: Whether this is the run's last step for the site., type: bool, default: true}
author: The authors of wsgi.sites (@wsgi)
"""

EXAMPLES = r"""
- name: Put the release live
  wsgi.sites.release_switch:
    site: wordbook
    root: /srv/wordbook
    slot: "{{ started.slot }}"
    release: 20261121T031500Z-1a2b3c4d
"""

RETURN = r"""
slot: {description: The live slot., type: str, returned: always}
previous: {description: The release that was live before; empty for the first one., type: str, returned: always}
downtime:
  description: Seconds of downtime with going_live=replace; else 0.
  type: float
  returned: always
problems: {description: Processes that do not run., type: list, elements: str, returned: always}
"""

from pathlib import Path

from ansible.module_utils.basic import AnsibleModule

from ansible_collections.wsgi.sites.plugins.module_utils.releases.deployment import StepError, switch
from ansible_collections.wsgi.sites.plugins.module_utils.runtime.lock import Busy, site_lock
from ansible_collections.wsgi.sites.plugins.module_utils.site.paths import SLOTS, Layout


def main() -> None:
    """Entry point."""
    module = AnsibleModule(
        argument_spec={
            "site": {"type": "str", "required": True},
            "root": {"type": "path", "required": True},
            "slot": {"type": "str", "required": True, "choices": list(SLOTS)},
            "release": {"type": "str", "required": True},
            "drain": {"type": "float", "default": 2.5},
            "last": {"type": "bool", "default": True},
        },
        supports_check_mode=True,
    )
    given = module.params
    site = Layout(given["site"], Path(given["root"]))
    try:
        with site_lock(site, enabled=not module.check_mode, first=True, last=given["last"]) as held:
            try:
                result = switch(site, given["slot"], given["release"], given["drain"], check_mode=module.check_mode)
            except StepError as error:
                if not module.check_mode:
                    held.note("failed", release=given["release"], reason=str(error))
                raise
            if not module.check_mode:
                held.note("ok", release=given["release"], previous=result["previous"], downtime=result["downtime"])
                for words in result["problems"]:
                    held.note("process-failed", release=given["release"], reason=words)
    except (StepError, Busy) as error:
        module.fail_json(msg=str(error))
    module.exit_json(**result)


if __name__ == "__main__":
    main()
