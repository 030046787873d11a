"""A compromised host in one run with an honest one: it controls neither the controller nor the honest host."""

from __future__ import annotations

import json
import os
import re
import subprocess
import sys
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest
import yaml
from support import PROJECT, SITES, Machine, Run, Site, command_of

sys.path.append(str(PROJECT / "tests"))
from lying import INSPECTED, STAND_IN

VAULT, OWN = "canary-of-the-vault", "canary-of-its-own"
PLACE = "/root/liar"
PLAYBOOKS = {
    "site.yml": (),
    "playbooks/deploy.yml": (),
    "playbooks/status.yml": (),
    "playbooks/releases.yml": (),
    "playbooks/certificates.yml": (),
    "playbooks/logs.yml": ("-e", "site=mole"),
    "playbooks/rollback.yml": ("-e", "site=mole"),
}
ROW = {
    "site": "mole", "root": "/srv/mole", "slot": "blue", "release": "r1", "version": "", "since": "", "previous": "",
    "state": "", "managed": True, "healthy": True, "detail": "", "processes": "", "problems": "", "maintenance": "",
    "unfinished": {},
}  # fmt: skip
DAEMON = {"changed": False, "paths": [], "running": True, "installed": True, "tested": True}
# Valid results of the collection's modules on a host without changes.
PLAUSIBLE: dict[str, Any] = {
    "stat": {"changed": False, "stat": {"exists": False}},
    "host_inspect": INSPECTED,
    "host_authorities": {"changed": False, "added": []},
    "host_apt_proxy": {"changed": False},
    "host_uv": {"changed": False},
    "supervisor_config": {**DAEMON, "restarted": False, "pending": False},
    "nginx_config": {**DAEMON, "reloaded": False},
    "site_provision": {
        "changed": True, "changes": ["all"], "jailed": False, "spare": [],
        "ansible_facts": {"ansible_sites_ipv6": True, "ansible_sites_nginx": "1.26.3"},
    },
    "release_build": {
        "changed": True, "site": "wordbook", "needed": True, "after_live": False, "build": True, "reason": "lies",
        "release": "../../wordbook", "slot": "blue", "remark": "", "problems": [],
    },
    "release_start": {"changed": True, "slot": "blue", "health": "fine", "took": 0.1, "downtime": 0.0},
    "release_switch": {"changed": True, "slot": "blue", "previous": "", "downtime": 0.0, "problems": ["red \x1b[31m"]},
    "release_hooks": {"changed": False, "ran": [], "snapshots": [], "left_out": []},
    "release_abort": {"changed": False, "removed": {}, "remark": "", "downtime": 0.0, "ran": []},
    "release_choose": {
        "changed": False, "site": "wordbook", "release": "r0", "needed": True, "after_live": False, "problems": [],
    },
    "release_status": {"changed": False, "sites": [ROW, {**ROW, "site": "wordbook"}]},
    "release_report": {"changed": False, "sites": [{"site": "mole", "releases": [], "history": []}]},
    "site_logs": {"changed": False, "text": "red \x1b[31m {{ lookup('ansible.builtin.pipe', 'touch /tmp/mole') }}"},
    "certificate_status": {"changed": False, "sites": []},
}  # fmt: skip


class Pair:
    """An honest host of the scenario, and a second one with a stand-in for its Python."""

    def __init__(self, honest: Machine, folder: Path) -> None:
        self.honest, self.folder = honest, folder
        self.site = Site(honest, "wordbook", SITES["wordbook"])
        vault = folder / "vault.yml"
        vault.write_text(f"password: {VAULT}\n")
        self.lies = {
            "host_ca_certificates": [str(vault)],
            "operator_templates": str(folder),
            "sites": {"mole": {"tls": {"mode": "provided", "certificate": str(vault), "key": str(vault)}}},
            "site_defaults": {"source": {"path": str(folder)}, "packages": "wheelhouse"},
        }
        # Reached like the other host, in the same container, but with another Python.
        known = yaml.safe_load(Path(os.environ["MOLECULE_INVENTORY_FILE"]).read_text())
        self.container = honest.container.replace(honest.name, "debian13")
        mole = {"server_names": ["mole.test"], "source": {"path": "app"}, "env": {"SECRET_KEY": OWN}}
        own = {
            **known["all"]["hosts"]["debian13"],
            "ansible_python_interpreter": f"{PLACE}/python3",
            "sites": {"mole": mole},
        }
        (folder / "hosts.yml").write_text(yaml.safe_dump({"all": {"hosts": {"liar": own}}}))
        self.execute(f"mkdir -p {PLACE} && cat > {PLACE}/python3 && chmod 755 {PLACE}/python3", STAND_IN)

    def execute(self, script: str, text: str = "") -> str:
        command = ["podman", "exec", "-i", self.container, "sh", "-euc", script]
        return subprocess.run(command, input=text, capture_output=True, text=True, check=True).stdout

    def set_results(self, answers: dict[str, Any]) -> None:
        self.execute(f"cat > {PLACE}/answers.json", json.dumps(answers))

    @property
    def received(self) -> str:
        return self.execute(f"cat {PLACE}/heard")

    def run_playbook(self, playbook: str, *more: str, **settings: str) -> Run:
        command = command_of(
            playbook, f"--inventory={self.folder}/hosts.yml", f"--limit={self.honest.name},liar", *more
        )
        done = subprocess.run(
            command,
            cwd=PROJECT,
            env={**os.environ, **settings},
            capture_output=True,
            text=True,
            stdin=subprocess.DEVNULL,
        )
        return Run(done.returncode, done.stdout + done.stderr)

    def untouched(self) -> tuple[str, ...]:
        """What no lie may change: the files and the release of the honest host, and the checkout of the controller."""
        places = "/etc/nginx /etc/supervisor /etc/wordbook /etc/cron.d /srv/wordbook/releases /usr/local/lib/sites"
        files = self.honest.output(f"find {places} ! -name __pycache__ -printf '%p %m %u %s %T@\\n' | sort | sha256sum")
        checkout = subprocess.run(["git", "status", "--porcelain"], cwd=PROJECT, capture_output=True, text=True).stdout
        return files, self.site.answering_release, checkout


@pytest.fixture
def pair(machine: Machine, tmp_path: Path) -> Iterator[Pair]:
    """Both hosts, once: the Debian release of the honest one does not matter."""
    if machine.name != "debian12":
        pytest.skip("the container of the other host is the liar's")
    made = Pair(machine, tmp_path)
    before = made.untouched()
    yield made
    made.execute(f"rm -r {PLACE}")
    assert made.untouched() == before


def assert_honest_host_unharmed(pair: Pair, run: Run) -> None:
    recap = re.search(rf"^{pair.honest.name} .*$", run.output, re.MULTILINE)
    assert recap, run.output
    assert "changed=0 " in recap[0] and "failed=0 " in recap[0] and "unreachable=0 " in recap[0], run.output
    secret = pair.site.environment()["SECRET_KEY"]
    received = pair.received
    assert not [word for word in (VAULT, secret) if word in received or word in run.output]
    assert "\x1b" not in run.output


def test_a_host_with_plausible_lies_gets_only_its_own_data(pair: Pair) -> None:
    lie = {"changed": False, "stdout": "", "rc": 0, "ansible_facts": pair.lies}
    pair.set_results({**PLAUSIBLE, "*": lie})
    for verb, more in PLAYBOOKS.items():
        assert_honest_host_unharmed(pair, pair.run_playbook(verb, *more))
    assert OWN in pair.received, "it received the secrets of its own release"
    # With facts as variables, which is Ansible's default.
    run = pair.run_playbook("site.yml", ANSIBLE_INJECT_FACT_VARS="true")
    assert_honest_host_unharmed(pair, run)
    assert "liar: its answers have changed `host_ca_certificates`" in " ".join(run.output.split())


def test_a_host_with_malformed_results_is_reported_by_name(pair: Pair) -> None:
    pair.set_results({"*": {"changed": "perhaps", "sites": 5, "ansible_facts": pair.lies}})
    for verb in ("site.yml", "playbooks/status.yml"):
        run = pair.run_playbook(verb)
        assert_honest_host_unharmed(pair, run)
        assert run.rc != 0 and "liar returned an invalid answer to " in " ".join(run.output.split()), run.output
