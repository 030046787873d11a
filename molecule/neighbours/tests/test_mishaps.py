"""A run that cannot end well: what was live goes on, and the next run that can does."""

from __future__ import annotations

import shutil
import subprocess
from collections.abc import Callable, Iterator
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path

import pytest
from killing import kill, wait_for_end
from pausing import pause_at
from support import PROJECT, SITES, Machine, Run, Site, command_of, run_playbook, site_config, wait_until

pytestmark = pytest.mark.breaks


@pytest.fixture
def chat(machine: Machine) -> Site:
    """The site that things happen to."""
    return Site(machine, "chat", SITES["chat"])


@pytest.fixture
def newer(tmp_path: Path) -> dict:
    """A page on which its code is newer."""
    source = Path(shutil.copytree(PROJECT / SITES["chat"]["source"]["path"], tmp_path / "plain"))
    with (source / "wsgi.py").open("a") as code:
        code.write(f"# {tmp_path}\n")
    return site_config(chat={"source": {"path": str(source)}})


def goes_live(chat: Site, sites: dict, before: str) -> None:
    """The corrected run puts the newer release live."""
    run = deploy(chat, sites)
    assert run.rc == 0, run.output
    wait_until(chat.is_healthy, "chat is well")
    assert chat.release != before
    assert chat.programs == {f"chat-{chat.slot}": "RUNNING"}


@pytest.fixture
def cramped(chat: Site) -> Iterator[Site]:
    """The site on a host whose disk the test may fill."""
    if "/srv" not in chat.machine.platform.get("small_disks", {}):
        pytest.skip(f"{chat.machine.name} has no small disk to fill")
    chat.machine.output("mkdir /srv/filler")
    yield chat
    chat.machine.output("rm -rf /srv/filler")


def fill(chat: Site) -> None:
    """Leave nothing free on its disk."""
    full = chat.machine.host.run("dd if=/dev/zero of=/srv/filler/rest bs=1M")
    assert "No space left" in full.stderr


def deploy(chat: Site, sites: dict) -> Run:
    """Deploy the site from another page."""
    return run_playbook("playbooks/deploy.yml", "--extra-vars=site=chat", machine=chat.machine, sites=sites)


def fill_while_it_is_built(chat: Site, sites: dict) -> Run:
    """Deploy, and fill the disk as soon as there is something of the new release."""
    with ThreadPoolExecutor() as pool:
        run = pool.submit(deploy, chat, sites)
        step = pause_at(chat, "installing")
        try:
            fill(chat)
        finally:
            chat.machine.output("kill -CONT %s", step)
        return run.result()


def fill_before(chat: Site, sites: dict) -> Run:
    """Fill the disk, then deploy."""
    fill(chat)
    return deploy(chat, sites)


@pytest.mark.parametrize("way", [fill_before, fill_while_it_is_built])
def test_a_disk_that_is_full_before_or_while_a_release_is_built(cramped: Site, newer: dict, way: Callable) -> None:
    before = cramped.release
    run = way(cramped, newer)
    assert run.rc != 0
    assert "disk is full" in run.output or "only 0 MB are free" in run.output, run.output
    assert "Traceback" not in run.output
    assert cramped.answering_release == cramped.release == before
    wait_until(cramped.is_healthy, "chat is well")
    cramped.machine.output("rm /srv/filler/rest")
    goes_live(cramped, newer, before)
    goes_live(cramped, site_config(), cramped.release)


def test_a_run_that_is_killed_while_the_new_release_starts(chat: Site, newer: dict) -> None:
    before = chat.release
    idle = {"blue": "green", "green": "blue"}[chat.slot]
    command = command_of("playbooks/deploy.yml", "--extra-vars=site=chat", machine=chat.machine, sites=newer)
    run = subprocess.Popen(command, cwd=PROJECT, stdout=subprocess.DEVNULL)
    wait_until(lambda: f"chat-{idle}" in chat.programs or chat.release != before, "the idle slot is being started")
    kill(run)
    assert chat.answering_release in (before, chat.release)
    wait_for_end(run, [chat.machine])
    wait_until(lambda: chat.answering_release == chat.release, "the live release answers")
    goes_live(chat, newer if chat.release == before else site_config(), chat.release)
