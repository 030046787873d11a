"""Run a site's hooks with a release, as the site's user."""

from __future__ import annotations

DOCUMENTATION = r"""
module: release_hooks
short_description: Run commands of a release as its site
description:
  - Runs them in order, in the release's C(app/), as the site's user, with the release's environment and without a
    shell, and stops at the first failure. Programs of the release's venv are found by name.
  - The result has the output of each command without the environment's values. Background processes of a command end
    with it.
  - Before C(before_start) the SQLite databases below C(shared/data) are copied to C(shared/data/.snapshots/RELEASE).
    Files that only look like a database, or claim to be far larger than they are, are left out with a warning.
  - C(after_live) clears the note that M(wsgi.sites.release_start) has made.
  - In check mode nothing runs.
options:
  site: {description: The site's name., type: str, required: true}
  root: {description: The site's own directory., type: path, required: true}
  user: {description: The site's user., type: str, required: true}
  release: {description: ID of a release that was built., type: str, required: true}
  when: {description: The point of the deploy., type: str, choices: [before_start, after_live], default: before_start}
  commands: {description: The commands., type: list, elements: str, required: true}
  timeout: {description: Seconds that each command can take., type: int, default: 600}
  snapshots: {description: Whether databases are copied before C(before_start)., type: bool, default: true}
author: The authors of wsgi.sites (@wsgi)
"""

EXAMPLES = r"""
- name: Update the database
  wsgi.sites.release_hooks:
    site: wordbook
    root: /srv/wordbook
    user: wordbook
    release: 20261121T031500Z-1a2b3c4d
    commands: [flask --app wsgi db upgrade]
"""

RETURN = r"""
ran:
  description: "One entry per command: command, seconds, said (the last lines of its output)."
  type: list
  elements: dict
  returned: always
snapshots: {description: Copies of the databases., type: list, elements: str, returned: always}
left_out: {description: "Files that were not copied, with the reason.", type: list, elements: str, returned: always}
"""

from pathlib import Path

from ansible.module_utils.basic import AnsibleModule

from ansible_collections.wsgi.sites.plugins.module_utils.releases import hooks, sqlite_backup
from ansible_collections.wsgi.sites.plugins.module_utils.releases.deployment import StepError
from ansible_collections.wsgi.sites.plugins.module_utils.runtime.lock import Busy, site_lock
from ansible_collections.wsgi.sites.plugins.module_utils.site.paths import Layout


def perform(params: dict) -> dict:
    """Run the commands.

    :raises StepError: with the last lines of the command that failed
    """
    site = Layout(params["site"], Path(params["root"]))
    if params.get("when") == "after_live":
        outcome, taken = f"Release {params['release']} is live nevertheless", sqlite_backup.Taken()
    else:
        taken = sqlite_backup.Taken()
        if params.get("snapshots", True):
            taken = sqlite_backup.take(site, params["user"], params["release"])
        outcome = "Nothing went live"
    try:
        ran = hooks.run(site, params["user"], params["release"], params["commands"], params["timeout"], outcome)
    except StepError as error:
        if taken.copies:
            raise StepError(f"{error}\nIts SQLite files as they were before: {', '.join(taken.copies)}") from None
        raise
    return {"ran": ran, "snapshots": taken.copies, "left_out": taken.left_out}


def main() -> None:
    """Entry point."""
    module = AnsibleModule(
        argument_spec={
            "site": {"type": "str", "required": True},
            "root": {"type": "path", "required": True},
            "user": {"type": "str", "required": True},
            "release": {"type": "str", "required": True},
            "when": {"type": "str", "choices": ["before_start", "after_live"], "default": "before_start"},
            "commands": {"type": "list", "elements": "str", "required": True},
            "timeout": {"type": "int", "default": 600},
            "snapshots": {"type": "bool", "default": True},
        },
        supports_check_mode=True,
    )
    if module.check_mode:
        module.exit_json(changed=True, ran=[], snapshots=[], left_out=[])
    site = Layout(module.params["site"], Path(module.params["root"]))
    try:
        with site_lock(site, last=module.params["when"] == "after_live") as held:
            try:
                result = perform(module.params)
            except StepError as error:
                if module.params["when"] == "after_live":
                    held.note("hook-failed", release=module.params["release"], reason=str(error))
                raise
            finally:  # also after a failure, which is reported and not retried
                if module.params["when"] == "after_live" and (slot := site.live_slot()):
                    site.pending_hooks(slot).unlink(missing_ok=True)
    except (StepError, Busy) as error:
        module.fail_json(msg=str(error))
    if result["left_out"]:
        module.warn(f"{site.name}: there is no copy of these in shared/data: {'; '.join(result['left_out'])}")
    module.exit_json(changed=bool(result["ran"]), **result)


if __name__ == "__main__":
    main()
