"""Turn maintenance of a site on or off."""

from __future__ import annotations

DOCUMENTATION = r"""
module: site_maintenance
short_description: Turn maintenance of a site on or off
description:
  - Creates or removes C(/var/lib/sites/maintenance/SITE). nginx checks for it at each request, so nothing is reloaded.
  - Refuses to turn it on for a site whose nginx does not check. Needs no lock, so it works during a deploy.
options:
  site: {description: The site's name., type: str, required: true}
  state: {description: Whether maintenance is on or off., type: str, required: true, choices: ["on", "off"]}
  reason:
    description: Reason, for the status table; without one, the reason of a site already in maintenance stays.
    type: str
    default: ""
author: The authors of wsgi.sites (@wsgi)
"""

EXAMPLES = r"""
- name: Turn maintenance on
  wsgi.sites.site_maintenance:
    site: shop
    state: "on"
    reason: database move
"""

RETURN = r"""
maintenance: {description: "Since when, by whom and why; empty if maintenance is off.", type: str, returned: always}
"""

from pathlib import Path

from ansible.module_utils.basic import AnsibleModule

from ansible_collections.wsgi.sites.plugins.module_utils.releases.deployment import StepError
from ansible_collections.wsgi.sites.plugins.module_utils.runtime.run_identity import author
from ansible_collections.wsgi.sites.plugins.module_utils.site import maintenance
from ansible_collections.wsgi.sites.plugins.module_utils.site.paths import Layout
from ansible_collections.wsgi.sites.plugins.module_utils.site.registry import recorded


def main() -> None:
    """Entry point."""
    module = AnsibleModule(
        argument_spec={
            "site": {"type": "str", "required": True},
            "state": {"type": "str", "required": True, "choices": ["on", "off"]},
            "reason": {"type": "str", "default": ""},
        },
        supports_check_mode=True,
    )
    name, reason = module.params["site"], " ".join(module.params["reason"].split())
    record = recorded(name)
    if not record:
        module.fail_json(msg=f"{name}: is not on this host yet; ansible-playbook site.yml installs it")
    site = Layout(name, Path(record.get("root", "/nonexistent")))
    before = maintenance.describe(maintenance.read(site))
    try:
        if module.params["state"] == "on":
            changed = maintenance.turn_on(site, author(), reason, module.check_mode)
        else:
            changed = maintenance.turn_off(site, author(), module.check_mode)
    except StepError as error:
        module.fail_json(msg=str(error))
    after = maintenance.describe(maintenance.read(site))
    diff = {"before": f"{before or 'off'}\n", "after": f"{after or 'off'}\n"}
    if changed and module.check_mode:
        diff["after"] = "off\n" if module.params["state"] == "off" else f"on: {reason}\n"
    module.exit_json(changed=changed, maintenance=after, diff=diff)


if __name__ == "__main__":
    main()
