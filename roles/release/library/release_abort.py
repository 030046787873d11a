"""Take away every slot of a site that is not live."""

from __future__ import annotations

from pathlib import Path

from ansible.module_utils.basic import AnsibleModule
from ansible.module_utils.releases.layout import Layout
from ansible.module_utils.releases.lock import Busy, site_lock
from ansible.module_utils.releases.steps import StepError, abort

DOCUMENTATION = r"""
module: release_abort
short_description: Take away every slot of a site that is not live
description:
  - For a deploy that failed on another host, and for what a run that was cut off left behind. Stops the slot's server,
    removes its program and its start token. What is live is not touched. Nothing to do is no change.
options:
  site: {description: The site's name., type: str, required: true}
  root: {description: The site's own directory., type: path, required: true}
author: The project's authors
"""

EXAMPLES = r"""
- name: Leave only the live slot
  release_abort:
    site: wordbook
    root: /srv/wordbook
"""

RETURN = r"""
removed: {description: "What there was, by slot.", type: dict, returned: always}
"""


def main() -> None:
    """Entry point."""
    module = AnsibleModule(
        argument_spec={
            "site": {"type": "str", "required": True},
            "root": {"type": "path", "required": True},
        },
        supports_check_mode=True,
    )
    site = Layout(module.params["site"], Path(module.params["root"]))
    try:
        with site_lock(site, enabled=not module.check_mode):
            result = abort(site, check_mode=module.check_mode)
    except (StepError, Busy) as error:
        module.fail_json(msg=str(error))
    module.exit_json(**result)


if __name__ == "__main__":
    main()
