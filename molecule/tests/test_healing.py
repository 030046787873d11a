"""What runs again after something was killed without warning."""

from __future__ import annotations

import pytest
from support import Machine, Site, wait_until

pytestmark = pytest.mark.breaks


def kill(machine: Machine, *pids: int) -> None:
    """Kill processes without warning."""
    machine.output("kill -KILL " + " ".join(map(str, pids)))


def main_pid(machine: Machine, unit: str) -> int:
    """The main process of a systemd unit; 0 while it has none."""
    return int(machine.output("systemctl show --property=MainPID --value %s", unit))


@pytest.fixture
def systemd(machine: Machine) -> Machine:
    """The host, if something on it starts daemons again."""
    if not machine.has_systemd:
        pytest.skip(f"{machine.name} has no systemd: nothing starts a daemon again there")
    return machine


def test_a_killed_worker_is_replaced(site: Site) -> None:
    victim, others = site.workers.pop(), site.workers
    kill(site.machine, victim)
    wait_until(
        lambda: victim not in site.workers and len(site.workers) == len(others), "there are as many workers as before"
    )
    wait_until(site.is_healthy, f"{site.name} is well")


def test_a_killed_server_is_started_again_and_leaves_no_orphans(site: Site) -> None:
    before = {site.master, *site.workers}
    kill(site.machine, site.master)
    wait_until(site.is_healthy, f"{site.name} is well")
    assert not before & site.processes


def test_a_killed_supervisord_comes_back_with_its_sites_and_leaves_no_orphans(systemd: Machine, site: Site) -> None:
    daemon = main_pid(systemd, "supervisor")
    before = {site.master, *site.workers}
    kill(systemd, daemon)
    wait_until(lambda: main_pid(systemd, "supervisor") not in (0, daemon), "supervisord is back")
    wait_until(site.is_healthy, f"{site.name} is well")
    assert not before & site.processes


def test_a_killed_nginx_comes_back(systemd: Machine, site: Site) -> None:
    daemon = main_pid(systemd, "nginx")
    kill(systemd, daemon)
    wait_until(lambda: main_pid(systemd, "nginx") not in (0, daemon), "nginx is back")
    wait_until(site.is_healthy, f"{site.name} is well")
    masters = systemd.output("pgrep --full 'nginx: master'").split()
    assert masters == [str(main_pid(systemd, "nginx"))]
