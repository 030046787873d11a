"""Sites with going_live replace: the old slot stops first, and returns if the new one fails."""

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

# A resource that two servers cannot share.
ALONE = """
import socket
only = socket.socket(socket.AF_UNIX)
only.bind("\\0" + {name!r})
"""


class Alone:
    """A site whose app cannot run twice at once."""

    def __init__(self, host: Host) -> None:
        self.host, self.site = host, host.site
        self.top = ALONE.format(name=f"alone-{host.folder.name}")
        host.deploy("r1", top=self.top, going_live="replace")

    def release(self, release_id: str, top: str = "", **changes: object) -> str:
        """Create a release."""
        return self.host.release(release_id, top=self.top + top, **{"going_live": "replace", **changes})

    def at_rest(self, release_id: str) -> None:
        """Only this release runs, and it responds."""
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
    """The common arguments of a step's modules."""
    return {"site": "shop", "root": str(alone.site.root), **arguments}


def killed(alone: Alone, release_id: str) -> None:
    """Start a release that hangs during import, and kill the step once the old slot is stopped."""
    alone.release(release_id, top="import time\ntime.sleep(600)")
    step = multiprocessing.get_context("fork").Process(target=deployment.start, args=(alone.site, release_id))
    step.start()
    slot = alone.site.live_slot()
    eventually(lambda: alone.host.state(slot) == "STOPPED")
    os.kill(step.pid, signal.SIGKILL)
    step.join()


def test_an_overlapping_start_of_this_app_fails(alone: Alone) -> None:
    alone.host.release("r2", top=alone.top, health={"timeout": 30})
    manifest = alone.site.release("r1") / "release.json"
    manifest.write_text(manifest.read_text().replace('"replace"', '"overlap"'))
    with pytest.raises(deployment.StepError, match="Address already in use"):
        deployment.start(alone.site, "r2")
    alone.at_rest("r1")


def test_the_old_slot_stops_before_the_new_one_starts(alone: Alone) -> None:
    alone.release("r2")
    started = deployment.start(alone.site, "r2")
    assert get(alone.host.sock)["release"] == "r2", "no other server can respond"
    assert started["downtime"] > 0
    switched = deployment.switch(
        alone.site, started["slot"], "r2", drain=60
    )  # it is stopped, so there is nothing to drain
    assert switched == {
        "changed": True,
        "slot": "green",
        "previous": "r1",
        "downtime": started["downtime"],
        "problems": [],
    }
    assert alone.site.previous_release() == "r1"
    alone.at_rest("r2")


@pytest.mark.parametrize("older", ["overlap", "replace"])
def test_one_release_with_replace_is_enough_in_either_direction(alone: Alone, older: str) -> None:
    other = {"overlap": "replace", "replace": "overlap"}[older]
    slot = deployment.start(alone.site, alone.release("r2", going_live=older))["slot"]
    deployment.switch(alone.site, slot, "r2")
    started = deployment.start(alone.site, alone.release("r3", going_live=other))
    assert started["downtime"] > 0


def test_the_old_slot_returns_when_the_new_one_is_unhealthy(alone: Alone) -> None:
    alone.release("r2", status="503 Not Now", health={"timeout": 8})
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
def test_avoidable_failures_are_detected_before_the_old_slot_stops(alone: Alone, fault: str) -> None:
    before = get(alone.host.sock)["pid"]
    alone.release("r2", listen=["192.0.2.1:8000"] if fault == "port" else [])
    if fault == "program":
        (alone.site.release("r2") / "program-green.conf").write_text("[program:shop-green]\nstartsecs = soon\n")
    with pytest.raises(deployment.StepError):
        deployment.start(alone.site, "r2")
    assert get(alone.host.sock)["pid"] == before


def test_a_first_release_stops_nothing(host: Host) -> None:
    assert deployment.start(host.site, host.release("r1", going_live="replace"))["downtime"] == 0
    assert host.site.live_slot() is None


@pytest.mark.parametrize("healer", ["choose", "start", "abort"])
def test_the_next_run_restores_the_slot_that_a_killed_run_stopped(
    alone: Alone, healer: str, capsys: pytest.CaptureFixture
) -> None:
    killed(alone, "r2")
    assert status(alone.site)["unfinished"]["blue"] == ["stopped for another release"]
    if healer == "choose":  # a run that fails at its first step
        answer = run(release_choose, **asked(alone, user="nobody", wanted="r9"))
        assert "the release r9 is not on this host" in answer["msg"]
        # Ansible returns a warning in the result, or prints it if it takes this process for the controller.
        said = str(answer) + capsys.readouterr().err
        assert "release r1 is live. It was stopped and runs again" in said
    elif healer == "start":
        deployment.switch(alone.site, deployment.start(alone.site, "r1")["slot"], "r1")
    else:
        assert run(release_abort, **asked(alone))["changed"]
    alone.at_rest("r1")


def test_a_boot_restores_the_slot_that_a_killed_run_stopped(alone: Alone) -> None:
    killed(alone, "r2")
    alone.host.stop()
    alone.site.stopped.unlink()  # as /run does
    alone.host.boot()
    eventually(lambda: get(alone.host.sock)["release"] == "r1")
    deployment.abort(alone.site)
    alone.at_rest("r1")


def test_a_run_killed_after_the_switch_leaves_the_new_slot_live(alone: Alone) -> None:
    deployment.start(alone.site, alone.release("r2"))
    assert deployment.recover(alone.site) == "", "there was no downtime"
    alone.at_rest("r2")


def test_the_server_of_a_killed_supervisord_ends_before_its_successor_starts(alone: Alone) -> None:
    orphan = get(alone.host.sock)["pid"]
    alone.host.stop(signal.SIGKILL)
    alone.host.boot()
    eventually(lambda: get(alone.host.sock)["pid"] not in (orphan, 1))
    assert process.is_gone(orphan)
    log = alone.site.log.read_text()
    assert "sending its stop signal and waiting for its end" in log
    assert "Address already in use" not in log
    alone.at_rest("r1")


def test_a_failure_on_another_host_restores_the_old_slot(alone: Alone) -> None:
    deployment.switch(alone.site, deployment.start(alone.site, alone.release("r2"))["slot"], "r2")
    alone.release("r3")
    assert run(release_start, **asked(alone, release="r3"))["downtime"] > 0
    answer = run(release_abort, **asked(alone, release="r3", reason="not ready: west"))
    assert "release r2 is live. It was stopped and runs again" in answer["remark"]
    assert alone.site.previous_release() == "r1"
    line = history.read(alone.site)[-1]
    assert (line["result"], float(line["downtime"]) > 0) == ("failed", True)
    alone.at_rest("r2")


def test_the_history_records_the_downtime(alone: Alone) -> None:
    slot = run(release_start, **asked(alone, release=alone.release("r2")))["slot"]
    answer = run(release_switch, **asked(alone, release="r2", slot=slot))
    line = history.read(alone.site)[-1]
    assert (line["result"], line["previous"], line["downtime"]) == ("ok", "r1", f"{answer['downtime']:.1f}")


def test_a_restart_on_the_host_replaces_as_well(alone: Alone, capsys: pytest.CaptureFixture) -> None:
    alone.site.record.write_text(json.dumps({"name": "shop", "root": str(alone.site.root), "user": "nobody"}))
    before = get(alone.host.sock)["pid"]
    assert cli.main(["shop-ctl", "restart"]) == 0
    assert "downtime: " in capsys.readouterr().out
    assert get(alone.host.sock)["pid"] != before
    assert "downtime" in history.read(alone.site)[-1]
    alone.at_rest("r1")


def test_without_supervisord_nothing_is_stopped(alone: Alone) -> None:
    alone.host.stop()
    with pytest.raises(deployment.StepError, match="supervisord is not running"):
        deployment.start(alone.site, alone.release("r2"))
    assert replacement.read(alone.site) is None


def test_a_program_that_is_stopping_is_waited_for(alone: Alone) -> None:
    program = supervisor.Supervisor()
    program.call("stopProcess", "shop-blue", False)
    program.resume("shop-blue")
    program.resume("shop-blue")  # a running program is left alone
    eventually(lambda: get(alone.host.sock))
    program.stop("shop-blue")
    program.stop("shop-blue")
    assert alone.host.state("blue") == "STOPPED"
    assert Path(alone.site.program("blue")).exists()
