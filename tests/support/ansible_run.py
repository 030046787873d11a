"""Runs real playbooks with a site config of the test, without a host."""

from __future__ import annotations

import os
import subprocess
import sys
from pathlib import Path

import yaml
from project import PROJECT

PLAYBOOK = Path(sys.executable).with_name("ansible-playbook")


def write_inventory(folder: Path, variables: dict, hosts: dict | None = None) -> Path:
    """An inventory with these variables for all hosts."""
    (folder / "group_vars/all").mkdir(parents=True, exist_ok=True)
    listed = {name: {"ansible_connection": "local"} | own for name, own in (hosts or {"one": {}}).items()}
    (folder / "hosts.yml").write_text(yaml.safe_dump({"all": {"hosts": listed}}, sort_keys=False))
    (folder / "group_vars/all/sites.yml").write_text(yaml.safe_dump(variables, sort_keys=False))
    return folder


def run(*arguments: str | Path, check: bool = True, **settings: str) -> str:
    """The output of ansible-playbook; with `check`, it must succeed.

    :param settings: Ansible's own, by their variables in the environment
    """
    environment = {k: v for k, v in os.environ.items() if not k.startswith("ANSIBLE_")}
    environment |= {"ANSIBLE_CONFIG": str(PROJECT / "ansible.cfg"), "ANSIBLE_LOCALHOST_WARNING": "false", **settings}
    done = subprocess.run(
        [PLAYBOOK, *map(str, arguments)], cwd=PROJECT, env=environment, capture_output=True, text=True, check=False
    )
    output = done.stdout + done.stderr
    assert (done.returncode == 0) is check, output
    return output


def preflight(inventory: Path, *arguments: str | Path, check: bool = True) -> str:
    """The output of the preflight for this inventory."""
    return run("playbooks/preflight.yml", "-i", inventory, *arguments, check=check)
