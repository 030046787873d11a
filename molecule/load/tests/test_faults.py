"""Broken releases, killed runs and killed daemons: the live release goes on, or comes back."""

from __future__ import annotations

import subprocess
from dataclasses import dataclass
from pathlib import Path

import pytest
from barriers import Barrier
from faults import FAULTS, add_slow_hooks
from killing import kill, wait_for_end
from pausing import PHASES, pause_at
from reliability import Table
from shops import Shop, deploy_at_barrier, distribute
from support import PROJECT, Run, Site, wait_until
from under_load import Load, under_load

pytestmark = pytest.mark.breaks
testinfra_hosts = ["ansible://market"]


@dataclass
class Outcome:
    """The outcome of a run that failed or was killed while its site was under load."""

    shop: Shop
    before: str
    after: str
    run: Run
    load: Load


@pytest.fixture(scope="module")
def refused(shops: list[Shop], table: Table, tmp_path_factory: pytest.TempPathFactory) -> dict[str, Outcome]:
    """Each fault, deployed to one of the sites."""

    def deploy(shop: Shop, name: str) -> tuple[str, Outcome]:
        broken = shop.copy(tmp_path_factory.mktemp("fault"))
        broken.append("# other code as well")
        broken.entry |= FAULTS[name].settings
        FAULTS[name].inject(broken)
        before = shop.release
        with under_load([shop], name, table) as load:
            run = broken.run("deploy")
        return name, Outcome(shop, before, shop.release, run, load)

    return dict(distribute(shops, list(FAULTS), deploy))


@pytest.mark.parametrize("name", FAULTS)
def test_a_broken_release_never_goes_live(refused: dict[str, Outcome], name: str) -> None:
    outcome = refused[name]
    assert outcome.run.rc != 0
    assert FAULTS[name].message in outcome.run.output, outcome.run.output
    assert outcome.load.harm == {}
    assert outcome.after == outcome.before
    assert outcome.load.reports[outcome.shop.name].releases == {outcome.before}
    assert outcome.load.idle_closes == 0


def test_each_site_is_healthy_afterwards_with_one_program(shops: list[Shop], refused: dict[str, Outcome]) -> None:
    for shop in shops:
        wait_until(shop.is_healthy, f"{shop.name} is healthy")


def kill_at(phase: str, shop: Shop) -> None:
    """Deploy, and in this phase kill the run on the controller and its step on the host."""
    run = subprocess.Popen(shop.deploy_command, cwd=PROJECT, stdout=subprocess.DEVNULL, stderr=subprocess.DEVNULL)
    try:
        step = pause_at(shop, phase)
    finally:
        kill(run)
    shop.machine.output("kill -KILL %s", step)
    wait_for_end(run, [shop.machine])


@pytest.fixture(scope="module")
def killed(shops: list[Shop], table: Table, tmp_path_factory: pytest.TempPathFactory) -> dict[str, Outcome]:
    """A deploy that is killed in each phase, and then run again."""

    def deploy(shop: Shop, phase: str) -> tuple[str, Outcome]:
        newer = shop.copy(tmp_path_factory.mktemp("killed"))
        add_slow_hooks(newer)
        newer.append(f"# {phase}")
        before = shop.release
        with under_load([shop], f"a deploy killed in the phase {phase}, and run again", table) as load:
            kill_at(phase, newer)
            load.generators[shop.name].wait_for(50)
            again = newer.run("deploy")
        wait_until(shop.is_healthy, f"{shop.name} is healthy")
        # The last hook leaves this file, in whichever of the two runs.
        shop.machine.output("test -e %s/shared/data/after_live", shop.root)
        return phase, Outcome(shop, before, shop.release, again, load)

    return dict(distribute(shops, list(PHASES), deploy))


@pytest.mark.parametrize("phase", PHASES)
def test_a_killed_deploy_loses_no_request_and_the_next_run_completes_it(killed: dict[str, Outcome], phase: str) -> None:
    outcome = killed[phase]
    assert outcome.run.rc == 0, outcome.run.output
    assert outcome.load.harm == {}
    assert outcome.load.idle_closes == 0
    assert outcome.after != outcome.before
    assert outcome.load.reports[outcome.shop.name].releases == {outcome.before, outcome.after}


def test_processes_that_a_release_leaves_behind_end_with_it(shops: list[Shop], table: Table, tmp_path: Path) -> None:
    shop = shops[0]
    leaky = shop.copy(tmp_path)
    leaky.append("import subprocess\nsubprocess.Popen(['sleep', '900'])")
    leaky.run_ok("deploy")
    leaked = shop.processes - {shop.master, *shop.workers}
    assert leaked
    with under_load([shop], "the end of a release that leaks processes", table) as load:
        shop.run_ok("deploy")
    assert load.harm == {}
    wait_until(shop.is_healthy, f"{shop.name} is healthy")


# --- Killed daemons: requests may fail here, and the table says for how long ------------------------------------------


def crash(shops: list[Shop], table: Table, what: str, command: str) -> None:
    """Kill something, and wait until the sites are healthy and nothing of before is left. No POST may run twice."""
    killed = {pid for shop in shops for pid in (shop.master, *shop.workers)} if "server" in what else set()
    with under_load(shops, what, table) as load:
        shops[0].machine.output(command)
        for shop in shops:
            wait_until(shop.is_healthy, f"{shop.name} is healthy")
    assert load.bad_answers == {}
    assert not killed & {pid for shop in shops for pid in shop.processes}, "no process of before is left"


def kill_command(pids: list[int]) -> str:
    """The command that kills these processes."""
    return " ".join(map(str, ["kill -KILL", *pids]))


def test_a_killed_worker_costs_its_own_requests_alone(two_shops: list[Shop], table: Table) -> None:
    crash(two_shops, table, "kill -9 of a worker", kill_command([min(shop.workers) for shop in two_shops]))


def test_a_killed_server_comes_back_without_orphans(shops: list[Shop], table: Table) -> None:
    crash(shops, table, "kill -9 of the server's master", kill_command([shop.master for shop in shops]))


def test_a_killed_nginx_comes_back(two_shops: list[Shop], table: Table) -> None:
    crash(two_shops, table, "kill -9 of nginx's master", "kill -KILL $(systemctl show -P MainPID nginx)")


def test_a_killed_supervisord_comes_back_with_its_sites(shops: list[Shop], table: Table) -> None:
    crash(shops, table, "kill -9 of supervisord", "kill -KILL $(systemctl show -P MainPID supervisor)")


def test_supervisord_restarted_in_the_middle_of_a_deploy(shops: list[Shop], table: Table, tmp_path: Path) -> None:
    shop = shops[1]
    newer = shop.copy(tmp_path)
    barrier = Barrier(shop)
    newer.append(barrier.code)
    idle = {"blue": "green", "green": "blue"}[shop.slot]
    with under_load([shop], "supervisord restarted in a deploy", table) as load:
        with deploy_at_barrier(newer, barrier) as run:
            assert f"{shop.name}-{idle}" in shop.programs
            shop.machine.output("systemctl restart supervisor")
            output, _ = run.communicate(timeout=300)
            wait_until(shop.is_healthy, f"{shop.name} is healthy")
            assert shop.release in shop.machine.output("ls %s/releases", shop.root), output
        newer.run_ok("deploy")
    wait_until(shop.is_healthy, f"{shop.name} is healthy")
    assert load.bad_answers == {}


def test_another_site_on_the_host_is_healthy_after_all_of_it(neighbour: Site) -> None:
    wait_until(neighbour.is_healthy, "the neighbour is healthy")
