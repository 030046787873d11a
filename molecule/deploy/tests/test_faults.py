"""Whatever is wrong with a release, and whenever a run is killed: the live release goes on as if nothing happened."""

from __future__ import annotations

import subprocess
from dataclasses import dataclass
from pathlib import Path

import pytest
from catching import MOMENTS, catch
from faults import FAULTS, with_slow_hooks
from holding import Hold
from killing import kill, let_end
from reliability import Table
from support import PROJECT, Machine, Run, until
from tills import Load, Till, held, in_lanes, under_load

pytestmark = pytest.mark.breaks
testinfra_hosts = ["ansible://east"]


@dataclass
class Outcome:
    """What came of a run that could not end well, while its site was hammered."""

    till: Till
    before: str
    after: str
    run: Run
    load: Load


@pytest.fixture(scope="module")
def refused(tills: list[Till], table: Table, tmp_path_factory: pytest.TempPathFactory) -> dict[str, Outcome]:
    """Each fault, deployed to one of the sites."""

    def deploy(till: Till, what: str) -> tuple[str, Outcome]:
        spoiled = till.copy(tmp_path_factory.mktemp("fault"))
        spoiled.write("# other code as well")
        spoiled.entry |= FAULTS[what].settings
        FAULTS[what].spoil(spoiled)
        before = till.release
        with under_load([till], what, table) as load:
            run = spoiled.run("deploy")
        return what, Outcome(till, before, till.release, run, load)

    return dict(in_lanes(tills, list(FAULTS), deploy))


@pytest.mark.parametrize("what", FAULTS)
def test_what_cannot_go_live_is_told_and_not_noticed(refused: dict[str, Outcome], what: str) -> None:
    outcome = refused[what]
    assert outcome.run.rc != 0
    assert FAULTS[what].says in outcome.run.output, outcome.run.output
    assert outcome.load.harm == {}
    assert outcome.after == outcome.before
    assert outcome.load.reports[outcome.till.name].releases == {outcome.before}
    assert outcome.load.idle_closes == 0


def test_each_site_is_well_afterwards_with_one_program(tills: list[Till], refused: dict[str, Outcome]) -> None:
    for till in tills:
        until(till.is_well, f"{till.name} is well")


def kill_at(moment: str, till: Till) -> None:
    """Deploy, and kill the run here and its step on the host in the middle."""
    run = subprocess.Popen(till.deploying(), cwd=PROJECT, stdout=subprocess.DEVNULL, stderr=subprocess.DEVNULL)
    try:
        step = catch(till, moment)
    finally:
        kill(run)
    till.machine.output("kill -KILL %s", step)
    let_end(run, [till.machine])


@pytest.fixture(scope="module")
def killed(tills: list[Till], table: Table, tmp_path_factory: pytest.TempPathFactory) -> dict[str, Outcome]:
    """A deploy that is killed at each moment, and then run again."""

    def deploy(till: Till, moment: str) -> tuple[str, Outcome]:
        newer = till.copy(tmp_path_factory.mktemp("killed"))
        with_slow_hooks(newer)
        newer.write(f"# {moment}")
        before = till.release
        with under_load([till], f"a deploy killed while {moment}, and run again", table) as load:
            kill_at(moment, newer)
            load.hammers[till.name].wait_for(100)
            again = newer.run("deploy")
        until(till.is_well, f"{till.name} is well")
        # The last hook leaves this, whichever of the two runs came to it.
        till.machine.output("test -e %s/shared/data/after_live", till.root)
        return moment, Outcome(till, before, till.release, again, load)

    return dict(in_lanes(tills, list(MOMENTS), deploy))


@pytest.mark.parametrize("moment", MOMENTS)
def test_a_killed_deploy_is_not_noticed_and_the_next_one_ends_it(killed: dict[str, Outcome], moment: str) -> None:
    outcome = killed[moment]
    assert outcome.run.rc == 0, outcome.run.output
    assert outcome.load.harm == {}
    assert outcome.load.idle_closes == 0
    assert outcome.after != outcome.before
    assert outcome.load.reports[outcome.till.name].releases == {outcome.before, outcome.after}


def test_what_a_release_leaves_running_ends_with_it(tills: list[Till], table: Table, tmp_path: Path) -> None:
    till = tills[0]
    leaky = till.copy(tmp_path)
    leaky.write("import subprocess\nsubprocess.Popen(['sleep', '900'])")
    leaky.well("deploy")
    leaked = till.processes - {till.master, *till.workers}
    assert leaked
    with under_load([till], "the end of a release that leaks processes", table) as load:
        till.well("deploy")
    assert load.harm == {}
    until(till.is_well, f"{till.name} is well")


# --- Killed daemons: not all of it can be survived, so how long it took is reported -----------------------------------


def crash(tills: list[Till], table: Table, what: str, command: str) -> None:
    """Kill something, and wait until the sites are well again. Whatever happens, no POST may run twice."""
    with under_load(tills, what, table) as load:
        tills[0].machine.output(command)
        for till in tills:
            until(till.is_well, f"{till.name} is well")
    for report in load.reports.values():
        assert (report.wrong, report.lost, report.doubled) == ([], [], [])


def killing(pids: list[int]) -> str:
    """The command."""
    return " ".join(map(str, ["kill -KILL", *pids]))


def test_killed_workers_cost_no_more_than_what_they_were_at(tills: list[Till], table: Table) -> None:
    crash(tills, table, "kill -9 of a worker", killing([min(till.workers) for till in tills]))


def test_killed_servers_come_back(tills: list[Till], table: Table) -> None:
    crash(tills, table, "kill -9 of the server's master", killing([till.master for till in tills]))


def test_a_killed_nginx_comes_back(tills: list[Till], table: Table) -> None:
    crash(tills, table, "kill -9 of nginx's master", "kill -KILL $(systemctl show -P MainPID nginx)")


def test_a_killed_supervisord_comes_back(tills: list[Till], table: Table) -> None:
    crash(tills, table, "kill -9 of supervisord", "kill -KILL $(systemctl show -P MainPID supervisor)")


def test_supervisord_restarted_in_the_middle_of_a_deploy(tills: list[Till], table: Table, tmp_path: Path) -> None:
    till = tills[1]
    newer = till.copy(tmp_path)
    hold = Hold(till)
    newer.write(hold.code)
    idle = {"blue": "green", "green": "blue"}[till.slot]
    with under_load([till], "supervisord restarted half-way", table) as load:
        with held(newer, hold) as run:
            assert f"{till.name}-{idle}" in till.programs
            till.machine.output("systemctl restart supervisor")
            said, _ = run.communicate(timeout=300)
            until(till.is_well, f"{till.name} is well")
            assert till.release in till.machine.output("ls %s/releases", till.root), said
        newer.well("deploy")
    until(till.is_well, f"{till.name} is well")
    report = load.reports[till.name]
    assert (report.wrong, report.lost, report.doubled) == ([], [], [])


def test_the_neighbours_went_on(east: Machine, ledgers: list) -> None:
    for site in ledgers:
        until(site.is_well, f"{site.name} is well")
