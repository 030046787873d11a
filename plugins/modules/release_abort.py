"""Take away every slot of a site that is not live."""

from __future__ import annotations

from pathlib import Path

from ansible.module_utils.basic import AnsibleModule

from ansible_collections.wsgi.sites.plugins.module_utils.releases import hooks
from ansible_collections.wsgi.sites.plugins.module_utils.releases.deployment import StepError, abort, go_back
from ansible_collections.wsgi.sites.plugins.module_utils.runtime import processes
from ansible_collections.wsgi.sites.plugins.module_utils.runtime.lock import Busy, site_lock
from ansible_collections.wsgi.sites.plugins.module_utils.site.paths import Layout

DOCUMENTATION = r"""
module: release_abort
short_description: Take away every slot of a site that is not live
description:
  - For a deploy that failed on another host, and for what a run that was cut off left behind. Stops the slot's server,
    removes its program and its start token. What is live is not touched. Nothing to do is no change.
  - Of a site that may not run twice at once, what this run has made live goes, and what was live before comes back.
  - Runs the site's C(hooks.on_failure), best effort, and ends the run's hold of the site.
options:
  site: {description: The site's name., type: str, required: true}
  root: {description: The site's own directory., type: path, required: true}
  user: {description: The site's user., type: str, default: ""}
  release: {description: The release that did not go live., type: str, default: ""}
  reason: {description: Why; for the history., type: str, default: ""}
  commands: {description: What to run about it., type: list, elements: str, default: []}
  timeout: {description: Seconds that each command may take., type: int, default: 600}
author: The project's authors
"""

EXAMPLES = r"""
- name: Leave only the live slot
  wsgi.sites.release_abort:
    site: wordbook
    root: /srv/wordbook
"""

RETURN = r"""
removed: {description: "What there was, by slot.", type: dict, returned: always}
remark: {description: What came of a live slot that had been stopped, type: str, returned: always}
away: {description: Seconds that nobody answered because of that., type: float, returned: always}
ran: {description: "One entry a command: command, seconds, said.", type: list, elements: dict, returned: always}
"""


def main() -> None:
    """Entry point."""
    module = AnsibleModule(
        argument_spec={
            "site": {"type": "str", "required": True},
            "root": {"type": "path", "required": True},
            "user": {"type": "str", "default": ""},
            "release": {"type": "str", "default": ""},
            "reason": {"type": "str", "default": ""},
            "commands": {"type": "list", "elements": "str", "default": []},
            "timeout": {"type": "int", "default": 600},
        },
        supports_check_mode=True,
    )
    given = module.params
    site = Layout(given["site"], Path(given["root"]))
    ran: list[dict] = []
    try:
        with site_lock(site, enabled=not module.check_mode, last=True) as held:
            if not module.check_mode:
                go_back(site)
            result = abort(site, check_mode=module.check_mode)
            if result["remark"]:
                module.warn(result["remark"])
            # What started meanwhile may be of the release that does not stay.
            for words in processes.bring(site, module.check_mode).complaints:
                module.warn(words)
            if not module.check_mode:
                if given["reason"]:
                    held.note("failed", release=given["release"], reason=given["reason"], away=result["away"])
                for command in given["commands"]:
                    try:
                        ran += hooks.run(site, given["user"], given["release"], [command], given["timeout"])
                    except (StepError, OSError) as error:
                        ran.append({"command": command, "seconds": 0, "said": f"FAILED: {error}"})
                        module.warn(f"on_failure: {error}")
    except (StepError, Busy) as error:
        module.fail_json(msg=str(error))
    module.exit_json(**result, ran=ran)


if __name__ == "__main__":
    main()
