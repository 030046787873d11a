"""A site that may not run twice at once: it has a downtime at each change, and comes back if the change fails."""

from __future__ import annotations

import re
from collections.abc import Callable
from pathlib import Path

import pytest
from ledger import history, live_releases, run, run_ok
from support import Site

pytestmark = pytest.mark.breaks
testinfra_hosts = ["ansible://east"]

# Fails to start on a host with this file.
FAILS_ON_ONE_HOST = """
import os, sys
if os.path.exists("/srv/ledger/shared/data/lame") and "--check-config" not in sys.argv:
    raise RuntimeError("lame here")
"""


def test_the_downtime_is_reported(ledgers: list[Site], version: Callable) -> None:
    before = live_releases(ledgers)
    done = run_ok("deploy", sites=version("alone", going_live="replace"))
    assert len(re.findall(r"ledger: downtime of \d+\.\d s", done.output)) == len(ledgers)
    live = live_releases(ledgers)
    assert live != before
    # The site config no longer has the key; the live release still has it.
    assert "ledger: downtime of " in run_ok("restart").output
    assert live_releases(ledgers) == live
    assert "ledger: downtime of " in run_ok("rollback").output
    assert live_releases(ledgers) == before
    for site in ledgers:
        assert all(" downtime=" in line for line in history(site)[-3:])


def test_if_one_host_fails_all_come_back(ledgers: list[Site], version: Callable) -> None:
    before, (east, west) = live_releases(ledgers), ledgers
    sites = version("lame", going_live="replace", health={"timeout": 15})
    with (Path(sites["ledger"]["source"]["path"]) / "wsgi.py").open("a") as code:
        code.write(FAILS_ON_ONE_HOST)
    west.machine.output("install -o ledger /dev/null %s/shared/data/lame", west.root)
    try:
        done = run("deploy", sites=sites)
    finally:
        west.machine.output("rm %s/shared/data/lame", west.root)
    assert done.rc != 0
    assert "lame here" in done.output
    assert "It was stopped and runs again; downtime: " in done.output
    assert live_releases(ledgers) == before
    assert "deploy result=failed" in history(east)[-1]
    assert " downtime=" in history(east)[-1]
