"""The operator's tables and logs, and refusals that list the valid names. The unit tests cover more verbs."""

from __future__ import annotations

import pytest
from ledger import run_ok
from support import Machine, Site, run_playbook

testinfra_hosts = ["ansible://east"]


@pytest.mark.parametrize("verb", ["deploy", "restart", "releases", "logs"])
def test_an_unknown_site_is_refused_with_a_similar_name(verb: str) -> None:
    done = run_playbook(f"playbooks/{verb}.yml", "--extra-vars=site=ledgr")
    assert done.rc != 0
    assert "there is no such site on these hosts; did you mean ledger? There are: ledger, notice" in done.output


@pytest.mark.parametrize("verb", ["rollback", "logs"])
def test_the_verb_needs_a_site_if_there_are_several(verb: str) -> None:
    done = run_playbook(f"playbooks/{verb}.yml")
    assert done.rc != 0
    assert "is missing; name a site. There are: ledger, notice" in done.output


def test_the_table_of_releases_shows_operator_and_source(ledgers: list[Site]) -> None:
    done = run_ok("releases", machine=ledgers[0].machine)
    row = next(line for line in done.output.splitlines() if ledgers[0].release in line)
    assert row.split()[:2] == ["east", "ledger"]
    assert " live " in row
    assert "@" in row
    assert "folder " in row
    assert "west" not in done.output, "-l is honoured"
    assert "notice" not in done.output
    assert any(line.split()[4:6] == ["deploy", "ok"] for line in done.output.splitlines()), done.output


def test_the_logs_show_one_request(ledgers: list[Site]) -> None:
    request = ledgers[0].get("/one-request").headers["X-Request-ID"]
    done = run_ok("logs", f"request_id={request}", "lines=5", machine=ledgers[0].machine)
    assert "/one-request" in done.output
    assert "--- /var/log/ledger/server.log" in done.output
    assert "/healthz" not in done.output


def test_the_journal_shows_the_deploys(east: Machine) -> None:
    assert "deploy result=ok" in east.output("journalctl --identifier=ledger-ctl --output=cat")
