"""The site config from the inventory: read once, before any host has answered, and then used from that copy.

With Ansible's default ``inject_facts_as_vars``, facts in a host's answers become variables that override the
inventory's. So a host could change what the controller reads, fetches and sends. Therefore nothing is read twice, and
a variable that has changed since is an error.
"""

from __future__ import annotations

import functools
import hashlib
import json
from collections.abc import Iterable, Mapping
from typing import Any

import yaml
from ansible import constants
from ansible.errors import AnsibleError
from ansible.parsing.dataloader import DataLoader
from ansible.playbook.task import Task
from ansible.plugins.loader import cache_loader
from ansible.vars.manager import VariableManager

from ansible_collections.wsgi.sites.plugins.plugin_utils.places import ROLES

# The registered result of the tasks that read it.
VARIABLE = "preflight_config"
# Variables that the roles use besides their own defaults and variables.
READ = frozenset({VARIABLE, "sites", "site_defaults", "site", "site_name", "operator_templates", "render_secrets"})


class Shadowed(AnsibleError):
    """A host's facts have changed a variable."""


def of_host(variables: Mapping[str, Any]) -> Mapping[str, Any]:
    """What was read for the host that these variables are of: ``sites`` and ``digests``.

    :raises AnsibleError: if role ``preflight`` has read nothing
    """
    guard(variables)
    hosts = (variables.get(VARIABLE) or {}).get("hosts", {})
    host = str(variables.get("inventory_hostname", ""))
    if host not in hosts:
        raise AnsibleError(f"{host}: its site config was not read; run role `preflight` before this, in any play.")
    return hosts[host]


def of_play(task: Task, hostvars: Any, host: str) -> dict[str, Any]:
    """A host's variables as the task's play sees them: those of the inventory, and `vars` of a playbook."""
    manager, inventory = hostvars._variable_manager, hostvars._inventory
    return manager.get_vars(play=task.get_play(), host=inventory.get_host(host), include_hostvars=False)


def guard(variables: Mapping[str, Any]) -> None:
    """Refuse to go on with a host whose answers have changed a variable.

    :param variables: the host's, with its facts
    :raises Shadowed: with the host and the variable
    """
    if not constants.INJECT_FACTS_AS_VARS:
        return
    facts = variables.get("ansible_facts") or {}
    copy = {} if VARIABLE in facts else variables.get(VARIABLE) or {}
    host = str(variables.get("inventory_hostname", ""))
    digests = copy.get("hosts", {}).get(host, {}).get("digests", {})
    names = {*digests, *own_names(), VARIABLE}
    refuse(host, (name for name in injected(variables, names) if digest(variables[name]) != digests.get(name)))


def guard_first(hostvars: Any, host: str, loader: DataLoader) -> None:
    """The same before anything was read: another playbook may have asked the host already.

    :param hostvars: Ansible's own
    :raises Shadowed: with the host and the variable
    """
    variables = hostvars.raw_get(host)
    if not constants.INJECT_FACTS_AS_VARS or not variables.get("ansible_facts"):
        return
    # What the inventory says, as if the host had answered nothing.
    manager = VariableManager(loader=loader, inventory=hostvars._inventory)
    manager._fact_cache = cache_loader.get("ansible.builtin.memory")
    said = manager.get_vars(host=hostvars._inventory.get_host(host), include_hostvars=False)
    names = {*said, *own_names()} - {"ansible_facts"}
    refuse(host, (name for name in injected(variables, names) if digest(variables[name]) != digest(said.get(name))))


def injected(variables: Mapping[str, Any], names: Iterable[str]) -> list[str]:
    """Those of the variables that bear the name of a fact of the host.

    By its name alone: of `sites` and `ansible_sites` a host can say both, and one of them stands in Ansible's list.
    """
    facts = (variables.get("ansible_facts") or {}).keys()
    return sorted(name for name in names if name in variables and facts & {name, name.removeprefix("ansible_")})


def refuse(host: str, names: Iterable[str]) -> None:
    """Raise an error that names the variables that a host has changed, if any."""
    if changed := list(names):
        raise Shadowed(
            f"{host}: its answers have changed {', '.join(f'`{name}`' for name in changed)}, which is the inventory's "
            "to set. Nothing was done with it. Check that host: it may be compromised. If one of your modules sets "
            "it intentionally, rename one of them, or set `inject_facts_as_vars = false` in ansible.cfg."
        )


@functools.cache
def own_names() -> frozenset[str]:
    """The variables that the roles define or read."""
    files = [path for part in ("defaults", "vars") for path in ROLES.glob(f"*/{part}/main.yml")]
    return READ.union(*(yaml.safe_load(path.read_text(encoding="utf-8")) or {} for path in files))


def digests(variables: Mapping[str, Any]) -> dict[str, str]:
    """A digest of each variable at the time of reading."""
    return {name: digest(value) for name, value in variables.items() if name != "ansible_facts"}


def digest(value: object) -> str:
    """The digest of a value, without evaluating templates and decrypting vaulted texts."""
    text = json.dumps(plain(value), sort_keys=True, default=lambda one: type(one).__name__)
    return hashlib.sha256(text.encode()).hexdigest()[:16]


def plain(value: Any) -> Any:
    """The same with texts as keys: YAML has numbers and dates too, and these cannot be sorted beside texts."""
    if isinstance(value, dict):  # and no other mapping: Ansible's own work out templates
        return {f"{type(key).__name__}:{key}": plain(item) for key, item in value.items()}
    return [plain(item) for item in value] if isinstance(value, list | tuple) else value
