"""Killed processes come back on a host without systemd; scenario load kills them under load on a host with systemd."""

from __future__ import annotations

import pytest
from support import Site, wait_until

pytestmark = pytest.mark.breaks
testinfra_hosts = ["ansible://west"]


@pytest.mark.parametrize("victim", ["worker", "server"])
def test_a_killed_process_comes_back_without_orphans(ledgers: list[Site], victim: str) -> None:
    (_, west) = ledgers
    before = west.snapshot()
    killed = {before.master, *before.workers} if victim == "server" else {min(before.workers)}
    west.machine.output("kill -KILL %s", str(before.master if victim == "server" else min(killed)))
    wait_until(lambda: not killed & west.snapshot().processes, "nothing killed or orphaned is left")
    wait_until(west.is_healthy, "it is healthy")
    wait_until(lambda: len(west.snapshot().workers) == len(before.workers), "it has all its workers")
