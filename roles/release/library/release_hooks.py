"""Run commands of a release as its site, before the release starts."""

from __future__ import annotations

import shlex
import subprocess
import time
from pathlib import Path

from ansible.module_utils.basic import AnsibleModule
from ansible.module_utils.releases.environment import mask, parse_environment
from ansible.module_utils.releases.layout import Layout
from ansible.module_utils.releases.lock import Busy, site_lock
from ansible.module_utils.releases.runas import process_environment, run_as
from ansible.module_utils.releases.steps import StepError
from ansible.module_utils.releases.venv import last_lines

DOCUMENTATION = r"""
module: release_hooks
short_description: Run commands of a release as its site
description:
  - In order, in the release's C(app/), as the site's user and with the release's environment. The first that fails ends
    it. No shell runs them; the programs of the release's venv are found by name.
  - What a command prints is kept in the result without the environment's values. What it leaves in the background ends.
  - In check mode nothing runs.
options:
  site: {description: The site's name., type: str, required: true}
  root: {description: The site's own directory., type: path, required: true}
  user: {description: The site's user., type: str, required: true}
  release: {description: ID of a release that was built., type: str, required: true}
  commands: {description: The commands., type: list, elements: str, required: true}
  timeout: {description: Seconds that each command may take., type: int, default: 600}
author: The project's authors
"""

EXAMPLES = r"""
- name: Bring the database up to date
  release_hooks:
    site: wordbook
    root: /srv/wordbook
    user: wordbook
    release: 20261121T031500Z-1a2b3c4d
    commands: [flask --app wsgi db upgrade]
"""

RETURN = r"""
ran:
  description: One entry a command: command, seconds, said (the last lines that it printed).
  type: list
  elements: dict
  returned: always
"""


def perform(params: dict) -> list[dict]:
    """Run the commands.

    :raises StepError: with the last lines of the command that failed
    """
    site = Layout(params["site"], Path(params["root"]))
    release = site.release(params["release"])
    environment = parse_environment((release / "environment").read_text(encoding="utf-8"))
    surroundings = process_environment(params["user"], release, site.shared, environment)
    ran = []
    for command in params["commands"]:
        began = time.monotonic()
        try:
            done = run_as(
                params["user"],
                shlex.split(command),
                cwd=release / "app",
                environment=surroundings,
                timeout=params["timeout"],
            )
        except subprocess.TimeoutExpired:
            raise StepError(
                f"{site.name}: the hook `{command}` did not end within {params['timeout']} s (hooks.timeout) and was "
                "stopped. Nothing went live"
            ) from None
        except FileNotFoundError:
            raise StepError(
                f"{site.name}: the hook `{command}` names a program that is neither in the release's venv nor on the "
                "host. Nothing went live"
            ) from None
        said = last_lines(mask(done.stdout + done.stderr, environment))
        if done.returncode != 0:
            raise StepError(
                f"{site.name}: the hook `{command}` failed with exit code {done.returncode}. Nothing went live. "
                f"It said:\n{said}"
            )
        ran.append({"command": command, "seconds": round(time.monotonic() - began, 1), "said": said})
    return ran


def main() -> None:
    """Entry point."""
    module = AnsibleModule(
        argument_spec={
            "site": {"type": "str", "required": True},
            "root": {"type": "path", "required": True},
            "user": {"type": "str", "required": True},
            "release": {"type": "str", "required": True},
            "commands": {"type": "list", "elements": "str", "required": True},
            "timeout": {"type": "int", "default": 600},
        },
        supports_check_mode=True,
    )
    if module.check_mode:
        module.exit_json(changed=True, ran=[])
    site = Layout(module.params["site"], Path(module.params["root"]))
    try:
        with site_lock(site):
            ran = perform(module.params)
    except (StepError, Busy) as error:
        module.fail_json(msg=str(error))
    module.exit_json(changed=True, ran=ran)


if __name__ == "__main__":
    main()
