"""A run that cannot end well: what was live goes on, and the next run that can does."""

from __future__ import annotations

import shutil
import subprocess
from pathlib import Path

import pytest
from killing import kill, let_end
from support import PROJECT, SITES, Machine, Site, command_of, page, play, until

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
    return page(chat={"source": {"path": str(source)}})


def goes_live(chat: Site, sites: dict, before: str) -> None:
    """The corrected run puts the newer release live."""
    run = play("playbooks/deploy.yml", "--extra-vars=site=chat", machine=chat.machine, sites=sites)
    assert run.rc == 0, run.output
    until(chat.is_well, "chat is well")
    assert chat.release != before
    assert chat.programs == {f"chat-{chat.slot}": "RUNNING"}


FILL = "dd if=/dev/zero of=/srv/filler/rest bs=1M"
# Little more is left beforehand than a build asks for, so that the rest is full long before the build ends.
FILL_WHILE_BUILDING = f"""
    fallocate --length $(($(df --output=avail -B1 /srv | tail -n 1) - 75000000)) /srv/filler/most
    cd /srv/chat/releases
    before=$(ls -A | wc -l)
    (while [ "$(ls -A | wc -l)" -eq "$before" ]; do :; done; {FILL}) &
"""


@pytest.mark.parametrize("fill", [FILL, FILL_WHILE_BUILDING], ids=["before", "while"])
def test_a_disk_that_is_full_before_or_while_a_release_is_built(chat: Site, newer: dict, fill: str) -> None:
    if "/srv" not in chat.machine.platform.get("small_disks", {}):
        pytest.skip(f"{chat.machine.name} has no small disk to fill")
    before = chat.release
    chat.machine.output("mkdir /srv/filler")
    chat.machine.host.run("sh -c %s >/dev/null 2>&1 </dev/null", fill)
    try:
        run = play("playbooks/deploy.yml", "--extra-vars=site=chat", machine=chat.machine, sites=newer)
        assert run.rc != 0
        assert "disk is full" in run.output or "only 0 MB are free" in run.output, run.output
        assert "Traceback" not in run.output
        assert chat.is_well()
        assert chat.release == before
    finally:
        chat.machine.host.run("rm -r /srv/filler")
    goes_live(chat, newer, before)
    goes_live(chat, page(), chat.release)


def test_a_run_that_is_killed_while_the_new_release_starts(chat: Site, newer: dict) -> None:
    before = chat.release
    idle = {"blue": "green", "green": "blue"}[chat.slot]
    command = command_of("playbooks/deploy.yml", "--extra-vars=site=chat", machine=chat.machine, sites=newer)
    run = subprocess.Popen(command, cwd=PROJECT, stdout=subprocess.DEVNULL)
    until(lambda: f"chat-{idle}" in chat.programs or chat.release != before, "the idle slot is being started")
    kill(run)
    assert chat.answering_release in (before, chat.release)
    let_end(run, [chat.machine])
    until(lambda: chat.answering_release == chat.release, "the live release answers")
    goes_live(chat, newer if chat.release == before else page(), chat.release)
