"""A worker process and a cron job of a site: they run as its user, from the live release, and one at a time."""

from __future__ import annotations

import shutil
from pathlib import Path

import pytest
from support import PROJECT, SITES, Machine, Run, Site, run_playbook, site_config, wait_until

pytestmark = pytest.mark.breaks
testinfra_hosts = ["ansible://east"]


def run_ok(verb: str, **changes: object) -> Run:
    """Run a verb's playbook for the notice; the run must succeed."""
    arguments = [f"playbooks/{verb}.yml", "--extra-vars=site=notice"]
    return run_playbook(*arguments, sites=site_config(notice=changes)).checked()


def notes(site: Site) -> list[str]:
    """Their lines in the notes: a word and a release each."""
    return site.machine.output("cat %s/shared/data/notes", site.root).splitlines()


def jobs(site: Site) -> int:
    """How many times the job has run."""
    return sum(line.startswith("minutely ") for line in notes(site))


def worker_of_the_live_release(site: Site) -> int:
    """The PID of the only worker, which runs as the site's user and from the live release."""
    wait_until(site.is_healthy, f"{site.name} on {site.machine.name} is healthy")
    pid = site.background["queue"]
    assert site.machine.output("stat -c %%U /proc/%s", str(pid)) == site.user
    assert f"at-work {site.release}" in notes(site)
    assert site.machine.output("pgrep --count --full 'manage.py work'") == "1"
    return pid


def test_worker_and_job_follow_the_live_release(east: Machine, west: Machine, tmp_path: Path) -> None:
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
    done = run_ok("deploy", **newer)
    assert "1/1" in done.output
    for site, old, worker in zip(sites, before, workers, strict=True):
        assert worker_of_the_live_release(site) != worker
        assert f"finished {old}" in notes(site), "the worker ended on its signal"
    run_ok("rollback")
    for site, old in zip(sites, before, strict=True):
        worker_of_the_live_release(site)
        assert site.release == old
    # The runs above took most of a minute.
    for site, count in zip(sites, beginning, strict=True):
        wait_until(lambda site=site, count=count: jobs(site) > count, "cron starts the job", 90)
    assert "--- /var/log/notice/minutely.log" in run_ok("logs").output
    # A release without them leaves nothing of them.
    run_ok("deploy", processes={}, cron={})
    for site in sites:
        wait_until(lambda site=site: site.snapshot().supervised.keys() == site.programs.keys(), "only the slot is left")
        assert not site.machine.host.file("/etc/cron.d/notice").exists
    run_ok("rollback")
    for site in sites:
        worker_of_the_live_release(site)
        assert site.machine.host.file("/etc/cron.d/notice").exists
