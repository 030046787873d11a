"""The packet filter of the host bans clients that keep probing a site, and no others."""

from __future__ import annotations

import subprocess

import pytest
from support import SITES, Machine, Site, address_of, run_playbook, site_config, wait_until

testinfra_hosts = ["ansible://settled"]
pytestmark = pytest.mark.breaks

PROBE = """
import sys, urllib.request, urllib.error
address, path, times, timeout = sys.argv[1], sys.argv[2], int(sys.argv[3]), float(sys.argv[4])
for _ in range(times):
    request = urllib.request.Request(f"http://{address}{path}", headers={"Host": "chat.test"})
    try:
        print(urllib.request.urlopen(request, timeout=timeout).status)
    except urllib.error.HTTPError as error:
        print(error.code)
    except OSError:
        print("no response")
"""


class Prober:
    """Another host of the scenario as a client."""

    def __init__(self, machine: Machine) -> None:
        self.target, self.address = machine.address, address_of("sudoer")
        self.container = machine.container.removesuffix(machine.name) + "sudoer"

    def ask(self, path: str, times: int = 1, timeout: float = 5) -> list[str]:
        """The status of each response."""
        arguments = [PROBE, self.target, path, str(times), str(timeout)]
        command = ["podman", "exec", self.container, "python3", "-c", *arguments]
        return subprocess.run(command, check=True, capture_output=True, text=True).stdout.splitlines()

    def probe(self, path: str) -> list[str]:
        """Ask often enough for a ban, without a long wait for each request after it."""
        return self.ask(path, 8, timeout=1)

    def is_banned(self) -> bool:
        """It gets no response."""
        return self.ask("/readyz", timeout=1) == ["no response"]

    def is_served(self) -> bool:
        """It gets a response."""
        return self.ask("/readyz", timeout=1) == ["200"]


def test_a_client_that_keeps_probing_is_banned_for_a_while_and_others_are_served(machine: Machine) -> None:
    chat, prober = Site(machine, "chat", SITES["chat"]), Prober(machine)

    def converge(playbook: str = "playbooks/deploy.yml", **ban: int) -> int:
        # The app itself answers the paths that the prober asks for.
        keys = {"ban": {"count": "answers", **ban}} if ban else {}
        return run_playbook(playbook, machine=machine, sites=site_config(chat=keys)).checked().changed

    assert converge("site.yml", failures=5)
    assert converge("site.yml", failures=5) == 0
    assert prober.ask("/readyz", 10) == ["200"] * 10
    assert not machine.host.file("/var/log/chat/refused.log").size, "requests that succeed are not counted"
    assert "404" in prober.probe("/wp-login.php")
    wait_until(prober.is_banned, "the prober is banned")
    assert chat.get("/readyz").status == 200
    assert prober.address in machine.output("chat-ctl bans")
    assert prober.address in machine.output("nft list ruleset")

    machine.output("systemctl restart fail2ban")
    wait_until(prober.is_banned, "the ban outlasts a restart")
    machine.output("logrotate --force /etc/logrotate.d/chat")
    machine.output("chat-ctl unban %s", prober.address)
    wait_until(prober.is_served, "the ban is lifted")
    prober.probe("/.env")
    wait_until(prober.is_banned, "the prober is banned again, by the new log")

    machine.output("chat-ctl unban %s", prober.address)
    assert converge(failures=5, seconds=5)
    prober.probe("/.git/config")
    wait_until(
        lambda: prober.address in machine.output("grep -h Ban /var/log/fail2ban.log | tail -1"), "the prober is banned"
    )
    wait_until(prober.is_served, "the ban ends by itself")
    assert chat.get("/readyz").status == 200

    assert converge()
    assert not machine.host.file("/etc/fail2ban/jail.d/site-chat.conf").exists
    assert "site-chat" not in machine.output("fail2ban-client status")
