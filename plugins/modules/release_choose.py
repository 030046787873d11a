"""Find a retained release, and check that it can go live."""

from __future__ import annotations

DOCUMENTATION = r"""
module: release_choose
short_description: Find a retained release, and check that it can go live
description:
  - Looks for the release on this host, refuses one whose files were changed since it was built, and runs the site's
    C(hooks.schema) with it. Starts nothing.
options:
  site: {description: The site's name., type: str, required: true}
  root: {description: The site's own directory., type: path, required: true}
  user: {description: The site's user., type: str, required: true}
  wanted: {description: "C(previous), C(live), an ID or a part of only one.", type: str, required: true}
  schema: {description: Command that fails if the database does not suit the release., type: str, default: ""}
  timeout: {description: Seconds that the command can take., type: int, default: 600}
author: The authors of wsgi.sites (@wsgi)
"""

EXAMPLES = r"""
- name: Find the previous release
  wsgi.sites.release_choose:
    site: wordbook
    root: /srv/wordbook
    user: wordbook
    wanted: previous
"""

RETURN = r"""
site: {description: The site's key., type: str, returned: always}
release: {description: The release's ID., type: str, returned: always}
needed: {description: Whether a release has to be started., type: bool, returned: always}
after_live: {description: Whether an interrupted run left the after_live hooks pending, type: bool, returned: always}
problems:
  description: Processes of the live release that do not run.
  type: list
  elements: str
  returned: always
"""

from pathlib import Path

from ansible.module_utils.basic import AnsibleModule

from ansible_collections.wsgi.sites.plugins.module_utils.releases import deployment, hooks, retained
from ansible_collections.wsgi.sites.plugins.module_utils.releases.deployment import StepError
from ansible_collections.wsgi.sites.plugins.module_utils.runtime import processes
from ansible_collections.wsgi.sites.plugins.module_utils.runtime.lock import Busy, site_lock
from ansible_collections.wsgi.sites.plugins.module_utils.site.paths import Layout


def perform(params: dict, check_mode: bool) -> dict:
    """Find the release and check it with `hooks.schema`.

    :raises StepError: if there is no such release, or the database does not match it
    """
    site = Layout(params["site"], Path(params["root"]))
    release_id = retained.choose(site, params["wanted"])
    restart = params["wanted"] == "live"
    needed = restart or release_id != site.live_release()
    if needed and not restart and not check_mode:
        try:
            hooks.check_schema(site, params["user"], release_id, params["schema"], params["timeout"])
        except (OSError, KeyError, ValueError) as error:  # an invalid environment, user or command
            raise StepError(
                f"{site.name}: the schema check of the release {release_id} could not run: {error}. Nothing was "
                "started. Correct that, choose another release, or, if you know that the database matches: -e schema=ok"
            ) from error
    pending = not needed and site.has_pending_hooks()
    changed, report = False, processes.Report()
    if not needed:
        # No step follows this one, so leftovers of an interrupted run are cleared here.
        changed = deployment.abort(site, check_mode)["changed"]
        report = processes.reconcile(site, check_mode)
    return {
        "site": site.name,
        "release": release_id,
        "needed": needed,
        "after_live": pending,
        "changed": changed or bool(report.changes),
        "problems": report.problems,
    }


def main() -> None:
    """Entry point."""
    module = AnsibleModule(
        argument_spec={
            "site": {"type": "str", "required": True},
            "root": {"type": "path", "required": True},
            "user": {"type": "str", "required": True},
            "wanted": {"type": "str", "required": True},
            "schema": {"type": "str", "default": ""},
            "timeout": {"type": "int", "default": 600},
        },
        supports_check_mode=True,
    )
    site = Layout(module.params["site"], Path(module.params["root"]))
    try:
        with site_lock(site, enabled=not module.check_mode) as held:
            if held.remark:
                module.warn(held.remark)
            if remark := "" if module.check_mode else deployment.recover(site):
                module.warn(remark)
            result = perform(module.params, module.check_mode)
            if not result["needed"] and not result["after_live"]:
                held.let_go()
            result["changed"] |= bool(remark)
    except (StepError, Busy) as error:
        module.fail_json(msg=str(error))
    module.exit_json(**result)


if __name__ == "__main__":
    main()
