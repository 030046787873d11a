"""The inventory of each side."""

from __future__ import annotations

import json
import os
from pathlib import Path
from typing import Any

from measuring.commands import ROOT, WORK
from measuring.hosts import CERTIFICATES, Host
from measuring.source import ARCHIVE, NAME, SOURCE


def write(side: str, target: Host, extra: dict[str, Any]) -> Path:
    """Write the inventory of one side for one host; JSON is YAML too."""
    folder = WORK / "inventory" / target.name
    folder.mkdir(parents=True, exist_ok=True)
    variables: dict[str, Any] = {
        "ansible_host": target.address,
        "ansible_user": "root",
        "ansible_ssh_private_key_file": str(target.key),
        "ansible_ssh_common_args": "-o StrictHostKeyChecking=no -o UserKnownHostsFile=/dev/null -o LogLevel=ERROR",
    }
    if side == "bundle":
        variables["host_ca_certificates"] = [str(path) for path in CERTIFICATES]
        variables["sites"] = {
            "wordbook": {
                "server_names": [NAME],
                "source": {"path": str(SOURCE.relative_to(ROOT))},
                "aliases": {"/static/": "app/static"},
            }
        }
    else:
        variables["archive"] = str(ARCHIVE)
        variables["secret_key"] = os.urandom(24).hex()
        # The rule of `workers: auto`, so that both sides start as many processes.
        variables["workers"] = 2 * len(os.sched_getaffinity(0)) + 1
    inventory = folder / "hosts.yml"
    inventory.write_text(json.dumps({"all": {"hosts": {target.name: variables | extra}}}, indent=2), encoding="utf-8")
    inventory.chmod(0o600)
    return inventory
