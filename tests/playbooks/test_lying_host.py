"""A compromised host: its answers affect neither the controller nor other hosts."""

from __future__ import annotations

from collections.abc import Mapping
from pathlib import Path
from typing import Any

import pytest
import yaml
from ansible_run import PROJECT, run, write_inventory
from certificates import make
from lying import INSPECTED, Liar

from ansible_collections.wsgi.sites.plugins.plugin_utils import results

VAULT, BANK, OWN = "canary-of-the-vault", "canary-of-the-bank", "canary-of-its-own"
SHOP = {"server_names": ["shop.test"], "source": {"path": "app"}, "env": {"SECRET_KEY": OWN}}
ROW = {
    "site": "shop", "root": "/srv/shop", "slot": "blue", "release": "r1", "version": "v1", "previous": "",
    "since": "2026-11-21T03:45:00Z", "state": "RUNNING", "managed": True, "healthy": True, "detail": "200",
    "processes": "", "problems": "", "maintenance": "", "unfinished": {},
}  # fmt: skip
WELL = {"changed": False, "sites": [ROW]}
NONE: Mapping[str, str] = {}
# A setting of Ansible that the project of an operator may have.
INJECT = {"ANSIBLE_INJECT_FACT_VARS": "true"}


class Hosts:
    """An inventory of hosts with answers chosen by the test."""

    def __init__(self, folder: Path) -> None:
        self.folder, self.inventory = folder, folder / "inventory"
        self.liars: dict[str, Liar] = {}

    def add(self, name: str, answers: Mapping[str, Any]) -> Liar:
        self.liars[name] = Liar(self.folder / name, answers)
        return self.liars[name]

    def play(
        self, playbook: str, *arguments: str, check: bool = True, settings: Mapping = NONE, **variables: Any
    ) -> str:
        hosts = {name: {"ansible_python_interpreter": str(liar.python)} for name, liar in self.liars.items()}
        write_inventory(self.inventory, {"sites": {"shop": SHOP}, **variables}, hosts)
        return run(playbook, "-i", self.inventory, *arguments, check=check, **settings)


@pytest.fixture
def hosts(tmp_path: Path) -> Hosts:
    return Hosts(tmp_path)


def flat(output: str) -> str:
    return " ".join(output.split())


def lies(folder: Path) -> dict[str, Any]:
    """Facts with the names of variables that make the controller read, fetch and send files."""
    vault = folder / "vault.yml"
    vault.write_text(f"password: {VAULT}\n-----BEGIN CERTIFICATE-----\n")
    other = write_inventory(folder / "other", {})
    (other / ".secrets.yml").write_text(yaml.safe_dump({"shop": {"SECRET_KEY": BANK}, "bank": {"SECRET_KEY": BANK}}))
    bank = {**SHOP, "server_names": ["bank.test"], "source": {"path": str(other)}, "packages": "wheelhouse"}
    overrides = folder / "overrides/supervisor"
    overrides.mkdir(parents=True)
    told = {
        "host_ca_certificates": [str(vault)],
        "operator_templates": str(overrides.parent),
        "inventory_dir": str(other),
        "sites": {"shop": {**SHOP, "env": {}}, "bank": {**bank, "env": {}}},
        "site_defaults": {"tls": {"mode": "provided", "certificate": str(vault), "key": str(vault)}},
        "preflight_config": {"hosts": {"liar": {"names": ["bank"], "sites": {}, "digests": {}}}, "chosen": "bank"},
    }
    # Ansible's facts merge these two of each name, the later wins; its variables hold both.
    return {**told, **{f"ansible_{name}": 0 for name in told}}


@pytest.mark.parametrize("settings", [NONE, INJECT], ids=["facts apart", "facts as variables"])
def test_facts_of_a_host_never_override_variables_of_the_controller(hosts: Hosts, tmp_path: Path, settings: Mapping):
    told = lies(tmp_path)
    # The first answer that only Ansible checks: that of its own module.
    lie = {"changed": False, "stdout": "", "rc": 0, "ansible_facts": told}
    ours = {"host_inspect": INSPECTED, "host_apt_proxy": {"changed": False}}
    liar = hosts.add("liar", {**ours, "*": lie})
    output = hosts.play("site.yml", check=False, settings=settings)
    assert "command" in liar.modules, "a module of Ansible ran on it"
    for secret in (VAULT, BANK):
        assert secret.encode() not in liar.heard
        assert secret not in output
    if settings:
        assert "liar: its answers have changed" in flat(output)
        taken = ("host_ca_certificates", "operator_templates", "sites", "site_defaults", "preflight_config")
        assert [lie for lie in taken if f"`{lie}`" not in output] == []


def test_facts_of_an_earlier_play_never_override_variables_of_the_controller(hosts: Hosts, tmp_path: Path):
    told = lies(tmp_path)
    liar = hosts.add("liar", {"*": {"changed": False, "ansible_facts": told}})
    playbook = tmp_path / "play.yml"
    earlier = {"hosts": "all", "gather_facts": True, "tasks": []}
    playbook.write_text(yaml.safe_dump([earlier, {"import_playbook": str(PROJECT / "site.yml")}]))
    output = hosts.play(str(playbook), check=False, settings=INJECT)
    assert "liar: its answers have changed" in flat(output) and "`host_ca_certificates`" in output
    assert set(liar.modules) <= {"setup", "gather_facts"}
    assert VAULT not in output


def test_a_file_that_is_not_an_authority_is_neither_sent_nor_quoted(hosts: Hosts, tmp_path: Path) -> None:
    ours = {"host_inspect": INSPECTED, "host_authorities": {"changed": False, "added": []}}
    told = {"command": {"changed": False, "stdout": "", "rc": 0}, "*": {"changed": False}}
    liar = hosts.add("liar", {**ours, **told})
    vault, both = tmp_path / "vault.yml", tmp_path / "both.pem"
    vault.write_text(f"password: {VAULT}\n-----BEGIN CERTIFICATE-----\n{VAULT}\n-----END CERTIFICATE-----\n")
    output = hosts.play("site.yml", check=False, host_ca_certificates=[str(vault)])
    assert f"host_ca_certificates: {vault} holds no certificate in PEM" in flat(output)
    assert VAULT.encode() not in liar.heard and VAULT not in output
    # From a file with other content, only the certificates are sent.
    made = make("authority.test")
    both.write_text(f"{made.key}\n{VAULT}\n{made.pem}")
    output = hosts.play("site.yml", check=False, host_ca_certificates=[str(both)])
    assert "host_authorities" in liar.modules, output
    sent = liar.heard.decode(errors="replace")
    assert made.pem.splitlines()[1] in sent
    assert VAULT not in sent and "PRIVATE KEY" not in sent


@pytest.mark.parametrize("settings", [NONE, INJECT], ids=["facts apart", "facts as variables"])
def test_unrelated_variables_and_facts_are_accepted(hosts: Hosts, settings: Mapping) -> None:
    facts = {"ansible_hostname": "one", "packages": {"nginx": []}, "hostname": "one", "ansible_env": {"HOME": "/root"}}
    hosts.add("honest", {"release_status": WELL, "*": {"changed": False, "ansible_facts": facts}})
    ours = {"hostname": "web1", "my_ports": {80: "a", "https": "b", True: "c"}, "my_day": {"2026-11-29": 1, 2: [3]}}
    ours["unread"] = "{{ lookup('ansible.builtin.file', '/nowhere') }}"
    output = hosts.play("playbooks/status.yml", settings=settings, **ours)
    assert "honest  shop  blue" in output


NONSENSE: dict[str, Any] = {
    "no list": {"changed": False, "sites": "none"},
    "no text": {"changed": False, "sites": [{**ROW, "since": {"a": 1}}]},
    "a part is missing": {"changed": False, "sites": [{"site": "shop"}]},
    "something more": {"changed": False, "sites": [], "ansible_facts": {"sites": {}}},
    "too much": {"changed": False, "sites": [ROW] * 30_000},
    "too long": {"changed": False, "sites": [{**ROW, "detail": "x" * 20_000_000}]},
    "too deep": {"changed": False, "sites": [{**ROW, "unfinished": {"a": [[[[[[[[[1]]]]]]]]]}}]},
    "skipped": {"changed": False, "skipped": True},
    "out of reach": {"changed": False, "unreachable": True},
    "nothing": {},
    "no answer": [],
}


def test_an_invalid_answer_is_reported_with_its_host_and_other_hosts_continue(hosts: Hosts) -> None:
    hosts.add("honest", {"release_status": WELL})
    for number, nonsense in enumerate(NONSENSE.values()):
        hosts.add(f"liar{number}", {"release_status": nonsense})
    output = hosts.play("playbooks/status.yml", check=False)
    assert "honest  shop  blue" in output
    text = flat(output)
    for number, kind in enumerate(NONSENSE):
        said = f"liar{number} returned an invalid answer to wsgi.sites.release_status" in text
        assert said or (kind == "no answer" and f"fatal: [liar{number}]" in text), kind
        assert f"liar{number}  shop" not in output


def test_answers_of_a_host_are_printed_verbatim_and_never_templated(hosts: Hosts, tmp_path: Path) -> None:
    mark = tmp_path / "mark"
    template = f"{{{{ lookup('ansible.builtin.pipe', 'touch {mark}') }}}}"
    tags = [{"__ansible_type": "TrustedAsTemplate"}]
    trusted = {"__ansible_type": "_AnsibleTaggedStr", "value": template, "tags": tags}
    texts = {"plain": template, "raw": "red \x1b[31m\x07 \x9b1m \u202e back", "trusted": trusted}
    for name, text in texts.items():
        hosts.add(name, {"site_logs": {"changed": False, "text": text}, "*": {"failed": True, "msg": text}})
    output = hosts.play("playbooks/logs.yml", "-e", "site=shop", check=False)
    assert not mark.exists()
    assert template in flat(output).replace("''", "'")
    assert not {"\x1b", "\x07", "\x9b", "\u202e"} & set(output)
    assert r"red \x1b[31m\x07 \x9b1m \u202e back" in output


def modules_on_hosts(project: Path) -> list[Path]:
    """All modules except those that only document an action plugin."""
    return [path for path in project.glob("plugins/modules/*.py") if "def main(" in path.read_text()]


def test_every_module_documents_its_return_values(project: Path) -> None:
    checked = project / "plugins/plugin_utils/checked_module.py"
    for module in modules_on_hosts(project):
        returns = results.described(module)
        assert returns, module
        assert {spec["type"] for spec in returns.values()} <= results.TYPES.keys(), module
        action = (project / "plugins/action" / module.name).resolve()
        assert action == checked or module.stem == "release_build", f"{module.stem}: its result would not be checked"
