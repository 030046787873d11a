"""Operators' mistakes: the run fails with a clear error, and the live site goes on."""

from __future__ import annotations

import json
import shutil
from collections.abc import Iterator
from pathlib import Path

import pytest
from support import PROJECT, SITES, Machine, Run, Site, run_playbook, site_config, wait_until


@pytest.fixture
def wordbook(machine: Machine) -> Site:
    """The site with the mistakes, on one host, since none of them depends on systemd."""
    if not machine.has_systemd:
        pytest.skip("the other host shows it")
    return Site(machine, "wordbook", SITES["wordbook"])


@pytest.fixture
def unharmed(wordbook: Site) -> Iterator[None]:
    """The same release answers after the test."""
    before = wordbook.release
    yield
    assert wordbook.answering_release == wordbook.release == before
    wait_until(wordbook.is_healthy, "the word book is healthy")


@pytest.fixture
def source(tmp_path: Path) -> Path:
    """A copy of the app that a test may break."""
    return Path(shutil.copytree(PROJECT / "app", tmp_path / "app"))


def assert_refused(run: Run, *words: str) -> None:
    """The run failed, and its message contains these words."""
    assert run.rc != 0, run.output
    text = " ".join(run.output.split())
    assert [word for word in words if word not in text] == [], run.output


def deploy(machine: Machine, **wordbook: object) -> Run:
    """Deploy the site with these keys."""
    return run_playbook(
        "playbooks/deploy.yml", "--extra-vars=site=wordbook", machine=machine, sites=site_config(wordbook=wordbook)
    )


pytestmark = pytest.mark.usefixtures("unharmed")


def test_a_typo_in_a_key_is_refused_before_the_host_is_touched(machine: Machine) -> None:
    run = deploy(machine, worker_clas="sync")
    assert_refused(run, "wordbook.worker_clas", "did you mean `worker_class`")
    assert "Deploy the sites" not in run.output


def test_a_target_that_cannot_be_imported_never_goes_live(machine: Machine) -> None:
    assert_refused(deploy(machine, wsgi="nothere:app"), "wordbook", "No module named 'nothere'")


def test_a_release_that_is_not_healthy_never_goes_live(machine: Machine) -> None:
    assert_refused(
        deploy(machine, health={"path": "/healthz", "body": "not to be found", "timeout": 10}), "wordbook", "healthz"
    )


def test_a_port_in_use_is_refused_with_the_name_of_its_program(machine: Machine) -> None:
    assert_refused(deploy(machine, bind=["0.0.0.0:22"], workers_min=0), "wordbook", "0.0.0.0:22", "sshd")


def test_an_unreachable_package_index_is_reported_with_the_remedy(machine: Machine, source: Path) -> None:
    (source / "requirements.txt").open("a").write(
        "six==1.17.0 --hash=sha256:4721f391ed90541fddacab5acf947aa0d3dc7d27b2e1e8eda2be8970586c3274\n"
    )
    sites = site_config(wordbook={"source": {"path": str(source)}})
    extra = json.dumps({"host_package_index": "http://127.0.0.1:9/simple"})
    run = run_playbook(
        "playbooks/deploy.yml", "--extra-vars=site=wordbook", f"--extra-vars={extra}", machine=machine, sites=sites
    )
    assert_refused(run, "wordbook", "host_package_index")


def test_a_broken_override_leaves_nginx_as_it_is_and_shows_its_error(machine: Machine, tmp_path: Path) -> None:
    (tmp_path / "site.conf.j2").write_text(
        "{% extends 'site.conf.j2' %}\n{% block extra_locations %}\n    lokation /x { }\n{% endblock %}\n"
    )
    before = machine.output("cat /etc/nginx/sites-available/wordbook.conf")
    run = run_playbook(
        "playbooks/deploy.yml",
        "--extra-vars=site=wordbook",
        f"--extra-vars=operator_templates={tmp_path}",
        machine=machine,
    )
    assert_refused(run, 'unknown directive "lokation"', "/etc/nginx/sites-enabled/wordbook.conf")
    assert machine.output("cat /etc/nginx/sites-available/wordbook.conf") == before


def test_after_all_mistakes_the_right_site_config_changes_nothing(machine: Machine) -> None:
    run = run_playbook("site.yml", machine=machine)
    assert (run.rc, run.changed) == (0, 0), run.output
