"""Control groups: all processes of a slot, process or command end with it and stay within limits."""

from __future__ import annotations

import contextlib
import os
import resource
import signal
import subprocess
from collections.abc import Iterator
from pathlib import Path

import pytest
from supervised import USER, Host, each_server, eventually, get

from ansible_collections.wsgi.sites.plugins.module_utils.launcher import limits
from ansible_collections.wsgi.sites.plugins.module_utils.releases import deployment, hooks
from ansible_collections.wsgi.sites.plugins.module_utils.runtime import site_groups
from ansible_collections.wsgi.sites.plugins.module_utils.site import paths, removal
from ansible_collections.wsgi.sites.plugins.module_utils.system import control_groups, process

LIMITS = "from {engine}.launcher import limits"
RUNAWAY = """
import subprocess
subprocess.Popen(["setsid", "sh", "-c", "exec sleep {seconds}"], start_new_session=True)
"""


def sleepers(seconds: int) -> list[int]:
    """PIDs of the `sleep` processes that a site has left behind."""
    wanted = f"sleep\0{seconds}"
    return [int(f.name) for f in Path("/proc").glob("[0-9]*") if process.command(int(f.name)) == wanted]


@pytest.fixture
def grouped(host: Host) -> Host:
    """A host with control groups of its own."""
    if host.group is None:
        pytest.skip("no control groups (version 2) to write to")
    return host


@pytest.fixture
def seconds() -> Iterator[int]:
    """The duration that identifies the `sleep` processes of this test."""
    number = 1_000_000 + os.getpid()
    yield number
    for pid in sleepers(number):
        os.kill(pid, signal.SIGKILL)


@each_server
def test_processes_that_leave_a_servers_session_end_with_its_slot(grouped: Host, seconds: int) -> None:
    grouped.deploy("r1", top=RUNAWAY.format(seconds=seconds))
    assert eventually(lambda: sleepers(seconds))
    grouped.deploy("r2")
    assert sleepers(seconds) == []
    assert get(grouped.sock)["release"] == "r2"


def test_leftovers_of_a_killed_server_end_before_the_next_one_starts(grouped: Host, seconds: int) -> None:
    grouped.deploy("r1", top=RUNAWAY.format(seconds=seconds))
    (before,) = eventually(lambda: sleepers(seconds))
    os.kill(get(grouped.sock)["pid"], signal.SIGKILL)
    eventually(lambda: sleepers(seconds) and before not in sleepers(seconds))
    eventually(lambda: get(grouped.sock)["release"] == "r1")


def test_processes_that_leave_a_hooks_session_end_with_it(grouped: Host, seconds: int) -> None:
    grouped.release("r1")
    script = f"import subprocess; subprocess.Popen(['sleep', '{seconds}'], start_new_session=True); print('done')"
    (ran,) = hooks.run(grouped.site, USER, "r1", [f'/usr/bin/python3 -c "{script}"'], 30)
    assert "done" in ran["said"]
    assert sleepers(seconds) == []
    assert list((site_groups.top() / "shop").iterdir()) == [] or not list((site_groups.top() / "shop").glob("run.*"))


def test_a_commands_group_stays_while_a_server_starts(grouped: Host) -> None:
    grouped.deploy("r1")
    place = site_groups.CommandGroup("shop", {"tasks_max": "3000"})
    with subprocess.Popen(["true"]) as ended:
        pass
    left = site_groups.top() / f"shop/run.{ended.pid}.1"
    left.mkdir()
    grouped.deploy("r2")  # its launcher removes empty groups
    with subprocess.Popen(["sleep", "600"], user=USER, preexec_fn=place.enter) as child:
        try:
            assert control_groups.members(place.group) == [child.pid]
        finally:
            place.end()
            child.kill()
    assert not left.exists()


def test_a_command_that_cannot_enter_its_group_still_has_its_limit(grouped: Host) -> None:
    grouped.deploy("r1")
    place = site_groups.CommandGroup("shop", {"tasks_max": "3000"})
    place.limits[resource.RLIMIT_NPROC] = None  # as if the group had the limit
    place.group.rmdir()
    code = "import resource; print(resource.getrlimit(resource.RLIMIT_NPROC))"
    command = ["/usr/bin/python3", "-c", code]
    said = subprocess.run(command, user=USER, preexec_fn=place.enter, capture_output=True, text=True, check=True).stdout
    place.end()
    assert said.strip() == str((3000, 3000))


def test_processes_of_a_site_cannot_leave_its_group(grouped: Host) -> None:
    grouped.deploy("r1")
    slot = grouped.site.live_slot()
    group = site_groups.top() / "shop" / slot
    server = get(grouped.sock)["pid"]
    assert server in control_groups.members(group)
    assert grouped.process.pid not in control_groups.members(site_groups.top())
    for folder in (group, group.parent, site_groups.top(), grouped.group):
        assert {path.stat().st_uid for path in (folder, *folder.iterdir())} == {0}
        escape = ["sh", "-c", f"echo $$ > {folder}/cgroup.procs"]
        assert subprocess.run(escape, user=USER, capture_output=True, check=False).returncode != 0


def test_groups_of_a_removed_site_are_removed(grouped: Host, monkeypatch: pytest.MonkeyPatch, seconds: int) -> None:
    monkeypatch.setattr(removal, "end_processes", lambda uid: None)  # the test's user has other processes
    grouped.deploy("r1", top=RUNAWAY.format(seconds=seconds))
    place = site_groups.top() / "shop"
    # In no slot any more, as after an interrupted run.
    (stray,) = eventually(lambda: sleepers(seconds))
    (place / "stray").mkdir()
    (place / "stray/cgroup.procs").write_text(str(stray))
    removal.Removal("shop", lambda _: (0, "", ""))._stop_all(grouped.site, None)
    assert sleepers(seconds), "only the slot's group was removed"
    removal.Removal("shop", lambda _: (0, "", ""))._end(None)
    assert sleepers(seconds) == []
    assert not place.exists()


@pytest.fixture
def read_only(tmp_path: Path) -> Iterator[Path]:
    """Read-only control groups, as in a container."""
    mount = ["mount", "-t", "cgroup2", "-o", "ro", "none", str(tmp_path)]
    if subprocess.run(mount, capture_output=True, check=False).returncode:
        pytest.skip("mounts control groups, which is not allowed here")
    yield tmp_path
    subprocess.run(["umount", tmp_path], check=True)


def test_a_site_runs_without_warning_where_groups_are_read_only(
    bare_host: Host, read_only: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    groups = "from {engine}.system import control_groups"
    bare_host.install("launcher", groups, f"control_groups.CGROUPS = Path('{read_only}')")
    monkeypatch.setattr(control_groups, "CGROUPS", read_only)
    bare_host.boot()
    bare_host.deploy("r1")
    bare_host.deploy("r2")
    assert get(bare_host.sock)["release"] == "r2"
    assert not (paths.RUN / "groups").exists()
    assert "launcher" not in bare_host.site.log.read_text()


@pytest.fixture
def controlled(bare_host: Host) -> Iterator[Host]:
    """A host whose unit has a controller: the one that version 2 has wherever 1 has the others."""
    group = bare_host.group
    if group is None:
        pytest.skip("no control groups (version 2) to write to")
    group.mkdir(parents=True, exist_ok=True)
    above = [group.parent.parent, group.parent]
    try:
        for folder in above:
            (folder / "cgroup.subtree_control").write_text("+hugetlb")
    except OSError:
        pytest.skip("the controller hugetlb is not ours to use")
    bare_host.install("launcher", LIMITS, "limits.CONTROLLERS = ('hugetlb',)")
    yield bare_host


def test_supervisord_moves_into_a_group_of_its_own(controlled: Host) -> None:
    controlled.boot()
    controlled.deploy("r1")
    group = controlled.group
    assert controlled.process.pid in control_groups.members(group / control_groups.DAEMON)
    assert (group / "cgroup.procs").read_text() == ""
    assert (site_groups.top() / "shop/cgroup.subtree_control").read_text().split() == ["hugetlb"]
    controlled.deploy("r2")
    assert get(controlled.sock)["release"] == "r2"
    assert get(controlled.sock)["pid"] in control_groups.members(
        site_groups.top() / "shop" / controlled.site.live_slot()
    )
    assert site_groups.top().parent == group


def test_simultaneous_launchers_each_enter_their_own_group(controlled: Host) -> None:
    # The first launcher is slow; the others would be in their groups by then.
    controlled.install("launcher", LIMITS, "limits.CONTROLLERS = ()")
    controlled.boot()
    many = {"kind": "process", "command": ["/usr/bin/sleep", "600"], "count": 8, "stop_signal": "TERM", "patience": 5}
    release = controlled.release("r1", processes={"queue": many})
    (controlled.site.release(release) / "program-queue.conf").write_text(
        f"[program:shop-queue]\ncommand = {controlled.launcher} {controlled.site.root} process queue %(process_num)d\n"
        "process_name = queue_%(process_num)d\nnumprocs = 8\nnumprocs_start = 1\nstartsecs = 0\nexitcodes = 77\n"
    )
    slot = deployment.start(controlled.site, release)["slot"]
    deployment.switch(controlled.site, slot, release, drain=0)
    shop = site_groups.top() / "shop"
    names = ["blue", *(f"queue-{number}" for number in range(1, 9))]
    controlled.stop()
    slowly = ["limits.CONTROLLERS = ('hugetlb',)", "import time", "look = limits.direct_members"]
    slowly.append("limits.direct_members = lambda group: (look(group), time.sleep(0.3))[0]")
    controlled.install("launcher", LIMITS, *slowly)
    controlled.boot()
    eventually(lambda: control_groups.members(controlled.group / control_groups.DAEMON) == [controlled.process.pid])
    eventually(lambda: all(control_groups.members(shop / name) for name in names))


def test_a_foreign_process_in_the_group_is_left_alone(controlled: Host) -> None:
    controlled.boot()
    with subprocess.Popen(["sleep", "600"], preexec_fn=controlled.enter_group) as stranger:
        controlled.deploy("r1")
        assert stranger.pid in map(int, (controlled.group / "cgroup.procs").read_text().split())
        assert get(controlled.sock)["pid"] in control_groups.members(site_groups.top() / "shop")
        stranger.kill()


def test_limits_are_written_to_the_files_of_the_kernel(tmp_path: Path) -> None:
    base = tmp_path
    group = base / "sites-1-2/shop/blue"
    group.mkdir(parents=True)
    for folder in (base, base / "sites-1-2", group.parent, group):
        (folder / "cgroup.controllers").write_text("cpu memory pids\n")
        (folder / "cgroup.subtree_control").write_text("memory pids\n")
    (base / "memory.max").write_text(str(8 << 30))
    wanted = {"memory_max": "50%", "tasks_max": 100}
    assert limits.limit_group(group.parent, group, wanted)
    assert (group.parent / "memory.max").read_text() == str(min(8 << 30, limits.whole_memory(Path("/x"))) // 2)
    assert (group / "pids.max").read_text() == "100"
    assert limits.limit_group(group.parent, group, {})
    assert (group.parent / "memory.max").read_text() == (group / "pids.max").read_text() == "max"


@pytest.mark.parametrize(
    ("text", "number"),
    [("infinity", None), ("1T", 1 << 40), ("500M", 500 << 20), ("4096", 4096), (4096, 4096), ("3K", 3072)],
)
def test_amounts_use_the_syntax_of_systemd(text: object, number: int | None) -> None:
    assert control_groups.amount(text) == number
    assert control_groups.amount("90%", 1000) == 900
    assert control_groups.amount("90%") is None


def test_a_server_has_its_limits_and_is_killed_first_on_low_memory(host: Host) -> None:
    host.deploy("r1", resources={"memory_max": "90%", "tasks_max": 3000, "file_size_max": "2G"})
    pid = get(host.sock)["pid"]
    limits = {line[:26].strip(): line[26:].split()[:2] for line in Path(f"/proc/{pid}/limits").read_text().splitlines()}
    assert limits["Max file size"] == [str(2 << 30)] * 2
    pids = (
        site_groups.top() / "shop" / host.site.live_slot() / "pids.max" if site_groups.top() else Path("/nonexistent")
    )
    assert (pids.read_text().split() if pids.exists() else limits["Max processes"][:1]) == ["3000"]
    assert Path(f"/proc/{pid}/oom_score_adj").read_text().strip() == "300"
    with contextlib.suppress(FileNotFoundError):
        assert Path(f"/proc/{host.process.pid}/oom_score_adj").read_text().strip() == "0"


def test_a_command_has_the_sites_limits_too(host: Host) -> None:
    host.release("r1", resources={"tasks_max": 3000, "file_size_max": "2G"})
    look = "import resource as r; print(r.getrlimit(r.RLIMIT_FSIZE), open('/proc/self/oom_score_adj').read())"
    (ran,) = hooks.run(host.site, USER, "r1", [f'/usr/bin/python3 -c "{look}"'], 30)
    assert str((2 << 30, 2 << 30)) in ran["said"]
    host.deploy("r2", resources={"tasks_max": 3000, "file_size_max": "3G"})
    code = [str(host.launcher), str(host.site.root), "run", "--", "/usr/bin/python3", "-c", look]
    said = subprocess.run(code, capture_output=True, text=True, check=True).stdout
    assert said.split()[-1] == "300"
    assert str((3 << 30, 3 << 30)) in said
