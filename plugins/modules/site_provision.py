"""Create the user, directories and logs of a site."""

from __future__ import annotations

DOCUMENTATION = r"""
module: site_provision
short_description: Create the user, directories and logs of a site
description:
  - Creates the site's system user, its directories with their owners and modes, its log files, the link
    C(/etc/SITE/environment), and the host's record that they belong to this collection.
  - Refuses, before anything is changed, if one of these exists and is not in the record.
options:
  name: {description: The site's name., type: str, required: true}
  root: {description: The site's own directory., type: path, required: true}
  user: {description: The site's own system user., type: str, required: true}
  upstream:
    description: >-
      For a site whose servers are on other hosts - C(servers), the C(name) in their certificates, the file C(ca), and
      their C(health) check. Then no user and no O(root) is created.
    type: dict
    default: {}
  files: {description: "Additional files by their path, owned by root and readable by all.", type: dict, default: {}}
  logs: {description: Names of additional logs., type: list, elements: str, default: []}
  certificate: {description: The site's C(tls.mode)., type: str, default: none}
author: The authors of wsgi.sites (@wsgi)
"""

EXAMPLES = r"""
- name: Create user, directories and logs
  wsgi.sites.site_provision:
    name: wordbook
    root: /srv/wordbook
    user: wordbook
"""

RETURN = r"""
changes: {description: "What was changed, in words.", type: list, elements: str, returned: always}
jailed: {description: Whether fail2ban has a jail for the site., type: bool, returned: always}
spare: {description: Unused certificates and keys of the site., type: list, elements: str, returned: always}
ansible_facts:
  description: Facts that server blocks need, for runs that gather no others.
  type: dict
  returned: always
  contains:
    ansible_sites_ipv6: {description: Whether the kernel has IPv6., type: bool, returned: always}
    ansible_sites_nginx: {description: "nginx's version; none before it is installed.", type: str}
"""

from pathlib import Path

from ansible.module_utils.basic import AnsibleModule

from ansible_collections.wsgi.sites.plugins.module_utils.certificates.folder import Folder
from ansible_collections.wsgi.sites.plugins.module_utils.certificates.lineage import Lineage, spare
from ansible_collections.wsgi.sites.plugins.module_utils.releases.deployment import StepError
from ansible_collections.wsgi.sites.plugins.module_utils.runtime.lock import Busy, site_lock
from ansible_collections.wsgi.sites.plugins.module_utils.site.paths import Layout
from ansible_collections.wsgi.sites.plugins.module_utils.site.provision import ProxyOnlySetup, SiteSetup
from ansible_collections.wsgi.sites.plugins.module_utils.system.kernel import facts


def main() -> None:
    """Entry point."""
    module = AnsibleModule(
        argument_spec={
            "name": {"type": "str", "required": True},
            "root": {"type": "path", "required": True},
            "user": {"type": "str", "required": True},
            "upstream": {"type": "dict", "default": {}},
            "files": {"type": "dict", "default": {}},
            "logs": {"type": "list", "elements": "str", "default": []},
            "certificate": {"type": "str", "default": "none"},
        },
        supports_check_mode=True,
    )
    site = Layout(module.params["name"], Path(module.params["root"]))
    upstream, given = module.params["upstream"], (module.params["user"], module.run_command, module.params["files"])
    more = tuple(module.params["logs"])
    if upstream:
        setup: SiteSetup = ProxyOnlySetup(site, *given, module.check_mode, further_logs=more, upstream=upstream)
    else:
        setup = SiteSetup(site, *given, module.check_mode, further_logs=more)
    try:
        # No release step follows for a site without a server here.
        with site_lock(site, enabled=not module.check_mode, first=True, last=bool(upstream)) as held:
            if held.remark:
                module.warn(held.remark)
            changes = setup.apply()
    except (StepError, Busy) as error:
        module.fail_json(msg=str(error), changes=setup.changes)
    diff = {"before": "", "after": "".join(f"{line}\n" for line in changes)}
    unused = spare(module.params["certificate"], Folder(site.name, site.config.parent), Lineage(site.name))
    module.exit_json(
        changed=bool(changes),
        changes=changes,
        diff=diff,
        spare=[str(path) for path in unused],
        jailed=site.jail.exists(),
        ansible_facts=facts(),
    )


if __name__ == "__main__":
    main()
