"""Shut a site for maintenance, or open it again."""

from __future__ import annotations

from pathlib import Path

from ansible.module_utils.basic import AnsibleModule

from ansible_collections.wsgi.sites.plugins.module_utils.releases.deployment import StepError
from ansible_collections.wsgi.sites.plugins.module_utils.runtime.run_identity import author
from ansible_collections.wsgi.sites.plugins.module_utils.site import maintenance
from ansible_collections.wsgi.sites.plugins.module_utils.site.paths import Layout
from ansible_collections.wsgi.sites.plugins.module_utils.site.registry import recorded

DOCUMENTATION = r"""
module: site_maintenance
short_description: Shut a site for maintenance, or open it again
description:
  - Lays down C(/var/lib/sites/shut/SITE), or takes it away. nginx looks for it at each request, so nothing is reloaded.
  - Refuses to shut a site whose nginx does not look. Needs no lock, so that a site can be shut while it is deployed.
options:
  site: {description: The site's name., type: str, required: true}
  state: {description: Shut or open., type: str, required: true, choices: [shut, open]}
  reason:
    description: Why, for who runs the site; without one, that of a site that is shut already stays.
    type: str
    default: ""
author: The project's authors
"""

EXAMPLES = r"""
- name: Shut the shop
  wsgi.sites.site_maintenance:
    site: shop
    state: shut
    reason: the database moves
"""

RETURN = r"""
shut: {description: "Since when, by whom and why; empty if it is open.", type: str, returned: always}
"""


def main() -> None:
    """Entry point."""
    module = AnsibleModule(
        argument_spec={
            "site": {"type": "str", "required": True},
            "state": {"type": "str", "required": True, "choices": ["shut", "open"]},
            "reason": {"type": "str", "default": ""},
        },
        supports_check_mode=True,
    )
    name, reason = module.params["site"], " ".join(module.params["reason"].split())
    record = recorded(name)
    if not record:
        module.fail_json(msg=f"{name}: is not on this host yet; ansible-playbook site.yml brings it")
    site = Layout(name, Path(record.get("root", "/nonexistent")))
    before = maintenance.words(maintenance.note(site))
    try:
        if module.params["state"] == "shut":
            changed = maintenance.shut(site, author(), reason, module.check_mode)
        else:
            changed = maintenance.reopen(site, author(), module.check_mode)
    except StepError as error:
        module.fail_json(msg=str(error))
    after = maintenance.words(maintenance.note(site))
    diff = {"before": f"{before or 'open'}\n", "after": f"{after or 'open'}\n"}
    if changed and module.check_mode:
        diff["after"] = "open\n" if module.params["state"] == "open" else f"shut: {reason}\n"
    module.exit_json(changed=changed, shut=after, diff=diff)


if __name__ == "__main__":
    main()
