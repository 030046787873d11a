"""Events on the host: a full disk, two deploys at once, a reboot in mid-deploy, a database that starts late."""

from __future__ import annotations

from pathlib import Path

import pytest
from barriers import Barrier
from reliability import Table
from shops import Shop, deploy_at_barrier, make
from support import Machine, wait_until
from under_load import under_load

pytestmark = pytest.mark.breaks
testinfra_hosts = ["ansible://market"]

SMALL = "/small"


@pytest.fixture
def cramped(market: Machine, tmp_path: Path) -> Shop:
    """A shop with its releases on a small disk, and its orders elsewhere, as an operator would have it."""
    entry = {"server_names": ["cramped.test"], "worker_class": "gthread", "root": f"{SMALL}/cramped"}
    shop = make(market, "cramped", tmp_path, **entry)
    shop.run_ok("deploy")
    market.output(f"mv {shop.root}/shared /srv/cramped && ln -s /srv/cramped {shop.root}/shared")
    return shop


def test_a_disk_that_fills_while_a_release_is_built(cramped: Shop, table: Table) -> None:
    before = cramped.release
    cramped.append("# newer")
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
    cramped.run_ok("deploy")
    wait_until(cramped.is_healthy, "it is healthy")
    assert cramped.release != before
    cramped.entry |= {"state": "absent", "purge": True}
    cramped.run_ok("deploy")


def test_two_deploys_at_once(shops: list[Shop], table: Table, tmp_path: Path) -> None:
    shop = shops[2]
    first, second = shop.copy(tmp_path / "first"), shop.copy(tmp_path / "second")
    barrier = Barrier(shop)
    first.append("# first")
    first.entry["hooks"] = barrier.hooks
    second.append("# second")
    with under_load([shop], "two deploys at once", table) as load, deploy_at_barrier(first, barrier) as run:
        refused = second.run("deploy")
        barrier.open()
        output, _ = run.communicate(timeout=300)
    assert run.returncode == 0, output
    assert refused.rc != 0
    assert "has been deploying it since" in refused.output, refused.output
    assert load.harm == {}
    assert load.idle_closes == 0
    assert len(load.reports[shop.name].releases) == 2


def test_a_host_that_reboots_in_the_middle_of_a_deploy(shops: list[Shop], table: Table, tmp_path: Path) -> None:
    shop = shops[0]
    before = shop.release
    newer = shop.copy(tmp_path)
    barrier = Barrier(shop)
    newer.append(barrier.code)
    idle = {"blue": "green", "green": "blue"}[shop.slot]
    with under_load([shop], "a reboot in a deploy", table) as load, deploy_at_barrier(newer, barrier) as run:
        assert f"{shop.name}-{idle}" in shop.programs
        shop.machine.restart()
        run.communicate(timeout=300)
        wait_until(lambda: shop.answering_release == before, "the release that was live answers again")
        # The launcher of the other slot takes a moment to refuse.
        wait_until(lambda: shop.programs.get(f"{shop.name}-{idle}") == "EXITED", "the slot that was starting is down")
    assert load.bad_answers == {}
    assert run.returncode != 0
    assert shop.programs[f"{shop.name}-{shop.slot}"] == "RUNNING"
    newer.run_ok("deploy")
    wait_until(shop.is_healthy, f"{shop.name} is healthy")


# As an app does that needs its database before it answers anything; Redis, since it is small.
NEEDS_DATABASE = """
import socket
with socket.create_connection(("127.0.0.1", 6379), timeout=2) as database:
    database.sendall(b"PING\\r\\n")
    assert database.recv(7) == b"+PONG\\r\\n"
"""


def test_a_database_that_starts_late_at_boot(shops: list[Shop], table: Table, tmp_path: Path) -> None:
    shop = shops[1].copy(tmp_path)
    shop.machine.output("apt-get -qq update && apt-get -qq install -y --no-install-recommends redis-server >/dev/null")
    shop.machine.output("systemctl enable --now redis-server")
    wait_until(lambda: shop.machine.host.run("redis-cli ping").stdout == "PONG\n", "the database answers")
    shop.append(NEEDS_DATABASE)
    shop.run_ok("deploy")
    shop.machine.output("systemctl disable redis-server")

    def failed_starts() -> int:
        """How many times the app did not reach its database; supervisor's states depend on how slow the machine is."""
        return int(shop.machine.output("grep -c ^ConnectionRefusedError /var/log/%s/server.log || true", shop.name))

    before = failed_starts()
    with under_load([shop], "a database that starts late at boot", table) as load:
        shop.machine.restart()
        wait_until(lambda: failed_starts() > before, "the site has failed to start")
        shop.machine.output("systemctl start redis-server")
        wait_until(shop.is_healthy, f"{shop.name} is healthy")
    assert load.bad_answers == {}
    assert load.reports[shop.name].releases == {shop.release}
