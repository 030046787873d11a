"""Shared entry point of the modules that change a daemon's configuration."""

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
    """Run ``ensure`` with the module's options and ``places``, whose fields are options too.

    An error becomes the module's failure message.
    """
    where = {field.name: {"type": "path", "default": str(field.default)} for field in fields(places)}
    module = AnsibleModule(argument_spec={**options, **where}, supports_check_mode=True)
    try:
        given = places(**{name: Path(module.params[name]) for name in where})
        return module, ensure(module.params, given, module.check_mode)
    except (Refused, OSError, subprocess.SubprocessError) as error:
        module.fail_json(msg=str(error))


def installed(binary: Path, package: str, check_mode: bool) -> bool:
    """Whether the daemon is installed. In check mode, a bare host has none yet.

    :raises Refused: if it is missing outside check mode
    """
    there = os.access(binary, os.X_OK)
    if not there and not check_mode:
        raise Refused(f"{binary} is missing. Install the package {package} first; the role `host` does that.")
    return there
