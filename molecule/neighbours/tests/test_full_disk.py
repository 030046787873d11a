"""A disk that gets full: the live release goes on, and the next run succeeds once there is room."""

from __future__ import annotations

import shutil
from collections.abc import Iterator
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path

import pytest
from pausing import pause_at
from support import PROJECT, SITES, Machine, Run, Site, run_playbook, site_config, wait_until

testinfra_hosts = ["ansible://sudoer"]
pytestmark = pytest.mark.breaks


@pytest.fixture
def chat(machine: Machine) -> Site:
    """The site that the tests deploy."""
    return Site(machine, "chat", SITES["chat"])


@pytest.fixture
def newer(tmp_path: Path) -> dict:
    """A site config with newer code of it."""
    source = Path(shutil.copytree(PROJECT / SITES["chat"]["source"]["path"], tmp_path / "plain"))
    with (source / "wsgi.py").open("a") as code:
        code.write(f"# {tmp_path}\n")
    return site_config(chat={"source": {"path": str(source)}})


@pytest.fixture
def cramped(chat: Site) -> Iterator[Site]:
    """The site, on a small disk that the test may fill."""
    chat.machine.output("mkdir /srv/filler")
    yield chat
    chat.machine.output("rm -rf /srv/filler")


def fill(chat: Site) -> None:
    """Fill its disk."""
    full = chat.machine.host.run("dd if=/dev/zero of=/srv/filler/rest bs=1M")
    assert "No space left" in full.stderr


def deploy(chat: Site, sites: dict) -> Run:
    """Deploy the site with another site config."""
    return run_playbook("playbooks/deploy.yml", "--extra-vars=site=chat", machine=chat.machine, sites=sites)


def fill_while_it_is_built(chat: Site, sites: dict) -> Run:
    """Deploy, and fill the disk as soon as there are files of the new release."""
    with ThreadPoolExecutor() as pool:
        run = pool.submit(deploy, chat, sites)
        step = pause_at(chat, "installing")
        try:
            fill(chat)
        finally:
            chat.machine.output("kill -CONT %s", step)
        return run.result()


def test_a_disk_that_gets_full_while_a_release_is_built(cramped: Site, newer: dict) -> None:
    before = cramped.release
    run = fill_while_it_is_built(cramped, newer)
    assert run.rc != 0
    assert "disk is full" in run.output or "only 0 MB are free" in run.output, run.output
    assert "Traceback" not in run.output
    assert cramped.answering_release == cramped.release == before
    wait_until(cramped.is_healthy, "chat is healthy")
    cramped.machine.output("rm /srv/filler/rest")
    deploy(cramped, newer).checked()
    wait_until(cramped.is_healthy, "chat is healthy")
    assert cramped.release != before
    assert cramped.programs == {f"chat-{cramped.slot}": "RUNNING"}
