"""A site that may not run twice at once: the old slot stops first, and comes back whatever becomes of the new one."""

from __future__ import annotations

import json
import multiprocessing
import os
import signal
from pathlib import Path

import pytest
from module_run import run
from supervised import Host, eventually, get

from ansible_collections.wsgi.sites.plugins.module_utils.releases import deployment, replacement
from ansible_collections.wsgi.sites.plugins.module_utils.runtime import history, supervisor
from ansible_collections.wsgi.sites.plugins.module_utils.site import cli, paths
from ansible_collections.wsgi.sites.plugins.module_utils.site.status import status
from ansible_collections.wsgi.sites.plugins.module_utils.system import process
from ansible_collections.wsgi.sites.plugins.modules import release_abort, release_choose, release_start, release_switch

# What two servers at once cannot both have.
ALONE = """
import socket
only = socket.socket(socket.AF_UNIX)
only.bind("\\0" + {name!r})
"""


class Alone:
    """A site whose app ends when another one of it runs."""

    def __init__(self, host: Host) -> None:
        self.host, self.site = host, host.site
        self.top = ALONE.format(name=f"alone-{host.folder.name}")
        host.deploy("r1", top=self.top, going_live="replace")

    def release(self, release_id: str, top: str = "", **changes: object) -> str:
        """Lay a release down."""
        return self.host.release(release_id, top=self.top + top, **{"going_live": "replace", **changes})

    def at_rest(self, release_id: str) -> None:
        """Only this release is there, and it answers."""
        slot = self.site.live_slot()
        eventually(lambda: get(self.host.sock)["release"] == release_id)
        assert self.host.programs() == [f"shop-{slot}.conf"]
        assert self.host.state("green" if slot == "blue" else "blue") == "absent"
        assert replacement.read(self.site) is None
        assert not list(paths.RUN.glob("*.token"))


@pytest.fixture
def alone(host: Host) -> Alone:
    """With r1 live."""
    return Alone(host)


def asked(alone: Alone, **arguments: object) -> dict:
    """What every module of a step is told."""
    return {"site": "shop", "root": str(alone.site.root), **arguments}


def killed(alone: Alone, release_id: str) -> None:
    """Start a release that hangs as it is imported, and kill the step when the old one is stopped."""
    alone.release(release_id, top="import time\ntime.sleep(600)")
    step = multiprocessing.get_context("fork").Process(target=deployment.start, args=(alone.site, release_id))
    step.start()
    slot = alone.site.live_slot()
    eventually(lambda: alone.host.state(slot) == "STOPPED")
    os.kill(step.pid, signal.SIGKILL)
    step.join()


def test_side_by_side_it_would_not_get_well(alone: Alone) -> None:
    alone.host.release("r2", top=alone.top, health={"timeout": 30})
    manifest = alone.site.release("r1") / "release.json"
    manifest.write_text(manifest.read_text().replace('"replace"', '"overlap"'))
    with pytest.raises(deployment.StepError, match="Address already in use"):
        deployment.start(alone.site, "r2")
    alone.at_rest("r1")


def test_the_old_one_stops_before_the_new_one_starts(alone: Alone) -> None:
    alone.release("r2")
    started = deployment.start(alone.site, "r2")
    assert get(alone.host.sock)["release"] == "r2", "nobody else is there to answer"
    assert started["away"] > 0
    switched = deployment.switch(
        alone.site, started["slot"], "r2", drain=60
    )  # it is stopped: there is nothing to drain
    assert switched == {"changed": True, "slot": "green", "previous": "r1", "away": started["away"], "complaints": []}
    assert alone.site.previous_release() == "r1"
    alone.at_rest("r2")


@pytest.mark.parametrize("older", ["overlap", "replace"])
def test_it_holds_for_both_ways_if_one_of_the_two_says_so(alone: Alone, older: str) -> None:
    other = {"overlap": "replace", "replace": "overlap"}[older]
    slot = deployment.start(alone.site, alone.release("r2", going_live=older))["slot"]
    deployment.switch(alone.site, slot, "r2")
    started = deployment.start(alone.site, alone.release("r3", going_live=other))
    assert started["away"] > 0


def test_what_does_not_get_well_lets_the_old_one_come_back(alone: Alone) -> None:
    alone.release("r2", status="503 Not Now", health={"timeout": 3})
    with pytest.raises(deployment.StepError) as caught:
        deployment.start(alone.site, "r2")
    first, *rest = str(caught.value).splitlines()
    assert "shop: release r2 did not become healthy in slot green: /healthz answered 503, not 200" in first
    assert "Release r1 stays live. It was stopped and runs again; downtime: " in first
    assert "Correct it and deploy again. Its last lines in" in first
    assert any("Listening at" in line for line in rest)
    assert alone.site.previous_release() == ""
    alone.at_rest("r1")


@pytest.mark.parametrize("fault", ["program", "port"])
def test_what_can_be_known_before_is_known_before_anything_stops(alone: Alone, fault: str) -> None:
    before = get(alone.host.sock)["pid"]
    alone.release("r2", listen=["192.0.2.1:8000"] if fault == "port" else [])
    if fault == "program":
        (alone.site.release("r2") / "program-green.conf").write_text("[program:shop-green]\nstartsecs = soon\n")
    with pytest.raises(deployment.StepError):
        deployment.start(alone.site, "r2")
    assert get(alone.host.sock)["pid"] == before


def test_a_first_release_has_nobody_to_stop(host: Host) -> None:
    assert deployment.start(host.site, host.release("r1", going_live="replace"))["away"] == 0
    assert host.site.live_slot() is None


@pytest.mark.parametrize("healer", ["choose", "start", "abort"])
def test_the_next_run_brings_back_what_a_killed_one_has_stopped(
    alone: Alone, healer: str, capsys: pytest.CaptureFixture
) -> None:
    killed(alone, "r2")
    assert status(alone.site)["unfinished"]["blue"] == ["stopped for another release"]
    if healer == "choose":  # a run that finds out that nothing can be done
        answer = run(release_choose, **asked(alone, user="nobody", wanted="r9"))
        assert "the release r9 is not on this host" in answer["msg"]
        # Ansible hands a warning on in the answer, or prints it where it takes this process for the controller.
        said = str(answer) + capsys.readouterr().err
        assert "release r1 is live. It was stopped and runs again" in said
    elif healer == "start":
        deployment.switch(alone.site, deployment.start(alone.site, "r1")["slot"], "r1")
    else:
        assert run(release_abort, **asked(alone))["changed"]
    alone.at_rest("r1")


def test_a_boot_brings_back_what_a_killed_run_has_stopped(alone: Alone) -> None:
    killed(alone, "r2")
    alone.host.shut()
    alone.site.stopped.unlink()  # as /run does
    alone.host.boot()
    eventually(lambda: get(alone.host.sock)["release"] == "r1")
    deployment.abort(alone.site)
    alone.at_rest("r1")


def test_a_run_killed_after_the_switch_leaves_the_new_one_live(alone: Alone) -> None:
    deployment.start(alone.site, alone.release("r2"))
    assert deployment.recover(alone.site) == "", "nothing was away"
    alone.at_rest("r2")


def test_a_killed_supervisords_server_ends_before_its_successor_starts(alone: Alone) -> None:
    orphan = get(alone.host.sock)["pid"]
    alone.host.shut(signal.SIGKILL)
    alone.host.boot()
    eventually(lambda: get(alone.host.sock)["pid"] not in (orphan, 1))
    assert process.is_gone(orphan)
    log = alone.site.log.read_text()
    assert "sending its stop signal and waiting for its end" in log
    assert "Address already in use" not in log
    alone.at_rest("r1")


def test_when_another_host_is_not_ready_all_of_it_is_undone(alone: Alone) -> None:
    deployment.switch(alone.site, deployment.start(alone.site, alone.release("r2"))["slot"], "r2")
    alone.release("r3")
    assert run(release_start, **asked(alone, release="r3"))["away"] > 0
    answer = run(release_abort, **asked(alone, release="r3", reason="not ready: west"))
    assert "release r2 is live. It was stopped and runs again" in answer["remark"]
    assert alone.site.previous_release() == "r1"
    line = history.read(alone.site)[-1]
    assert (line["result"], float(line["away"]) > 0) == ("failed", True)
    alone.at_rest("r2")


def test_the_history_keeps_how_long_nobody_answered(alone: Alone) -> None:
    slot = run(release_start, **asked(alone, release=alone.release("r2")))["slot"]
    answer = run(release_switch, **asked(alone, release="r2", slot=slot))
    line = history.read(alone.site)[-1]
    assert (line["result"], line["previous"], line["away"]) == ("ok", "r1", f"{answer['away']:.1f}")


def test_restart_on_the_host_follows_it(alone: Alone, capsys: pytest.CaptureFixture) -> None:
    alone.site.record.write_text(json.dumps({"name": "shop", "root": str(alone.site.root), "user": "nobody"}))
    before = get(alone.host.sock)["pid"]
    assert cli.main(["shop-ctl", "restart"]) == 0
    assert "downtime: " in capsys.readouterr().out
    assert get(alone.host.sock)["pid"] != before
    assert "away" in history.read(alone.site)[-1]
    alone.at_rest("r1")


def test_without_supervisord_nothing_is_stopped_and_all_is_said(alone: Alone) -> None:
    alone.host.shut()
    with pytest.raises(deployment.StepError, match="supervisord is not running"):
        deployment.start(alone.site, alone.release("r2"))
    assert replacement.read(alone.site) is None


def test_a_program_that_is_stopping_is_waited_for(alone: Alone) -> None:
    program = supervisor.Supervisor()
    program.call("stopProcess", "shop-blue", False)
    program.resume("shop-blue")
    program.resume("shop-blue")  # one that runs goes on
    eventually(lambda: get(alone.host.sock))
    program.stop("shop-blue")
    program.stop("shop-blue")
    assert alone.host.state("blue") == "STOPPED"
    assert Path(alone.site.program("blue")).exists()
