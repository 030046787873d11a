"""Who keeps probing a site is kept from it by the host's packet filter, and nobody else is."""

from __future__ import annotations

import subprocess

import pytest
from support import SITES, Machine, Site, address_of, run_playbook, site_config, wait_until

testinfra_hosts = ["ansible://settled"]
pytestmark = pytest.mark.breaks

PROBE = """
import sys, urllib.request, urllib.error
for _ in range(int(sys.argv[3])):
    request = urllib.request.Request(f"http://{sys.argv[1]}{sys.argv[2]}", headers={"Host": "chat.test"})
    try:
        print(urllib.request.urlopen(request, timeout=5).status)
    except urllib.error.HTTPError as error:
        print(error.code)
    except OSError:
        print("kept away")
"""


class Prober:
    """Another host of the scenario as a client."""

    def __init__(self, machine: Machine) -> None:
        self.target, self.address = machine.address, address_of("sudoer")
        self.container = machine.container.removesuffix(machine.name) + "sudoer"

    def ask(self, path: str, times: int = 1) -> list[str]:
        """What it gets."""
        words = ["podman", "exec", self.container, "python3", "-c", PROBE, self.target, path, str(times)]
        return subprocess.run(words, check=True, capture_output=True, text=True).stdout.split("\n")[:times]


def test_who_keeps_probing_is_kept_away_for_a_while_and_others_are_served(machine: Machine) -> None:
    chat, prober = Site(machine, "chat", SITES["chat"]), Prober(machine)

    def converge(playbook: str = "playbooks/deploy.yml", **ban: int) -> int:
        # What the prober asks for, the app answers.
        run = run_playbook(
            playbook, machine=machine, sites=site_config(chat={"ban": {"count": "answers", **ban}} if ban else {})
        )
        assert run.rc == 0, run.output
        return run.changed

    def is_kept_away() -> bool:
        return prober.ask("/readyz") == ["kept away"]

    assert converge("site.yml", failures=5)
    assert converge("site.yml", failures=5) == 0
    assert prober.ask("/readyz", 10) == ["200"] * 10
    assert not machine.host.file("/var/log/chat/refused.log").size, "who is served stands in no list"
    assert "404" in prober.ask("/wp-login.php", 8)
    wait_until(is_kept_away, "the prober is kept away")
    assert chat.get("/readyz").status == 200
    assert prober.address in machine.output("chat-ctl bans")
    assert prober.address in machine.output("nft list ruleset")

    machine.output("systemctl restart fail2ban")
    wait_until(is_kept_away, "a restart has not forgotten him")
    machine.output("logrotate --force /etc/logrotate.d/chat")
    machine.output("chat-ctl unban %s", prober.address)
    wait_until(lambda: prober.ask("/readyz") == ["200"], "he is let in again")
    prober.ask("/.env", 8)
    wait_until(is_kept_away, "he is kept away again, by the new log")

    machine.output("chat-ctl unban %s", prober.address)
    assert converge(failures=5, seconds=5)
    prober.ask("/.git/config", 8)
    wait_until(lambda: prober.address in machine.output("grep -h Ban /var/log/fail2ban.log | tail -1"), "he is banned")
    wait_until(lambda: prober.ask("/readyz") == ["200"], "it ends by itself")
    assert chat.get("/readyz").status == 200

    assert converge()
    assert not machine.host.file("/etc/fail2ban/jail.d/site-chat.conf").exists
    assert "site-chat" not in machine.output("fail2ban-client status")
