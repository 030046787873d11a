#!/usr/bin/python
"""Install the launcher and the autoscaler, each as one file."""

from __future__ import annotations

DOCUMENTATION = r"""
module: launcher_install
short_description: Install the launcher and the autoscaler
description:
  - Packs the launcher, which becomes the server of a slot, and the autoscaler, which adapts the number of gunicorn's
    workers to the load, each into one file below C(/usr/local/lib/sites). They need nothing but the system's Python.
author: The authors of wsgi.sites (@wsgi)
options: {}
attributes:
  check_mode: {support: full, description: Changes nothing and reports what would change.}
"""

EXAMPLES = r"""
- name: Install the launcher and the autoscaler
  wsgi.sites.launcher_install:
"""

RETURN = r"""
paths: {description: The programs that were written., type: list, elements: str, returned: always}
"""

from pathlib import Path

from ansible.module_utils.basic import AnsibleModule

from ansible_collections.wsgi.sites.plugins.module_utils.autoscaler import cli as _autoscaler  # noqa: F401 - is packed
from ansible_collections.wsgi.sites.plugins.module_utils.launcher import cli as _launcher  # noqa: F401 - is packed
from ansible_collections.wsgi.sites.plugins.module_utils.site import paths
from ansible_collections.wsgi.sites.plugins.module_utils.system import trees
from ansible_collections.wsgi.sites.plugins.module_utils.system.program import install, packed

# Their names on the host are part of releases and of supervisor's programs.
PROGRAMS = {"launcher": "launcher.cli", "scaler": "autoscaler.cli"}


def ensure(check_mode: bool) -> list[Path]:
    """Install missing or different programs; returns their paths."""
    written = []
    if not check_mode:
        trees.make_folder(paths.LIBRARY)
    for name, module in PROGRAMS.items():
        path, content = paths.LIBRARY / name, packed(module)
        if path.is_file() and path.read_bytes() == content and path.stat().st_mode & 0o7777 == 0o755:
            continue
        written.append(path)
        if not check_mode:
            install(path, content)
    return written


def main() -> None:
    """Ansible's entry."""
    module = AnsibleModule(argument_spec={}, supports_check_mode=True)
    try:
        written = ensure(module.check_mode)
    except OSError as error:
        module.fail_json(msg=f"cannot install the launcher: {error}")
    module.exit_json(changed=bool(written), paths=list(map(str, written)))


if __name__ == "__main__":
    main()
