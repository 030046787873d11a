"""Processes and jobs of a site follow the live release, once each and without orphans."""

from __future__ import annotations

import json
import os
import re
import signal
import subprocess
from pathlib import Path

import pytest
from nginx_rig import evaluate
from supervised import Host, eventually

from ansible_collections.wsgi.sites.plugins.module_utils.releases import deployment, ensure
from ansible_collections.wsgi.sites.plugins.module_utils.runtime import jobs, processes
from ansible_collections.wsgi.sites.plugins.module_utils.runtime.supervisor import Supervisor, SupervisorError
from ansible_collections.wsgi.sites.plugins.module_utils.site import paths, removal
from ansible_collections.wsgi.sites.plugins.module_utils.site.status import status
from ansible_collections.wsgi.sites.plugins.module_utils.system import process
from ansible_collections.wsgi.sites.plugins.modules import release_choose

# Writes its user and release to a public file; on its stop signal it finishes its work first, if told to.
WORKER = """
import json, os, pathlib, signal, sys, time
folder, manner = pathlib.Path(sys.argv[1]), sys.argv[2]
def said(word, by=""):
    text = json.dumps({"pid": os.getpid(), "release": os.environ["SITE_RELEASE"], "uid": os.getresuid(),
                       "gid": os.getresgid(), "cwd": os.getcwd(), "leak": os.environ.get("LEAK"),
                       "word": word, "by": by})
    with open(folder / "said", "a") as file:
        file.write(text + "\\n")
def end(number, _):
    if manner == "deaf":
        return
    if manner == "thorough":
        said("finishing")
        time.sleep(1.5)
    said("finished", signal.Signals(number).name)
    sys.exit(0)
for name in ("TERM", "INT", "USR1"):
    signal.signal(getattr(signal, "SIG" + name), end)
if manner == "broken":
    print("cannot work with open-sesame", flush=True)
    sys.exit(3)
said("here")
if manner == "job":
    print("did it", flush=True)
    sys.exit(int((folder / "code").read_text()) if (folder / "code").exists() else 0)
while True:
    time.sleep(0.05)
"""


def kept(manner: str = "prompt", **more: object) -> dict:
    return {"kind": "process", "manner": manner, "count": 1, "stop_signal": "TERM", "patience": 20, **more}


def job(manner: str = "job", **more: object) -> dict:
    return {
        "kind": "job",
        "manner": manner,
        "count": 1,
        "stop_signal": "TERM",
        "patience": 20,
        "schedule": "@daily",
        **more,
    }


class Works:
    """A host whose releases define processes."""

    def __init__(self, host: Host) -> None:
        self.host, self.site = host, host.site
        self.said = host.folder / "notes"
        self.said.mkdir(mode=0o777)
        self.said.chmod(0o777)

    def release(self, release_id: str, **programs: dict) -> str:
        """Create a release with these processes, by the real templates."""
        manifest = {name: {**it, "command": ["/usr/bin/python3", "worker.py", str(self.said), it["manner"]]}
                    for name, it in programs.items()}  # fmt: skip
        self.host.release(release_id, processes=manifest)
        folder = self.site.release(release_id)
        (folder / "app/worker.py").write_text(WORKER)
        for name, it in programs.items():
            text = rendered("process.conf.j2", process={"name": name, **it})
            assert "startsecs = 3" in text or it["kind"] == "job"
            text = text.replace("startsecs = 3", "startsecs = 1").replace(
                "/usr/local/lib/sites/launcher", str(self.host.launcher)
            )
            text = text.replace("/var/log", str(self.host.folder / "log")).replace("/srv/shop", str(self.site.root))
            (folder / f"program-{name}.conf").write_text(text)
        if wanted := [{"name": name, **it} for name, it in programs.items() if it["kind"] == "job"]:
            (folder / "crontab").write_text(rendered("crontab.j2", jobs=wanted))
        return release_id

    def deploy(self, release_id: str, **programs: dict) -> list[str]:
        """Create a release and make it live; the reported problems."""
        self.release(release_id, **programs)
        return self.again(release_id)

    def again(self, release_id: str) -> list[str]:
        """Make an existing release live."""
        slot = deployment.start(self.site, release_id)["slot"]
        problems = deployment.switch(self.site, slot, release_id, drain=0.2)["problems"]
        programs = self.site.manifest(release_id)["processes"].values()
        sound = [it for it in programs if it["kind"] == "process" and it["manner"] != "broken"]
        # supervisor's state RUNNING comes before the first work.
        eventually(lambda: len(self.releases()) == sum(it["count"] for it in sound))
        return problems

    def lines(self, word: str = "here") -> list[dict]:
        """The output of the workers."""
        path = self.said / "said"
        lines = [json.loads(line) for line in path.read_text().splitlines()] if path.exists() else []
        return [line for line in lines if line["word"] == word]

    def alive(self) -> list[dict]:
        """The running workers."""
        return [line for line in self.lines() if not process.is_gone(line["pid"])]

    def releases(self) -> list[str]:
        """The releases of the running workers."""
        return [line["release"] for line in self.alive()]

    def states(self) -> dict[str, str]:
        """supervisor's states, without the slots."""
        found = {f"{info['group']}:{info['name']}": info["statename"] for info in Supervisor().infos()}
        return {name: state for name, state in found.items() if not name.startswith(("shop-blue", "shop-green"))}


def rendered(template: str, **variables: object) -> str:
    site = {"name": "shop", "root": "/srv/shop", "start_retries": 20}
    return evaluate(
        f"lookup('wsgi.sites.template', 'supervisor/{template}', site=site, "
        + ", ".join(f"{name}={name}" for name in variables)
        + ")",
        {"site": site, "site_name": "shop", **variables},
    )


@pytest.fixture
def works(host: Host, monkeypatch: pytest.MonkeyPatch) -> Works:
    (host.folder / "etc/cron.d").mkdir()
    monkeypatch.setattr(processes, "CRON", Path("/bin/true"))
    return Works(host)


def test_processes_run_as_the_site_from_the_live_release(works: Works) -> None:
    assert works.deploy("r1", queue=kept(count=2), scheduler=kept(), nightly=job()) == []
    assert works.states() == {
        "shop-nightly:shop-nightly": "STOPPED", "shop-queue:queue_1": "RUNNING", "shop-queue:queue_2": "RUNNING",
        "shop-scheduler:shop-scheduler": "RUNNING",
    }  # fmt: skip
    eventually(lambda: works.releases() == ["r1"] * 3)
    one = works.alive()[0]
    assert 0 not in [*one["uid"], *one["gid"]]
    assert one["cwd"] == str(works.site.release("r1") / "app")
    assert one["leak"] is None, "nothing of supervisord's environment"
    assert status(works.site)["processes"] == "3/3"
    log = works.site.logs / "queue.log"
    assert log.stat().st_mode & 0o7777 == 0o640
    assert log.stat().st_uid == 0
    assert works.site.crontab.read_text().splitlines()[-1] == "@daily root /usr/local/bin/shop-ctl job nightly"


def test_processes_are_replaced_after_finishing_their_work(works: Works) -> None:
    works.deploy("r1", queue=kept("thorough", stop_signal="USR1"), old=kept())
    assert works.deploy("r2", queue=kept("thorough", stop_signal="USR1"), new=kept()) == []
    assert sorted((line["release"], line["by"]) for line in works.lines("finished")) == [
        ("r1", "SIGTERM"),
        ("r1", "SIGUSR1"),
    ]
    eventually(lambda: works.releases() == ["r2", "r2"])
    assert sorted(works.states()) == ["shop-new:shop-new", "shop-queue:shop-queue"]
    assert not works.site.program("old").exists()
    assert works.again("r1") == []
    eventually(lambda: works.releases() == ["r1", "r1"])
    assert sorted(works.states()) == ["shop-old:shop-old", "shop-queue:shop-queue"]
    assert works.deploy("r3") == []
    assert works.states() == {}
    assert works.alive() == []
    assert not list((works.host.folder / "run").glob("*-*-*.pid"))


def test_a_process_that_ignores_its_stop_signal_is_killed_after_its_timeout(works: Works) -> None:
    works.deploy("r1", queue=kept("deaf", patience=1))
    assert works.deploy("r2", queue=kept()) == []
    eventually(lambda: works.releases() == ["r2"])
    assert works.lines("finished") == []


def test_a_restart_replaces_all_processes(works: Works) -> None:
    works.deploy("r1", queue=kept())
    (before,) = works.alive()
    assert works.again("r1") == []
    (after,) = works.alive()
    assert after["pid"] != before["pid"]


def test_a_failed_deploy_leaves_the_processes_running(works: Works) -> None:
    works.deploy("r1", queue=kept())
    before = works.alive()
    works.release("r2", queue=kept())
    manifest = json.loads((works.site.release("r2") / "release.json").read_text())
    manifest["health"] |= {"status": 418, "timeout": 1}
    (works.site.release("r2") / "release.json").write_text(json.dumps(manifest))
    with pytest.raises(deployment.StepError):
        deployment.start(works.site, "r2")
    deployment.abort(works.site)
    assert works.alive() == before


def test_the_next_run_completes_an_interrupted_replacement(works: Works, monkeypatch: pytest.MonkeyPatch) -> None:
    works.deploy("r1", queue=kept(), old=kept())
    works.release("r2", queue=kept(), nightly=job())
    slot = deployment.start(works.site, "r2")["slot"]
    for cut in ("ask_to_stop", "reconcile"):
        with monkeypatch.context() as patch:
            patch.setattr(processes, cut, lambda *_: (_ for _ in ()).throw(KeyboardInterrupt))
            with pytest.raises(KeyboardInterrupt):
                deployment.switch(works.site, slot, "r2", drain=0)
    assert works.site.live_release() == "r2"
    planned = processes.reconcile(works.site, check_mode=True)
    assert len(planned.changes) == 4, planned.changes
    done = processes.reconcile(works.site)
    assert (done.changes, done.problems) == (planned.changes, [])
    eventually(lambda: works.releases() == ["r2"])
    assert sorted(works.states()) == ["shop-nightly:shop-nightly", "shop-queue:shop-queue"]
    assert works.site.crontab.exists()
    assert processes.reconcile(works.site) == processes.Report([], [])


@pytest.mark.parametrize("harm", ["file", "stopped", "removed", "killed", "crontab"])
def test_deviating_processes_are_detected_and_repaired(works: Works, harm: str) -> None:
    works.deploy("r1", queue=kept(), nightly=job())
    (before,) = works.alive()
    if harm == "file":
        works.site.program("queue").unlink()
    elif harm == "stopped":
        Supervisor().call("stopProcess", "shop-queue")
    elif harm == "removed":
        Supervisor().remove("shop-queue")
    elif harm == "crontab":
        works.site.crontab.unlink()
    else:  # supervisord restarts it
        os.kill(before["pid"], signal.SIGKILL)
        eventually(lambda: [line["pid"] for line in works.alive()] not in ([], [before["pid"]]))
    changes = processes.reconcile(works.site).changes
    assert len(changes) == (harm != "killed"), changes
    eventually(lambda: works.releases() == ["r1"])
    assert processes.reconcile(works.site) == processes.Report([], [])


def test_a_run_without_a_build_repairs_processes(works: Works, monkeypatch: pytest.MonkeyPatch) -> None:
    slot = works.host.deploy("r0")
    monkeypatch.setattr(ensure, "decide", lambda *_: ensure.Decision(False, "as it should be", slot, "r1"))
    monkeypatch.setattr(ensure.host_python, "python_version", lambda _: "3")
    site = {"site": "shop", "root": str(works.site.root)}
    params = {"manifest": site, "parts": {}, "environment_hash": "", "payload": None}
    works.deploy("r1", queue=kept())
    assert not ensure.ensure_release(params, check_mode=False)["changed"]
    Supervisor().remove("shop-queue")
    assert ensure.ensure_release(params, check_mode=True)["changed"]
    assert works.states() == {}
    done = ensure.ensure_release(params, check_mode=False)
    assert (done["changed"], done["problems"]) == (True, [])
    eventually(lambda: works.releases() == ["r1"])
    works.deploy("r2", queue=kept("broken"))

    def told(result: dict) -> bool:
        return any("does not stay up" in problem for problem in result["problems"])

    # On a busy machine a broken process may end so late that supervisor reports RUNNING for a moment.
    eventually(lambda: told(ensure.ensure_release(params, check_mode=False)))
    eventually(lambda: told(release_choose.perform({"wanted": "r2", **site}, check_mode=False)))


def test_after_a_kill_of_supervisord_each_process_runs_once(works: Works) -> None:
    works.deploy("r1", queue=kept("thorough", stop_signal="USR1"))
    (orphan,) = works.alive()
    works.host.stop(signal.SIGKILL)
    works.host.boot()
    eventually(lambda: works.releases() == ["r1"] and works.alive()[0]["pid"] != orphan["pid"])
    (finished,) = works.lines("finished")
    assert (finished["pid"], finished["by"]) == (orphan["pid"], "SIGUSR1")
    log = (works.site.logs / "queue.log").read_text()
    assert f"an older process (PID {orphan['pid']}) still runs; sending its stop signal" in log
    eventually(lambda: processes.reconcile(works.site) == processes.Report([], []))


def test_an_orphan_of_an_older_release_ends_with_its_own_signal(works: Works) -> None:
    works.deploy("r1", queue=kept("thorough", stop_signal="INT"))
    (orphan,) = works.alive()
    works.host.stop(signal.SIGKILL)
    works.site.program("queue").unlink()
    works.host.boot()
    assert works.deploy("r2", queue=kept()) == []
    assert [(line["pid"], line["by"]) for line in works.lines("finished")] == [(orphan["pid"], "SIGINT")]
    eventually(lambda: works.releases() == ["r2"])


def test_a_process_that_keeps_failing_is_reported_while_the_site_is_live(works: Works) -> None:
    (problem,) = works.deploy("r1", queue=kept("broken"), scheduler=kept())
    assert re.match(r"shop: the process queue does not stay up: supervisor reports (BACKOFF|EXITED)", problem)
    assert "live nevertheless" in problem
    assert "  | cannot work with ********" in problem
    assert works.site.live_release() == "r1"
    found = status(works.site)
    assert found["healthy"]
    assert found["processes"] == "1/2"
    assert "queue does not stay up" in found["problems"]
    assert works.deploy("r2", queue=kept(), scheduler=kept()) == []


def test_a_process_that_supervisord_refuses_does_not_affect_others(
    works: Works, monkeypatch: pytest.MonkeyPatch
) -> None:
    add = Supervisor.add

    def fussy(supervisor: Supervisor, program: str) -> None:
        if program == "shop-mail":
            raise SupervisorError("supervisord does not take shop-mail")
        add(supervisor, program)

    monkeypatch.setattr(Supervisor, "add", fussy)
    works.release("r1", mail=kept(), queue=kept(), nightly=job())
    slot = deployment.start(works.site, "r1")["slot"]
    (problem,) = deployment.switch(works.site, slot, "r1", drain=0.2)["problems"]
    assert "supervisord does not take shop-mail" in problem
    eventually(lambda: works.releases() == ["r1"])
    assert works.states().keys() == {"shop-queue:shop-queue", "shop-nightly:shop-nightly"}
    assert works.site.crontab.exists()
    monkeypatch.setattr(Supervisor, "add", add)
    report = processes.reconcile(works.site)
    assert report.problems == []
    eventually(lambda: works.releases() == ["r1", "r1"])


def test_a_foreign_or_broken_program_stops_the_release_before_it_starts(works: Works) -> None:
    works.deploy("r1")
    works.site.program("queue").write_text("[program:shop-queue]\ncommand = /bin/sleep 600\n")
    with pytest.raises(deployment.StepError, match=r"shop-queue.conf exists and was not made by this collection"):
        works.deploy("r2", queue=kept())
    assert processes.present(works.site) == set()
    works.site.program("queue").unlink()
    works.release("r3", queue=kept())
    (works.site.release("r3") / "program-queue.conf").write_text("[program:other]\ncommand = /bin/true\n")
    with pytest.raises(deployment.StepError, match=r"must define \[program:shop-queue\]"):
        deployment.start(works.site, "r3")
    assert works.site.live_release() == "r1"


def test_jobs_need_cron(works: Works, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(processes, "CRON", works.host.folder / "none")
    with pytest.raises(deployment.StepError, match=r"this host has no cron; run the whole site.yml once"):
        works.deploy("r1", nightly=job())


def test_programs_of_the_collection_must_be_installed_on_the_host(works: Works) -> None:
    works.release("r1", scaler=kept())
    manifest = works.site.manifest("r1")
    manifest["processes"]["scaler"]["command"] = [f"{paths.LIBRARY}/scaler"]
    (works.site.release("r1") / "release.json").write_text(json.dumps(manifest))
    with pytest.raises(deployment.StepError, match=r"its scaler needs .*/scaler, .* run the whole site.yml once"):
        deployment.start(works.site, "r1")


def test_a_removed_sites_processes_are_removed(works: Works) -> None:
    works.deploy("r1", queue=kept(), nightly=job())
    works.site.record.write_text(json.dumps({"name": "shop", "root": str(works.site.root), "user": "no-such-user"}))
    changes = removal.Removal("shop", lambda _: (0, "", "")).remove()
    assert "stop shop-queue" in changes
    assert f"remove {works.site.crontab}" in changes
    assert works.states() == {}
    assert works.alive() == []
    assert not works.site.crontab.exists()
    assert works.host.programs() == []
    assert not list((works.host.folder / "run").glob("shop-*"))


# --- Jobs ------------------------------------------------------------------------------------------------------------


def test_a_job_runs_once_at_a_time_and_records_its_result(works: Works) -> None:
    works.deploy("r1", nightly=job(), slow=job("thorough"))
    assert jobs.run(works.site, "nightly") == "it succeeded"
    assert len(works.lines()) == 1
    (works.said / "code").write_text("5")
    with pytest.raises(jobs.JobError, match=r"shop: job nightly: it failed with exit code 5; see .*/shop/nightly.log"):
        jobs.run(works.site, "nightly")
    assert "nightly failed with exit code 5" in status(works.site)["problems"]
    assert processes.reconcile(works.site) == processes.Report([], []), "a failed job needs no repair"
    assert "did it" in (works.site.logs / "nightly.log").read_text()
    Supervisor().start("shop-slow")
    eventually(lambda: len(works.alive()) == 1)
    assert "has not ended" in jobs.run(works.site, "slow")
    assert len(works.alive()) == 1
    with pytest.raises(jobs.JobError, match="no such job; there are: nightly, slow"):
        jobs.run(works.site, "hourly")


def test_a_deploy_waits_for_a_running_job(works: Works) -> None:
    works.deploy("r1", slow=job("thorough"))
    Supervisor().start("shop-slow")
    eventually(works.alive)
    assert processes.reconcile(works.site) == processes.Report([], [])
    assert works.deploy("r2", slow=job("thorough")) == []
    assert [line["release"] for line in works.lines("finished")] == ["r1"]
    assert works.alive() == []


def test_a_job_waits_for_its_supervisord(works: Works, monkeypatch: pytest.MonkeyPatch) -> None:
    works.deploy("r1", nightly=job())
    works.host.stop()
    monkeypatch.setattr(jobs, "PATIENCE", 0.5)
    with pytest.raises(jobs.JobError, match="supervisord is not running"):
        jobs.run(works.site, "nightly")


# --- The launcher ----------------------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    "words", [["unknown", "1"], ["queue", "3"], ["queue", "0"], ["queue", "-1"], ["../queue", "1"]]
)
def test_the_launcher_refuses_a_process_that_the_live_release_does_not_define(works: Works, words: list[str]) -> None:
    works.deploy("r1", queue=kept(count=2))
    command = [works.host.by_hand, works.site.root, "process", *words]
    done = subprocess.run(command, capture_output=True, text=True, check=False)
    assert done.returncode == 77, done.stderr
    assert "has no process" in done.stderr
    assert len(works.alive()) == 2


def test_the_launcher_starts_nothing_before_the_first_release_is_live(works: Works) -> None:
    works.release("r1", queue=kept())
    done = subprocess.run(
        [works.host.launcher, works.site.root, "process", "queue", "1"], capture_output=True, text=True, check=False
    )
    assert done.returncode == 1
    assert "nothing is live yet" in done.stderr
