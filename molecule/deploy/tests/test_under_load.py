"""Whatever changes, nobody who asks meanwhile notices: nothing fails, every answer is right, each POST runs once."""

from __future__ import annotations

import re
from collections import Counter

import pytest
from reliability import Table
from support import PROJECT, Site, until
from tills import Load, Till, add_package, at_once, in_lanes, under_load

pytestmark = pytest.mark.breaks
testinfra_hosts = ["ansible://east"]


def nobody_noticed(load: Load, tills: list[Till], releases: int = 2) -> None:
    """All sites are well, were asked all the time, and did no harm to anybody."""
    assert load.harm == {}
    assert load.idle_closes == 0
    for till in tills:
        until(till.is_well, f"{till.name} is well")
        report = load.reports[till.name]
        assert len(report.releases) == releases, "it was asked before and after"
        assert till.release in report.releases
        assert len(report.during.taken) > 200


def test_new_code(tills: list[Till], table: Table) -> None:
    for till in tills:
        till.write("# newer")
    with under_load(tills, "new code", table) as load:
        at_once(tills, lambda till: till.well("deploy"))
    nobody_noticed(load, tills)


def another_lock(till: Till) -> None:
    """One more package, without which the code does not run."""
    add_package(till.code / "requirements.txt", "blinker", PROJECT / "molecule/deploy/ledger/requirements.txt")
    till.write("import blinker")


CHANGES = {
    "a setting of the server": lambda till: till.entry.update(workers=3),
    "the environment": lambda till: till.entry.update(env={"MOOD": "glad"}),
    "a dependency": another_lock,
}


@pytest.fixture(scope="module")
def changed(tills: list[Till], table: Table) -> dict[str, tuple[Till, Load]]:
    """Each change, on one of the sites."""

    def deploy(till: Till, what: str) -> tuple[str, tuple[Till, Load]]:
        CHANGES[what](till)
        with under_load([till], what, table) as load:
            till.well("deploy")
        return what, (till, load)

    return dict(in_lanes(tills, list(CHANGES), deploy))


def test_another_setting_of_the_server(changed: dict[str, tuple[Till, Load]]) -> None:
    till, load = changed["a setting of the server"]
    nobody_noticed(load, [till])
    assert len(till.workers) == 3


def test_another_environment(changed: dict[str, tuple[Till, Load]]) -> None:
    till, load = changed["the environment"]
    nobody_noticed(load, [till])
    assert till.get("/price").json["mood"] == "glad"


def test_another_dependency(changed: dict[str, tuple[Till, Load]]) -> None:
    till, load = changed["a dependency"]
    nobody_noticed(load, [till])
    till.machine.output("test -d %s/live/release/packages/blinker", till.root)


def test_rotated_logs(tills: list[Till], table: Table) -> None:
    with under_load(tills, "three rotations of all logs", table) as load:
        for _ in range(3):
            tills[0].machine.output("logrotate --force /etc/logrotate.conf")
            for hammer in load.hammers.values():
                hammer.wait_for(200)
    nobody_noticed(load, tills, releases=1)
    for till in tills:
        wanted = load.reports[till.name].requests
        assert len(till.logged(load.hammers[till.name], wanted)) == wanted, "no line is lost, and none is there twice"


def test_a_setting_of_nginx_reloads_it_and_may_close_idle_connections(tills: list[Till], table: Table) -> None:
    for till in tills:
        till.entry["proxy_timeout"] = 61
    with under_load(tills, "a setting of nginx (reload)", table) as load:
        at_once(tills, lambda till: till.well("deploy"))
    # Counted apart, and harmless: what was asked again had not been read the first time.
    assert load.harm == {}
    for till in tills:
        until(till.is_well, f"{till.name} is well")
        assert load.reports[till.name].releases == {till.release}, "it needed no new one"
        assert_each_post_once(till, load)


def assert_each_post_once(till: Till, load: Load) -> None:
    """nginx saw each POST once, under one ID, and gave it to the server once."""
    report = load.reports[till.name]
    lines = [line for line in till.logged(load.hammers[till.name], report.requests) if '"POST ' in line]
    paths = Counter(line.split('"')[1] for line in lines)
    assert max(paths.values()) == 1
    assert len({line.rpartition(" id=")[2] for line in lines}) == len(lines) == report.posts
    # What uWSGI could not take any more, or not yet, and has not seen, is asked by http.
    given = re.compile(r" upstream_status=(502 : )?200 ")
    assert [line for line in lines if not given.search(line)] == []


def test_the_way_back(tills: list[Till], table: Table) -> None:
    before = [till.release for till in tills]
    with under_load(tills, "a rollback", table) as load:
        at_once(tills, lambda till: till.well("rollback"))
    nobody_noticed(load, tills)
    # Two sites may have releases of the same second and code, so of one ID.
    assert all(till.release != release for till, release in zip(tills, before, strict=True))


def test_another_server_there_and_back(tills: list[Till], table: Table) -> None:
    """nginx is told of the other protocol after the switch, and of a way back not at all."""
    till = next(till for till in tills if till.kind == "gthread")
    for server, what in (("uwsgi", "from gunicorn to uWSGI"), ("gunicorn", "from uWSGI to gunicorn")):
        till.entry["server"] = server
        with under_load([till], what, table) as load:
            till.well("deploy")
        # The page has changed, so that nginx was reloaded: idle connections may close.
        assert load.harm == {}
        until(till.is_well, f"{till.name} is well")
        assert till.release in load.reports[till.name].releases
        assert_each_post_once(till, load)
    for what in ("a rollback to uWSGI", "a rollback from uWSGI"):
        with under_load([till], what, table) as load:
            till.well("rollback")
        nobody_noticed(load, [till])


def test_new_processes(tills: list[Till], table: Table) -> None:
    before = [till.master for till in tills]
    records = [till.machine.output("cat %s/previous", till.root) for till in tills]
    with under_load(tills, "a restart", table) as load:
        at_once(tills, lambda till: till.well("restart"))
    nobody_noticed(load, tills, releases=1)
    assert not set(before) & {till.master for till in tills}
    assert records == [till.machine.output("cat %s/previous", till.root) for till in tills], "the way back is the same"


def test_the_other_sites_went_on(ledgers: list[Site]) -> None:
    for site in ledgers:
        until(site.is_well, f"{site.name} is well")
