"""Remove a site from the host."""

from __future__ import annotations

DOCUMENTATION = r"""
module: site_remove
short_description: Remove a site from the host
description:
  - Stops the site's servers and removes its programs, releases, logs, configuration and user. What is not in the host's
    record is not touched; root and user are those of the record.
  - Moves the site's shared files to C(.archive/SITE-TIME) beside its directory, for root only.
  - If an operator has put the directory or the shared files elsewhere and linked to them, what this collection made
    there is removed too. Everything else there stays, and a warning names it.
options:
  name: {description: The site's name., type: str, required: true}
  purge:
    description: Delete the shared files instead, and the archives of earlier removals.
    type: bool
    default: false
author: The authors of wsgi.sites (@wsgi)
"""

EXAMPLES = r"""
- name: Remove a site
  wsgi.sites.site_remove:
    name: old_blog
"""

RETURN = r"""
changes: {description: "What was changed, in words.", type: list, elements: str, returned: always}
archive: {description: New path of the shared files; empty if none were moved., type: str, returned: always}
left: {description: "What stays behind an operator's link, in words.", type: list, elements: str, returned: always}
"""

from pathlib import Path

from ansible.module_utils.basic import AnsibleModule

from ansible_collections.wsgi.sites.plugins.module_utils.releases.deployment import StepError
from ansible_collections.wsgi.sites.plugins.module_utils.runtime.lock import Busy, site_lock
from ansible_collections.wsgi.sites.plugins.module_utils.runtime.supervisor import SupervisorError
from ansible_collections.wsgi.sites.plugins.module_utils.site.paths import Layout
from ansible_collections.wsgi.sites.plugins.module_utils.site.registry import recorded
from ansible_collections.wsgi.sites.plugins.module_utils.site.removal import Removal
from ansible_collections.wsgi.sites.plugins.module_utils.system.text import visible


def main() -> None:
    """Entry point."""
    module = AnsibleModule(
        argument_spec={
            "name": {"type": "str", "required": True},
            "purge": {"type": "bool", "default": False},
        },
        supports_check_mode=True,
    )
    name = module.params["name"]
    removal = Removal(name, module.run_command, module.params["purge"], module.check_mode)
    site = Layout(name, Path(recorded(name).get("root", "/nonexistent")))
    try:
        with site_lock(site, enabled=not module.check_mode, last=True):
            changes = removal.remove()
    except (StepError, Busy, SupervisorError) as error:
        module.fail_json(msg=f"{name}: {error}" if isinstance(error, SupervisorError) else str(error))
    except OSError as error:
        module.fail_json(msg=f"{name}: {error.strerror}: {visible(str(error.filename))}; correct that, then run again")
    for words in removal.left:
        module.warn(f"{name}: {words}. Delete it yourself if it is not needed.")
    diff = {"before": "".join(f"{line}\n" for line in changes), "after": ""}
    module.exit_json(changed=bool(changes), changes=changes, archive=removal.archive, left=removal.left, diff=diff)


if __name__ == "__main__":
    main()
