"""Memory for two servers at once: usage, available memory, and the error if it is short."""

from __future__ import annotations

import subprocess
import sys
from collections.abc import Iterator
from pathlib import Path

import pytest
from supervised import Host, get

from ansible_collections.wsgi.sites.plugins.module_utils.releases import deployment, slots
from ansible_collections.wsgi.sites.plugins.module_utils.system import memory

MB = 1 << 20
# Takes 64 MB, and has two children that share them.
FAMILY = """
import os, sys, time
taken = bytearray(os.urandom(1 << 20) * 64)
children = [os.fork() or time.sleep(600) for _ in range(2)]
print("ready", flush=True)
time.sleep(600)
"""


@pytest.fixture
def family() -> Iterator[int]:
    """The PID of a process with children."""
    parent = subprocess.Popen([sys.executable, "-c", FAMILY], stdout=subprocess.PIPE, start_new_session=True)
    assert parent.stdout.readline() == b"ready\n"
    yield parent.pid
    for pid in memory.tree(parent.pid):
        subprocess.run(["kill", "-KILL", str(pid)], check=True)
    parent.wait()


def test_shared_memory_counts_once(family: int) -> None:
    assert len(memory.tree(family)) == 3
    assert 64 * MB <= memory.used(family) < 128 * MB


def test_the_kernels_total_is_used_if_the_maps_are_unreadable(
    family: int, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    for pid in memory.tree(family):
        (tmp_path / str(pid)).mkdir()
        (tmp_path / str(pid) / "status").write_text(Path(f"/proc/{pid}/status").read_text())
    monkeypatch.setattr(memory, "PROC", tmp_path)
    assert memory.used(family) >= 192 * MB, "shared memory, counted three times"


@pytest.mark.parametrize(
    ("own", "files", "expected"),
    [
        ("0::/\n", {}, []),
        ("0::/app\n", {"app": ("max", 10, 0)}, []),
        ("0::/app\n", {"app": (100, 60, 15)}, [55]),
        ("0::/app\n", {"app": (100, 60, 0), ".": (90, 70, 0)}, [40, 20]),
        ("0::/app\n", {"app": (100, 160, 0)}, [0]),
        ("0::/\n4:memory:/app\n", {"unified": (100, 60, 0), "memory/app": (80, 50, 1)}, [40, 31]),
        # In a container, the path is that of the host and does not exist.
        ("0::/lxc/box/system.slice\n", {".": (100, 60, 0)}, [40]),
        ("4:memory:/docker/f00\n1:cpu:/\n", {"memory": (100, 60, 0), "cpu": (5, 1, 0)}, [40]),
    ],
)
def test_limits_of_all_parent_control_groups_apply(tmp_path: Path, own: str, files: dict, expected: list[int]) -> None:
    for group, (limit, taken, cache) in files.items():
        make_group(tmp_path / group, limit, taken, cache, v1=group.startswith("memory"))
    assert list(memory.left(tmp_path, own)) == expected


def make_group(folder: Path, limit: object, taken: int, cache: int, *, v1: bool) -> None:
    """A control group's files."""
    folder.mkdir(parents=True, exist_ok=True)
    names = ("memory.limit_in_bytes", "memory.usage_in_bytes") if v1 else ("memory.max", "memory.current")
    for name, content in zip(names, (limit, taken), strict=True):
        (folder / name).write_text(f"{content}\n")
    prefix = "total_" if v1 else ""
    caches = f"{prefix}inactive_file {cache - cache // 2}\n{prefix}active_file {cache // 2}\n"
    (folder / "memory.stat").write_text(f"anon 7\n{caches}")


def test_the_machines_memory_is_the_upper_limit(family: int, tmp_path: Path) -> None:
    assert MB < memory.available(family, tmp_path) <= memory._fields(Path("/proc/meminfo"))["MemTotal"]
    assert memory.shortage(family, family) == ""


def test_an_ended_process_is_no_shortage_of_memory() -> None:
    ended = subprocess.Popen(["true"])
    ended.wait()
    assert memory.shortage(ended.pid, ended.pid) == ""


@pytest.fixture
def scarce(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """Leave 3 MB of memory for supervisord's programs."""
    for name, v1 in ((".", False), ("unified", False), ("memory", True)):
        make_group(tmp_path / name, 100 * MB, 97 * MB, 0, v1=v1)
    monkeypatch.setattr(memory, "CGROUPS", tmp_path)


def test_no_second_server_starts_without_enough_memory(host: Host, scarce: None) -> None:
    host.deploy("r1")  # the memory of a first release is unknown
    before = get(host.sock)["pid"]
    words = (
        r"shop: the live server uses \d+ MB, and only 3 MB are available .*`workers`.*Nothing was started. Release r1"
    )
    with pytest.raises(deployment.StepError, match=words):
        deployment.start(host.site, host.release("r2"))
    assert slots.traces(host.site, "green") == []
    assert get(host.sock)["pid"] == before
    # A rollback may be what frees memory.
    assert get(host.site.socket(deployment.start(host.site, "r2", needs_room=False)["slot"]))["release"] == "r2"
    # The remedy of the message.
    slot = deployment.start(host.site, host.release("r3", going_live="replace"))["slot"]
    assert get(host.site.socket(slot))["release"] == "r3"
