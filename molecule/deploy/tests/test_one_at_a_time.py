"""Two runs at once, and the lock of a run that was cut off."""

from __future__ import annotations

import json
import subprocess
from collections.abc import Callable

import pytest
from barriers import Barrier
from killing import kill, wait_for_end
from ledger import history, live_releases, run, run_ok
from support import PROJECT, Site, command_of, wait_until

pytestmark = pytest.mark.breaks
testinfra_hosts = ["ansible://east"]


def holder(site: Site) -> dict | None:
    """The run that holds a site's lock."""
    text = site.machine.output("cat /run/sites/%s.run 2>/dev/null || echo {}", site.name)
    return json.loads(text).get("holder")


def begin(sites: dict) -> subprocess.Popen:
    """Start a deploy in the background."""
    command = command_of("playbooks/deploy.yml", "--extra-vars=site=ledger", sites=sites)
    return subprocess.Popen(command, cwd=PROJECT, stdout=subprocess.PIPE, stderr=subprocess.STDOUT, text=True)


def test_the_second_run_is_refused_with_the_name_of_the_first(ledgers: list[Site], version: Callable) -> None:
    before, barrier = live_releases(ledgers), Barrier(*ledgers)
    first = begin(version("slow", hooks=barrier.hooks))
    wait_until(lambda: all(holder(site) for site in ledgers), "the first run holds both hosts")
    second = run("rollback")
    assert second.rc != 0
    assert "has been deploying it since" in second.output
    barrier.open()
    output, _ = first.communicate(timeout=300)
    assert first.returncode == 0, output
    assert live_releases(ledgers).isdisjoint(before)
    assert [holder(site) for site in ledgers] == [None, None], "it has released the lock"
    assert "deploy result=ok" in history(ledgers[0])[-1]


def test_a_dead_run_of_the_same_controller_blocks_no_other(ledgers: list[Site], version: Callable) -> None:
    barrier = Barrier(*ledgers)
    first = begin(version("killed", hooks=barrier.hooks))
    wait_until(lambda: all(holder(site) for site in ledgers), "it holds both hosts")
    kill(first)
    barrier.open()
    # A step that still runs on a host does not count as dead.
    wait_for_end(first, [site.machine for site in ledgers])
    assert all(holder(site) for site in ledgers)
    done = run_ok("deploy", sites=version("after"))
    assert "its process has ended" in done.output
    assert any("result=cut-off" in line for line in history(ledgers[0])[-2:])
    assert [holder(site) for site in ledgers] == [None, None]


def test_the_lock_of_another_controller_is_respected_unless_the_operator_takes_it(ledgers: list[Site]) -> None:
    live, masters = live_releases(ledgers), [site.master for site in ledgers]
    now = int(ledgers[0].machine.output("date +%s"))
    other = {
        "id": "x",
        "action": "deploy",
        "who": "eve",
        "controller": "elsewhere",
        "machine": "m",
        "process": "1:1",
    }
    text = json.dumps({"holder": {**other, "since": now, "seen": now}})
    for site in ledgers:
        site.machine.output("echo %s > /run/sites/ledger.run", text)
    refused = run("restart")
    assert refused.rc != 0
    assert "eve@elsewhere has been deploying it since" in refused.output
    taken = run_ok("restart", "lock=take")
    assert "took over from eve@elsewhere" in taken.output
    assert live_releases(ledgers) == live
    assert not set(masters) & {site.master for site in ledgers}, "both hosts have new processes"
