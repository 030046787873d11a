"""A worker and a job beside a site: as the site, from the live release, one of each, and cron starts the job."""

from __future__ import annotations

import shutil
from pathlib import Path

import pytest
from support import PROJECT, SITES, Machine, Run, Site, run_playbook, site_config, wait_until

pytestmark = pytest.mark.breaks
testinfra_hosts = ["ansible://east"]


def well(verb: str, **changes: object) -> Run:
    """A playbook for the notice alone, which must end well."""
    done = run_playbook(f"playbooks/{verb}.yml", "--extra-vars=site=notice", sites=site_config(notice=changes))
    assert done.rc == 0, done.output
    return done


def notes(site: Site) -> list[str]:
    """What they have noted: a word and a release each."""
    return site.machine.output("cat %s/shared/data/notes", site.root).splitlines()


def jobs(site: Site) -> int:
    """How often the job has run."""
    return sum(line.startswith("minutely ") for line in notes(site))


def worker_of_the_live_release(site: Site) -> int:
    """The worker's PID; it runs as the site, from the live release, and there is no other one."""
    wait_until(site.is_healthy, f"{site.name} on {site.machine.name} is well")
    pid = site.background["queue"]
    assert site.machine.output("stat -c %%U /proc/%s", str(pid)) == site.user
    assert f"at-work {site.release}" in notes(site)
    assert site.machine.output("pgrep --count --full 'manage.py work'") == "1"
    return pid


def test_they_change_over_with_the_release_and_cron_starts_the_job(
    east: Machine, west: Machine, tmp_path: Path
) -> None:
    sites = [Site(machine, "notice", SITES["notice"]) for machine in (east, west)]
    before = [site.release for site in sites]
    beginning = [jobs(site) for site in sites]
    workers = [worker_of_the_live_release(site) for site in sites]
    source = Path(
        shutil.copytree(
            PROJECT / "molecule/deploy/ledger", tmp_path / "newer", ignore=shutil.ignore_patterns("__pycache__")
        )
    )
    with (source / "wsgi.py").open("a") as code:
        code.write(f"# {tmp_path.name}\n")
    newer = {"source": {"path": str(source)}}
    done = well("deploy", **newer)
    assert "1/1" in done.output
    for site, old, worker in zip(sites, before, workers, strict=True):
        assert worker_of_the_live_release(site) != worker
        assert f"finished {old}" in notes(site), "it ended on its signal"
    assert well("deploy", **newer).changed == 0
    well("rollback")
    for site, old in zip(sites, before, strict=True):
        worker_of_the_live_release(site)
        assert site.release == old
    # A minute has passed long since, or nearly so.
    for site, count in zip(sites, beginning, strict=True):
        wait_until(lambda site=site, count=count: jobs(site) > count, "cron starts the job", 90)
    assert "--- /var/log/notice/minutely.log" in well("logs").output
    # Without any, nothing of them stays.
    well("deploy", processes={}, cron={})
    for site in sites:
        wait_until(lambda site=site: site.snapshot().supervised.keys() == site.programs.keys(), "only the slot is left")
        assert not site.machine.host.file("/etc/cron.d/notice").exists
    well("rollback")
    for site in sites:
        worker_of_the_live_release(site)
        assert site.machine.host.file("/etc/cron.d/notice").exists
