"""One site on several hosts: its hooks run once for all of them, and no host starts before all are ready."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from contextlib import contextmanager
from pathlib import Path

import pytest
import yaml
from ledger import live_releases
from support import CONFIG, Machine, Run, Site, run_playbook, wait_until

pytestmark = pytest.mark.breaks
testinfra_hosts = ["ansible://east"]


def inventory(folder: Path, **hosts: dict) -> str:
    """The option for another inventory, whose variables override the scenario's."""
    path = folder / "hosts.yml"
    path.write_text(yaml.safe_dump({"all": {"hosts": hosts}}))
    return f"--inventory={path}"


@contextmanager
def out_of_reach(_west: Machine, folder: Path) -> Iterator[str]:
    """The second host does not answer."""
    # Another address as well as another port, since the SSH connection to the host may still be open.
    yield inventory(folder, west={"ansible_host": "127.0.0.1", "ansible_port": 1})


@contextmanager
def without_uv(west: Machine, folder: Path) -> Iterator[str]:
    """The second host cannot build anything."""
    uv = "/usr/local/lib/sites/uv"
    west.output(f"mv {uv} {uv}.away")
    try:
        yield inventory(folder)
    finally:
        west.output(f"mv {uv}.away {uv}")


def started(site: Site) -> tuple[str, str]:
    """The migrations of the site on this host, and how often its server was started."""
    rows = "import sqlite3, sys; print(*sqlite3.connect(sys.argv[1]).execute('SELECT * FROM upgrades').fetchall())"
    upgrades = site.machine.output("python3 -c %s %s/shared/data/ledger.sqlite", rows, site.root)
    return upgrades, site.machine.output("grep -c 'Starting gunicorn' /var/log/%s/server.log || true", site.name)


@pytest.mark.parametrize(
    ("fault", "words"),
    [(out_of_reach, "west: it failed before, or cannot be reached"), (without_uv, "uv is not there")],
    ids=["out_of_reach", "without_uv"],
)
def test_if_one_host_is_not_ready_no_hook_runs_and_no_server_starts(
    fault: Callable, words: str, ledgers: list[Site], version: Callable, tmp_path: Path
) -> None:
    live, before = live_releases(ledgers), [started(site) for site in ledgers]
    newer = version("unready")
    with fault(ledgers[1].machine, tmp_path) as option:
        done = run_playbook("playbooks/deploy.yml", "--extra-vars=site=ledger", option, sites=newer)
    assert done.rc != 0
    assert words in done.output, done.output
    assert [started(site) for site in ledgers] == before
    assert live_releases(ledgers) == live


ERRAND = {
    "server_names": ["errand.test"],
    "hooks": {
        "before_start": ["python manage.py note before_start"],
        "after_live": ["python manage.py note after_live"],
    },
}


@pytest.fixture
def errand(east: Machine, west: Machine, tmp_path: Path) -> Iterator[Callable[..., Run]]:
    """A function that deploys a site to the second host alone, after one that both have; the test removes it."""

    def deploy(entry: dict, **notice: dict) -> Run:
        sites = {"notice": {**CONFIG["sites"]["notice"], **notice}}
        own_sites = {"east": {"errand": {"state": "absent"}}, "west": {"errand": entry}}
        hosts = {name: {"sites": {**sites, **own}} for name, own in own_sites.items()}
        return run_playbook("playbooks/deploy.yml", inventory(tmp_path, **hosts))

    yield deploy
    done = deploy({"state": "absent", "purge": True})
    assert done.rc == 0, done.output


def test_hooks_run_on_the_first_host_that_has_the_site(
    errand: Callable[..., Run], east: Machine, west: Machine
) -> None:
    done = errand(ERRAND, env={"CHANGED": "so that the first host has a site to start as well"})
    assert done.rc == 0, done.output
    site = Site(west, "errand", {**CONFIG["site_defaults"], **ERRAND})
    wait_until(site.is_healthy, "the errand is healthy")
    notes = west.output("cat /srv/errand/shared/data/notes").splitlines()
    assert notes == [f"before_start {site.release}", f"after_live {site.release}"]
    assert not east.host.file("/srv/errand").exists
