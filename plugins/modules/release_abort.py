"""Clear every slot of a site that is not live."""

from __future__ import annotations

DOCUMENTATION = r"""
module: release_abort
short_description: Clear every slot of a site that is not live
description:
  - For a deploy that failed on another host, and for the rest of an interrupted run. Stops the slot's server and
    removes its program and its start token. The live slot is not touched.
  - With C(going_live=replace), the release that this run made live is stopped, and the previous one is started again.
  - Runs the site's C(hooks.on_failure), whose failures are only reported, and releases the run's lock of the site.
options:
  site: {description: The site's name., type: str, required: true}
  root: {description: The site's own directory., type: path, required: true}
  user: {description: The site's user., type: str, default: ""}
  release: {description: The release that did not go live., type: str, default: ""}
  reason: {description: "Reason, for the history.", type: str, default: ""}
  commands: {description: Commands of C(hooks.on_failure)., type: list, elements: str, default: []}
  timeout: {description: Seconds that each command can take., type: int, default: 600}
author: The authors of wsgi.sites (@wsgi)
"""

EXAMPLES = r"""
- name: Clear all slots except the live one
  wsgi.sites.release_abort:
    site: wordbook
    root: /srv/wordbook
"""

RETURN = r"""
removed: {description: "What was removed, by slot.", type: dict, returned: always}
remark: {description: Result for a live slot that had been stopped, type: str, returned: always}
downtime: {description: Seconds of downtime from that., type: float, returned: always}
ran: {description: "One entry per command: command, seconds, said.", type: list, elements: dict, returned: always}
"""

from pathlib import Path

from ansible.module_utils.basic import AnsibleModule

from ansible_collections.wsgi.sites.plugins.module_utils.releases import hooks
from ansible_collections.wsgi.sites.plugins.module_utils.releases.deployment import StepError, abort, undo_replacement
from ansible_collections.wsgi.sites.plugins.module_utils.runtime import processes
from ansible_collections.wsgi.sites.plugins.module_utils.runtime.lock import Busy, site_lock
from ansible_collections.wsgi.sites.plugins.module_utils.site.paths import Layout


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
                undo_replacement(site)
            result = abort(site, check_mode=module.check_mode)
            if result["remark"]:
                module.warn(result["remark"])
            # Processes that started meanwhile may be of the aborted release.
            for words in processes.reconcile(site, module.check_mode).problems:
                module.warn(words)
            if not module.check_mode:
                if given["reason"]:
                    held.note("failed", release=given["release"], reason=given["reason"], downtime=result["downtime"])
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
