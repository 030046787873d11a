"""What happens to a host: its disk is full, it reboots in the middle of a deploy, its database comes up late."""

from __future__ import annotations

from pathlib import Path

import pytest
from holding import Hold
from reliability import Table
from support import Machine, until
from tills import Till, held, make, under_load

pytestmark = pytest.mark.breaks
testinfra_hosts = ["ansible://east"]

SMALL = "/small"


@pytest.fixture
def cramped(east: Machine, tmp_path: Path) -> Till:
    """A till whose releases lie on a small disk. What it books lies elsewhere, as an operator would have it."""
    till = make(east, "gthread", tmp_path, name="cramped")
    till.entry["root"] = f"{SMALL}/cramped"
    till.well("deploy")
    east.output(f"mv {till.root}/shared /srv/cramped && ln -s /srv/cramped {till.root}/shared")
    return till


def test_a_disk_that_fills_while_a_release_is_built(cramped: Till, table: Table) -> None:
    before = cramped.release
    cramped.write("# newer")
    try:
        with under_load([cramped], "a full disk", table) as load:
            cramped.machine.output(f"dd if=/dev/zero of={SMALL}/rest bs=64k 2>/dev/null || true")
            run = cramped.run("deploy")
    finally:
        cramped.machine.output(f"rm -f {SMALL}/rest")
    assert run.rc != 0
    assert "MB are free" in run.output, run.output
    assert load.harm == {}
    assert load.idle_closes == 0
    assert cramped.release == before
    cramped.well("deploy")
    until(cramped.is_well, "it is well")
    assert cramped.release != before
    cramped.entry |= {"state": "absent", "purge": True}
    cramped.well("deploy")


def test_two_deploys_at_once(tills: list[Till], table: Table, tmp_path: Path) -> None:
    till = tills[2]
    first, second = till.copy(tmp_path / "first"), till.copy(tmp_path / "second")
    hold = Hold(till)
    first.write("# first")
    first.entry["hooks"] = hold.hooks
    second.write("# second")
    with under_load([till], "two deploys at once", table) as load, held(first, hold) as run:
        refused = second.run("deploy")
        hold.let_go()
        said, _ = run.communicate(timeout=300)
    assert run.returncode == 0, said
    assert refused.rc != 0
    assert "has been deploying it since" in refused.output, refused.output
    assert load.harm == {}
    assert load.idle_closes == 0
    assert len(load.reports[till.name].releases) == 2
    till.well("deploy")


def test_a_host_that_reboots_in_the_middle_of_a_deploy(tills: list[Till], table: Table, tmp_path: Path) -> None:
    till = tills[0]
    before = till.release
    newer = till.copy(tmp_path)
    hold = Hold(till)
    newer.write(hold.code)
    idle = {"blue": "green", "green": "blue"}[till.slot]
    with under_load([till], "the host rebooted half-way", table) as load, held(newer, hold) as run:
        assert f"{till.name}-{idle}" in till.programs
        till.machine.restart()
        run.communicate(timeout=300)
        until(lambda: till.answering_release == before, "what was live answers again")
        # The other slot's launcher takes a moment to refuse.
        until(lambda: till.programs.get(f"{till.name}-{idle}") == "EXITED", "the slot that was starting has refused")
    report = load.reports[till.name]
    assert (report.wrong, report.lost, report.doubled) == ([], [], [])
    assert run.returncode != 0
    assert till.programs[f"{till.name}-{till.slot}"] == "RUNNING"
    newer.well("deploy")
    until(till.is_well, f"{till.name} is well")


# As an application does that wants its database before it answers anything; Redis, since it is small.
WANTS_DATABASE = """
import socket
with socket.create_connection(("127.0.0.1", 6379), timeout=2) as database:
    database.sendall(b"PING\\r\\n")
    assert database.recv(7) == b"+PONG\\r\\n"
"""


def test_a_database_that_is_late_at_boot(tills: list[Till], table: Table, tmp_path: Path) -> None:
    till = tills[1].copy(tmp_path)
    till.machine.output("apt-get -qq update && apt-get -qq install -y --no-install-recommends redis-server >/dev/null")
    till.machine.output("systemctl enable --now redis-server")
    until(lambda: till.machine.host.run("redis-cli ping").stdout == "PONG\n", "the database answers")
    till.write(WANTS_DATABASE)
    till.well("deploy")
    till.machine.output("systemctl disable redis-server")
    program = f"{till.name}-{till.slot}"
    with under_load([till], "a database that is late at boot", table) as load:
        till.machine.restart()
        until(lambda: till.programs.get(program) == "BACKOFF", "the site has tried in vain")
        till.machine.output("systemctl start redis-server")
        until(till.is_well, f"{till.name} is well")
    report = load.reports[till.name]
    assert (report.wrong, report.lost, report.doubled) == ([], [], [])
    assert report.releases == {till.release}
    till.machine.output("systemctl stop redis-server")
    tills[1].well("deploy")
