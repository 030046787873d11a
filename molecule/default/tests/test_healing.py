"""What runs again after it was killed, on both Debian releases; the scenario `load` kills servers of all kinds."""

from __future__ import annotations

import pytest
from support import Machine, Site, wait_until

pytestmark = pytest.mark.breaks


def kill(machine: Machine, *pids: int) -> None:
    """Kill processes."""
    machine.output("kill -KILL " + " ".join(map(str, pids)))


def main_pid(machine: Machine, unit: str) -> int:
    """The main process of a systemd unit; 0 while it has none."""
    return int(machine.output("systemctl show --property=MainPID --value %s", unit))


def test_a_killed_worker_is_replaced(site: Site) -> None:
    before = site.snapshot()
    victim = min(before.workers)
    kill(site.machine, victim)

    def is_replaced() -> bool:
        workers = site.workers
        return victim not in workers and len(workers) == len(before.workers)

    wait_until(is_replaced, "there are as many workers as before")
    wait_until(site.is_healthy, f"{site.name} is healthy")


def test_a_killed_server_is_started_again_and_leaves_no_orphans(site: Site) -> None:
    before = site.snapshot()
    kill(site.machine, before.master)
    wait_until(site.is_healthy, f"{site.name} is healthy")
    assert not {before.master, *before.workers} & site.processes


def test_a_killed_supervisord_comes_back_with_its_sites_and_leaves_no_orphans(machine: Machine, site: Site) -> None:
    daemon, before = main_pid(machine, "supervisor"), site.snapshot()
    kill(machine, daemon)
    wait_until(lambda: main_pid(machine, "supervisor") not in (0, daemon), "supervisord is back")
    wait_until(site.is_healthy, f"{site.name} is healthy")
    assert not {before.master, *before.workers} & site.processes


def test_a_killed_nginx_comes_back(machine: Machine, site: Site) -> None:
    daemon = main_pid(machine, "nginx")
    kill(machine, daemon)
    wait_until(lambda: main_pid(machine, "nginx") not in (0, daemon), "nginx is back")
    wait_until(site.is_healthy, f"{site.name} is healthy")
    masters = machine.output("pgrep --full 'nginx: master'").split()
    assert masters == [str(main_pid(machine, "nginx"))]
