"""Changes that lose no request: nothing fails, every response is right, and each POST runs exactly once."""

from __future__ import annotations

import re
from collections import Counter

import pytest
from reliability import Table
from shops import Shop, add_package, deploy_all, distribute, in_parallel
from support import PROJECT, Site, wait_until
from under_load import Load, under_load

pytestmark = pytest.mark.breaks
testinfra_hosts = ["ansible://market"]


def assert_no_request_lost(load: Load, shops: list[Shop], releases: int = 2) -> None:
    """All sites are healthy, served requests throughout, and did no harm to a client."""
    assert load.harm == {}
    assert load.idle_closes == 0
    for shop in shops:
        wait_until(shop.is_healthy, f"{shop.name} is healthy")
        report = load.reports[shop.name]
        assert len(report.releases) == releases, "there were requests before and after the change"
        assert shop.release in report.releases
        assert len(report.during.durations) > 100


def test_new_code(shops: list[Shop], table: Table) -> None:
    for shop in shops:
        shop.append("# newer")
    with under_load(shops, "new code", table) as load:
        deploy_all(shops)
    assert_no_request_lost(load, shops)


def another_lock(shop: Shop) -> None:
    """Add a package, without which the code does not run."""
    add_package(shop.code / "requirements.txt", "blinker", PROJECT / "molecule/deploy/ledger/requirements.txt")
    shop.append("import blinker")


CHANGES = {
    "a setting of the server": lambda shop: shop.entry.update(workers=3),
    "the environment": lambda shop: shop.entry.update(env={"GREETING": "hello"}),
    "a dependency": another_lock,
}


@pytest.fixture(scope="module")
def changed(shops: list[Shop], table: Table) -> dict[str, tuple[Shop, Load]]:
    """Each change, deployed to one of the sites."""

    def deploy(shop: Shop, what: str) -> tuple[str, tuple[Shop, Load]]:
        CHANGES[what](shop)
        with under_load([shop], what, table) as load:
            shop.run_ok("deploy")
        return what, (shop, load)

    return dict(distribute(shops, list(CHANGES), deploy))


def test_a_server_setting(changed: dict[str, tuple[Shop, Load]]) -> None:
    shop, load = changed["a setting of the server"]
    assert_no_request_lost(load, [shop])
    assert len(shop.workers) == 3


def test_the_environment(changed: dict[str, tuple[Shop, Load]]) -> None:
    shop, load = changed["the environment"]
    assert_no_request_lost(load, [shop])
    assert shop.get("/price").json["greeting"] == "hello"


def test_a_dependency(changed: dict[str, tuple[Shop, Load]]) -> None:
    shop, load = changed["a dependency"]
    assert_no_request_lost(load, [shop])
    shop.machine.output("test -d %s/live/release/packages/blinker", shop.root)


def test_log_rotation_loses_no_line(two_shops: list[Shop], table: Table) -> None:
    with under_load(two_shops, "three rotations of all logs", table) as load:
        for _ in range(3):
            two_shops[0].machine.output("logrotate --force /etc/logrotate.conf")
            for generator in load.generators.values():
                generator.wait_for(50)
    assert_no_request_lost(load, two_shops, releases=1)
    for shop in two_shops:
        requests = load.reports[shop.name].requests
        assert len(shop.logged(load.generators[shop.name], requests)) == requests, "each request has exactly one line"


def test_an_nginx_setting_reloads_nginx_and_may_close_idle_connections(two_shops: list[Shop], table: Table) -> None:
    for shop in two_shops:
        shop.entry["proxy_timeout"] = 61
    with under_load(two_shops, "a setting of nginx (reload)", table) as load:
        deploy_all(two_shops)
    # Idle closes are counted apart and harmless: nginx had not read those requests the first time.
    assert load.harm == {}
    for shop in two_shops:
        wait_until(shop.is_healthy, f"{shop.name} is healthy")
        assert load.reports[shop.name].releases == {shop.release}, "there is no new release"
        assert_each_post_once(shop, load)


def assert_each_post_once(shop: Shop, load: Load) -> None:
    """nginx received each POST once, under one ID, and passed it to the server once."""
    report = load.reports[shop.name]
    lines = [line for line in shop.logged(load.generators[shop.name], report.requests) if '"POST ' in line]
    paths = Counter(line.split('"')[1] for line in lines)
    assert max(paths.values()) == 1
    assert len({line.rpartition(" id=")[2] for line in lines}) == len(lines) == report.posts
    # If uWSGI accepts no connection any more, or not yet, nginx passes the request on over http.
    passed = re.compile(r" upstream_status=(502 : )?200 ")
    assert [line for line in lines if not passed.search(line)] == []


def test_a_rollback(two_shops: list[Shop], table: Table) -> None:
    before = [shop.release for shop in two_shops]
    with under_load(two_shops, "a rollback", table) as load:
        in_parallel(two_shops, lambda shop: shop.run_ok("rollback"))
    assert_no_request_lost(load, two_shops)
    # Two sites may have releases of the same second and code, and so of one ID.
    assert all(shop.release != release for shop, release in zip(two_shops, before, strict=True))


def test_another_server_and_back(shops: list[Shop], table: Table) -> None:
    """A deploy tells nginx of the other protocol after the switch; a rollback changes nothing in nginx."""
    shop = next(shop for shop in shops if shop.kind == "gthread")
    for server, what in (("uwsgi", "from gunicorn to uWSGI"), ("gunicorn", "from uWSGI to gunicorn")):
        shop.entry["server"] = server
        with under_load([shop], what, table) as load:
            shop.run_ok("deploy")
        # nginx is reloaded for the new site config, so idle connections may close.
        assert load.harm == {}
        wait_until(shop.is_healthy, f"{shop.name} is healthy")
        assert shop.release in load.reports[shop.name].releases
        assert_each_post_once(shop, load)
    for what in ("a rollback to uWSGI", "a rollback from uWSGI"):
        with under_load([shop], what, table) as load:
            shop.run_ok("rollback")
        assert_no_request_lost(load, [shop])


def test_a_restart(shops: list[Shop], table: Table) -> None:
    before = [shop.master for shop in shops]
    records = [shop.machine.output("cat %s/previous", shop.root) for shop in shops]
    with under_load(shops, "a restart", table) as load:
        in_parallel(shops, lambda shop: shop.run_ok("restart"))
    assert_no_request_lost(load, shops, releases=1)
    assert not set(before) & {shop.master for shop in shops}
    assert records == [shop.machine.output("cat %s/previous", shop.root) for shop in shops], "rollback leads there too"


def test_another_site_on_the_host_stays_up(neighbour: Site) -> None:
    wait_until(neighbour.is_healthy, "the neighbour is healthy")
