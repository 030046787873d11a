"""How a module that changes a daemon's configuration begins, and how it talks to Ansible."""

from __future__ import annotations

import os
import subprocess
from collections.abc import Callable, Mapping
from dataclasses import fields
from pathlib import Path
from typing import Any

from ansible.module_utils.basic import AnsibleModule

from ansible_collections.wsgi.sites.plugins.module_utils.daemons.errors import Refused


def perform(
    ensure: Callable[..., dict[str, Any]], places: type, options: Mapping[str, Any]
) -> tuple[AnsibleModule, dict[str, Any]]:
    """Let ``ensure`` do the work, with the module's options and with ``places``, each of which is an option as well.

    An error ends the module, with its own words.
    """
    where = {field.name: {"type": "path", "default": str(field.default)} for field in fields(places)}
    module = AnsibleModule(argument_spec={**options, **where}, supports_check_mode=True)
    try:
        given = places(**{name: Path(module.params[name]) for name in where})
        return module, ensure(module.params, given, module.check_mode)
    except (Refused, OSError, subprocess.SubprocessError) as error:
        module.fail_json(msg=str(error))


def installed(binary: Path, package: str, check_mode: bool) -> bool:
    """Whether the daemon is there. In check mode a bare host has none yet.

    :raises Refused: when it has to be there
    """
    there = os.access(binary, os.X_OK)
    if not there and not check_mode:
        raise Refused(f"{binary} is not there. Install the package {package} first; the role `host` does.")
    return there
