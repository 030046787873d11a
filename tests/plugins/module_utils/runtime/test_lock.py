"""One run a site at a time: a second run waits and names the first; dead runs are taken over."""

from __future__ import annotations

import fcntl
import json
import os
import time
from dataclasses import replace
from pathlib import Path

import pytest
import yaml
from ansible_run import run as ansible
from ansible_run import write_inventory
from project import PROJECT

from ansible_collections.wsgi.sites.plugins.lookup import run_identity as this_run
from ansible_collections.wsgi.sites.plugins.module_utils.releases import fingerprint, hooks, retained
from ansible_collections.wsgi.sites.plugins.module_utils.runtime import history, lock, run_identity
from ansible_collections.wsgi.sites.plugins.module_utils.runtime.lock import Busy, site_lock
from ansible_collections.wsgi.sites.plugins.module_utils.runtime.run_identity import Run
from ansible_collections.wsgi.sites.plugins.module_utils.site import paths
from ansible_collections.wsgi.sites.plugins.module_utils.site.paths import Layout
from ansible_collections.wsgi.sites.plugins.modules import release_choose

ALICE = Run("a1", "deploy", "alice", "laptop", 1795230000.9, "m1", "10:1", frozenset({"10:1"}))
BOB = Run("b1", "rollback", "bob", "desk", 1795230001.0, "m2", "20:1", frozenset({"20:1"}))
# Alice's next run on the same machine, during her first one or after it.
BESIDE = replace(ALICE, id="a2", process="11:5", alive=frozenset({"10:1", "11:5"}))
AFTER = replace(BESIDE, alive=frozenset({"11:5"}))


@pytest.fixture
def site(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Layout:
    """A site's root and the folder of notes."""
    if os.geteuid() != 0:
        pytest.skip("writes files of root's")
    monkeypatch.setattr(paths, "RUN", tmp_path / "run")
    (tmp_path / "shop").mkdir()
    return Layout("shop", tmp_path / "shop")


def step(site: Layout, me: Run | None, **options: bool) -> lock.Held:
    """One step of a run."""
    with site_lock(site, me=me, **options) as held:
        return held


def silent(site: Layout, seconds: float) -> None:
    """Set the holder's last activity to this many seconds ago."""
    note = lock.read(site)
    note["holder"]["seen"] -= seconds
    site.run_note.write_text(json.dumps(note))


def test_a_run_keeps_its_lock_between_steps(site: Layout) -> None:
    step(site, ALICE)
    before = lock.read(site)
    with pytest.raises(Busy) as caught:
        step(site, BOB)
    words = str(caught.value)
    assert words.startswith("shop: alice@laptop has been deploying it since 20")
    assert "-e lock=take" in words
    assert lock.read(site) == before, "the first run is not disturbed"
    held = step(site, ALICE)
    assert held.since == before["holder"]["since"]
    step(site, ALICE, last=True)
    assert lock.read(site) == {"ousted": []}
    step(site, BOB)


def test_a_step_without_a_run_waits_for_the_lock(site: Layout) -> None:
    step(site, None)
    step(site, ALICE)
    with pytest.raises(Busy, match="alice@laptop"):
        step(site, None)


@pytest.mark.parametrize("options", [{"last": True}, {"first": True}])
def test_a_failing_first_or_last_step_releases_the_lock(site: Layout, options: dict) -> None:
    with pytest.raises(ZeroDivisionError), site_lock(site, me=ALICE, **options):
        _ = 1 / 0
    step(site, BOB)


def test_a_failing_step_in_the_middle_keeps_the_lock(site: Layout) -> None:
    with pytest.raises(ZeroDivisionError), site_lock(site, me=ALICE):
        _ = 1 / 0
    with pytest.raises(Busy):
        step(site, BOB)


def test_a_dead_run_of_the_same_controller_is_taken_over_at_once(site: Layout) -> None:
    step(site, ALICE)
    with pytest.raises(Busy):
        step(site, BESIDE)
    assert step(site, AFTER).remark == "shop: took over from alice@laptop: its process has ended"
    assert [(line["action"], line["result"], line["by"]) for line in history.read(site)] == [
        ("deploy", "cut-off", "alice@laptop")
    ]


def test_a_process_id_means_nothing_on_another_machine(site: Layout) -> None:
    step(site, ALICE)
    with pytest.raises(Busy):
        step(site, replace(AFTER, machine="m2"))
    step(site, replace(ALICE, process="", machine=""), last=True)
    step(site, replace(ALICE, process="", machine=""))
    with pytest.raises(Busy):
        step(site, replace(AFTER, machine=""))


def test_the_record_of_a_single_step_run_is_stale_once_the_kernel_lock_is_free(site: Layout) -> None:
    console = Run("c1", "restart", "root", "web1", time.time(), step=True)
    with site_lock(site, me=console), pytest.raises(Busy, match="one of its steps is running now"):
        step(site, BOB)
    assert lock.read(site)["holder"]["id"] == "c1", "it was killed: its note remains"
    assert step(site, BOB).remark == "shop: took over from root@web1: its process has ended"


def test_a_silent_run_is_taken_over_after_the_timeout(site: Layout) -> None:
    step(site, ALICE)
    silent(site, 599)
    with pytest.raises(Busy, match=r"last sign of life 599 s ago"):
        step(site, BOB)
    step(site, ALICE)
    silent(site, 601)
    assert "gave no sign of life for more than 600 s" in step(site, BOB).remark


def test_a_run_that_waits_for_another_host_may_be_silent_for_longer(site: Layout) -> None:
    step(site, replace(ALICE, silence=5000))
    silent(site, 4999)
    with pytest.raises(Busy):
        step(site, BOB)
    silent(site, 2)
    assert "gave no sign of life for more than 5000 s" in step(site, BOB).remark


def test_a_running_step_is_never_taken_over(site: Layout) -> None:
    step(site, ALICE)
    silent(site, 10_000)
    with site_lock(site, me=ALICE):
        silent(site, 10_000)
        for me in (BOB, AFTER, replace(BOB, take=True)):
            with pytest.raises(Busy, match=r"alice@laptop has been deploying .* one of its steps is running now"):
                step(site, me)


def test_a_run_that_was_taken_over_stops_at_its_next_step(site: Layout) -> None:
    step(site, ALICE)
    assert "you said lock=take" in step(site, replace(BOB, take=True)).remark
    with pytest.raises(Busy, match=r"taken over the lock of this site; bob@desk has been rolling back it"):
        step(site, ALICE)
    with pytest.raises(Busy):
        step(site, replace(ALICE, take=True))
    step(site, BOB, last=True)
    with pytest.raises(Busy, match="This run stops here"):
        step(site, ALICE)


def test_check_mode_takes_and_writes_nothing(site: Layout, tmp_path: Path) -> None:
    with site_lock(site, enabled=False) as held:
        held.let_go()
    assert not (tmp_path / "run").exists()


def test_only_the_kernel_lock_marks_a_running_step(site: Layout) -> None:
    step(site, ALICE)
    with site.lock.open() as other:
        fcntl.flock(other, fcntl.LOCK_EX | fcntl.LOCK_NB)
        with pytest.raises(Busy):
            step(site, ALICE)
    step(site, ALICE)


# --- The run of a step ---------------------------------------------------------------------------------------------


def test_a_step_reads_its_run_from_the_environment(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.delenv(run_identity.VARIABLE, raising=False)
    assert run_identity.current() is None
    assert run_identity.author() == ""
    values = this_run.identity(os.getpid()) | {"action": "deploy", "patience": 5, "take": False}
    monkeypatch.setenv(run_identity.VARIABLE, json.dumps(values))
    me = run_identity.current()
    assert me is not None
    assert me.author == f"{values['who']}@{values['controller']}"
    assert abs(me.began - time.time()) < 3600
    assert run_identity.moment() == me.moment


def test_the_identity_is_the_same_in_every_task_of_a_run() -> None:
    one, other = this_run.identity(os.getpid()), this_run.identity(os.getpid())
    assert {**one, "alive": []} == {**other, "alive": []}
    assert this_run.identity(os.getppid())["id"] != one["id"]


def test_without_proc_the_identity_is_the_same(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(this_run, "PROC", Path("/nonexistent"))
    monkeypatch.setattr(this_run, "text", lambda path: "")
    one, other = this_run.identity(os.getpid()), this_run.identity(os.getpid())
    assert one == other
    assert (one["machine"], one["process"], one["alive"]) == ("", "", [])
    assert abs(one["began"] - time.time()) < 3600


@pytest.mark.parametrize(("uid", "first", "known"), [(1000, "", False), (1000, "init", True), (0, "", True)])
def test_a_run_is_never_dead_if_processes_of_others_are_hidden(
    monkeypatch: pytest.MonkeyPatch, uid: int, first: str, known: bool
) -> None:
    read = this_run.text
    monkeypatch.setattr(this_run, "text", lambda path: first if path == "/proc/1/cmdline" else read(path))
    monkeypatch.setattr(this_run, "runs", lambda: {this_run.named(os.getpid())})
    monkeypatch.setattr(os, "geteuid", lambda: uid)
    found = this_run.identity(os.getpid())
    assert (found["machine"] != "", found["process"] != "") == (known, known)


def test_the_default_timeout_matches_the_role() -> None:
    defaults = yaml.safe_load((PROJECT / "roles/release/defaults/main.yml").read_text())
    assert defaults["release_lock_patience"] == run_identity.PATIENCE


SAID = """
- hosts: all
  gather_facts: false
  tasks:
    - name: Know the role's plugins
      ansible.builtin.import_role: {name: wsgi.sites.preflight, tasks_from: choose, rolespec_validate: false}
      when: false
    - ansible.builtin.debug:
        msg: "said: {{ query('wsgi.sites.extra_var', 'release', 'schema') | join('/') }}/{{ run.take }}."
      vars:
        run: "{{ lookup('wsgi.sites.run_identity', 'deploy') | from_json }}"
"""


@pytest.mark.parametrize(
    ("words", "said"),
    [((), "//False"), (("release=r1", "schema=ok", "lock=take"), "r1/ok/True")],
)
def test_options_for_one_run_count_only_on_the_command_line(tmp_path: Path, words: tuple, said: str) -> None:
    inventory = write_inventory(tmp_path / "page", {"release": "trixie", "schema": "ok", "lock": "take"})
    (tmp_path / "said.yml").write_text(SAID)
    output = ansible(tmp_path / "said.yml", "-i", inventory, *(option for word in words for option in ("-e", word)))
    assert f"said: {said}." in output


def test_an_unknown_value_of_lock_is_refused(tmp_path: Path) -> None:
    (tmp_path / "said.yml").write_text(SAID)
    output = ansible(tmp_path / "said.yml", "-i", write_inventory(tmp_path, {}), "-e", "lock=steal", check=False)
    assert "the only value is `take`" in output


# --- Choice of a release --------------------------------------------------------------------------------------------


@pytest.fixture
def releases(site: Layout) -> Layout:
    """Three releases, the last live, the one before the previous."""
    for name in ("20261101T000000Z-aaaa", "20261102T000000Z-bbbb", "20261103T000000Z-aaaa"):
        folder = site.release(name)
        folder.mkdir(parents=True)
        (folder / ".complete").touch()
        (folder / "release.json").write_text(json.dumps({"created": name, "source": "folder app", "by": "eve@pc"}))
        (folder / ".fingerprint").write_text(fingerprint.record(folder, {}))
    slot = site.slot("blue")
    slot.mkdir(parents=True)
    (slot / "release").symlink_to("../../releases/20261103T000000Z-aaaa")
    site.live.symlink_to("slots/blue")
    site.previous.write_text("20261102T000000Z-bbbb\n")
    return site


@pytest.mark.parametrize(
    ("wanted", "found"),
    [
        ("previous", "20261102T000000Z-bbbb"),
        ("live", "20261103T000000Z-aaaa"),
        ("20261101T000000Z-aaaa", "20261101T000000Z-aaaa"),
        ("bbbb", "20261102T000000Z-bbbb"),
    ],
)
def test_a_keyword_selects_a_release(releases: Layout, wanted: str, found: str) -> None:
    assert retained.choose(releases, wanted) == found


@pytest.mark.parametrize(
    ("wanted", "words"),
    [
        ("aaaa", "matches several releases. There are: 20261101T000000Z-aaaa, 20261103T000000Z-aaaa (live)."),
        ("20261102T000000Z-bbbc", "Did you mean 20261102T000000Z-bbbb? There are: 20261101T000000Z-aaaa, "),
        ("../../etc", "is not on this host"),
    ],
)
def test_an_unknown_release_is_refused_with_the_existing_ones(releases: Layout, wanted: str, words: str) -> None:
    with pytest.raises(retained.StepError) as caught:
        retained.choose(releases, wanted)
    assert words in str(caught.value)


def test_a_missing_previous_release_is_named(releases: Layout) -> None:
    (releases.release("20261102T000000Z-bbbb") / ".complete").unlink()
    with pytest.raises(retained.StepError, match="the previous release 20261102T000000Z-bbbb is gone"):
        retained.choose(releases, "previous")
    releases.previous.unlink()
    with pytest.raises(retained.StepError, match="no release was live before 20261103T000000Z-aaaa"):
        retained.choose(releases, "previous")


def test_a_rollback_to_the_live_release_is_refused(releases: Layout) -> None:
    releases.previous.write_text("20261103T000000Z-aaaa\n")  # a run was killed before it renamed the link
    with pytest.raises(
        retained.StepError, match=r"interrupted during the switch.* -e release=ID.* There are: 20261101T000000Z-a"
    ):
        retained.choose(releases, "previous")


@pytest.mark.parametrize("wanted", ["previous", "bbbb"])
def test_a_damaged_release_is_refused(releases: Layout, wanted: str) -> None:
    folder = releases.release("20261102T000000Z-bbbb")
    (folder / "app.py").write_text("edited by hand")
    with pytest.raises(retained.StepError) as caught:
        retained.choose(releases, wanted)
    assert "the files of the release 20261102T000000Z-bbbb were changed since its build" in str(caught.value)
    assert "Choose another one, or deploy its version again. There are: 20261101" in str(caught.value)
    (folder / "release.json").unlink()
    with pytest.raises(
        retained.StepError, match=r"20261102T000000Z-bbbb is (gone or )?incomplete\. .*There are: 20261101"
    ):
        retained.choose(releases, wanted)


def test_a_damaged_live_release_can_be_restarted(releases: Layout) -> None:
    (releases.release("20261103T000000Z-aaaa") / "app.py").write_text("edited by hand")
    assert retained.choose(releases, "live") == "20261103T000000Z-aaaa"
    assert retained.choose(releases, "20261103") == "20261103T000000Z-aaaa"


@pytest.mark.parametrize("error", [PermissionError(13, "Permission denied", "/x"), KeyError("no such user: shop")])
def test_errors_during_the_inspection_are_reported(
    releases: Layout, monkeypatch: pytest.MonkeyPatch, error: Exception
) -> None:
    def fails(*_: object) -> None:
        raise error

    params = {"site": "shop", "root": str(releases.root), "user": "shop", "schema": "check", "timeout": 5}
    for place, name in ((hooks, "check_schema"), (fingerprint, "damage")):
        monkeypatch.setattr(place, name, fails)
        with pytest.raises(
            retained.StepError,
            match=r"shop: the .*release 20261102T000000Z-bbbb (cannot be|could not run).*Nothing was started",
        ):
            release_choose.perform(params | {"wanted": "previous"}, False)


def test_the_report_shows_the_author_of_each_release(releases: Layout) -> None:
    history.append(releases, "deploy", "ok", by="alice@laptop", release="20261102T000000Z-bbbb")
    history.append(releases, "deploy", "failed", by="bob@desk", release="20261103T000000Z-aaaa")
    found = retained.report(releases)
    assert [(it["mark"], it["by"]) for it in found["releases"]] == [
        ("live", "eve@pc"), ("previous", "alice@laptop"), ("", "eve@pc"),
    ]  # fmt: skip
    assert [line["result"] for line in found["history"]] == ["ok", "failed"]
