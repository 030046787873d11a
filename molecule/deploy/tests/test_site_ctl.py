"""The command SITE-ctl on a host."""

from __future__ import annotations

import pytest
from ledger import history, live_releases
from support import SITES, Machine, Site


@pytest.fixture
def ledger(machine: Machine) -> Site:
    """The site on the host of this test."""
    return Site(machine, "ledger", SITES["ledger"])


def test_status(ledger: Site) -> None:
    output = ledger.machine.output("ledger-ctl status")
    assert ledger.release in output
    assert "healthy     yes" in output


def test_commands_run_as_the_site_with_its_environment(ledger: Site) -> None:
    output = ledger.machine.output("ledger-ctl run sh -c 'id -un; pwd; echo $SITE_RELEASE; command -v python'")
    release = f"{ledger.root}/releases/{ledger.release}"
    assert output.split() == ["ledger", f"{release}/app", ledger.release, f"{release}/venv/bin/python"]
    assert ledger.machine.output("echo 'id -un' | ledger-ctl shell") == "ledger"
    assert "Flask" in ledger.machine.output("ledger-ctl flask --version")


def test_the_database_s_shell(ledger: Site) -> None:
    ledger.machine.output("command -v sqlite3 || (apt-get -qq update && apt-get -qq install -y sqlite3) >/dev/null")
    assert ledger.machine.output("echo 'PRAGMA integrity_check;' | ledger-ctl db") == "ok"


def test_logs(ledger: Site) -> None:
    ledger.get("/seen-in-the-log")
    assert "/seen-in-the-log" in ledger.machine.output("ledger-ctl logs")


def test_without_root_it_names_the_command_to_run(ledger: Site) -> None:
    refused = ledger.machine.host.run("runuser -u nobody -- ledger-ctl status")
    assert refused.rc == 1
    assert "sudo ledger-ctl status" in refused.stderr


@pytest.mark.breaks
def test_restart(ledger: Site) -> None:
    before, slot = ledger.master, ledger.slot
    ledger.machine.output("ledger-ctl restart")
    live_releases([ledger])
    assert ledger.master != before
    assert ledger.slot != slot
    assert "restart result=ok by=root@" in history(ledger)[-1]
