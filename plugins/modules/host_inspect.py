"""Find conflicts between a host's state and its sites. Read-only."""

from __future__ import annotations

DOCUMENTATION = """
module: host_inspect
short_description: Refuse conflicts with what is on the host
description:
  - Looks for ports that other processes hold, other nginx sites with the sites' names, configuration files that were
    edited by hand, and users, directories, systemd units and supervisor programs of the sites' names. It fails with
    all of them at once, each with its remedy.
  - A site with a record in C(/var/lib/sites) is on this host already; what has its name is its own.
  - Changes nothing, and works on a bare host.
options:
  sites:
    description: The sites of this host, with these keys only, since entries contain secrets.
    type: list
    elements: dict
    required: true
    suboptions:
      name: {description: The site's key., type: str, required: true}
      root: {description: The site's directory., type: path, required: true}
      user: {description: The site's user., type: str, required: true}
      server_names: {description: Its names., type: list, elements: str, default: []}
      http_port: {description: nginx's port for it., type: int, default: 80}
      https_port: {description: nginx's port for it if it has https., type: int, default: 443}
      https: {description: Whether it has https., type: bool, default: false}
      upstream:
        description: Its servers, if they are on other hosts.
        type: dict
        default: {}
        suboptions:
          servers: {description: Their addresses., type: list, elements: str, default: []}
      bind: {description: Its additional listeners., type: list, elements: str, default: []}
  prefix:
    description: Root of the host's files; for tests.
    type: path
    default: /
author: The authors of wsgi.sites (@wsgi)
"""

EXAMPLES = """
- name: Refuse conflicts with what is on the host
  wsgi.sites.host_inspect:
    sites: [{name: shop, root: /srv/shop, user: shop, server_names: [shop.example.com]}]
"""

RETURN = r"""
collisions: {description: "What conflicts, where, and the remedy.", type: list, elements: str, returned: always}
ansible_facts:
  description: The facts that the roles use; gathering all takes three times as long.
  type: dict
  returned: always
  contains:
    ansible_distribution_release: {description: As Ansible's own., type: str, returned: always}
    ansible_service_mgr: {description: As Ansible's own., type: str, returned: always}
    ansible_sites_system: {description: Name of the system., type: str, returned: always}
    ansible_sites_ipv6: {description: Whether the kernel has IPv6., type: bool, returned: always}
"""

from pathlib import Path

from ansible.module_utils.basic import AnsibleModule

from ansible_collections.wsgi.sites.plugins.module_utils.inspection.collisions import Site, collisions
from ansible_collections.wsgi.sites.plugins.module_utils.inspection.host import Host


def main() -> None:
    """Ansible's entry."""
    module = AnsibleModule(
        argument_spec={
            "sites": {
                "type": "list",
                "elements": "dict",
                "required": True,
                "options": {
                    "name": {"type": "str", "required": True},
                    "root": {"type": "path", "required": True},
                    "user": {"type": "str", "required": True},
                    "server_names": {"type": "list", "elements": "str", "default": []},
                    "http_port": {"type": "int", "default": 80},
                    "https_port": {"type": "int", "default": 443},
                    "https": {"type": "bool", "default": False},
                    "upstream": {
                        "type": "dict",
                        "default": {},
                        "options": {"servers": {"type": "list", "elements": "str", "default": []}},
                    },
                    "bind": {"type": "list", "elements": "str", "default": []},
                },
            },
            "prefix": {"type": "path", "default": "/"},
        },
        supports_check_mode=True,
    )
    host = Host(Path(module.params["prefix"]))
    found = collisions(host, [Site.of(entry) for entry in module.params["sites"]])
    facts = host.facts()
    if found:
        many = f"{len(found)} things on this host collide" if len(found) > 1 else "Something on this host collides"
        module.fail_json(
            msg=f"{many} with the sites; nothing was changed.\n" + "\n".join(f"- {each}" for each in found),
            collisions=found,
            ansible_facts=facts,
        )
    module.exit_json(changed=False, collisions=[], ansible_facts=facts)


if __name__ == "__main__":
    main()
