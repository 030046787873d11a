"""Ending all processes of a user, also those that hide, fork or fight back."""

from __future__ import annotations

import os
import signal
import subprocess
from collections.abc import Iterator
from pathlib import Path

import pytest
from supervised import eventually

from ansible_collections.wsgi.sites.plugins.module_utils.system import process, termination

pytestmark = pytest.mark.skipif(os.geteuid() != 0, reason="becomes another user, so it needs to be root")


def test_a_hiding_process_is_ended() -> None:
    uid = 61234  # of no account
    # Its /proc entries belong to root, and its name looks like a zombie's state.
    hide = "import ctypes, time; c = ctypes.CDLL(None); c.prctl(4, 0); c.prctl(15, b'a Z b'); print(flush=True); "
    command = ["/usr/bin/python3", "-c", hide + "time.sleep(600)"]
    with subprocess.Popen(command, user=uid, group=uid, extra_groups=[], cwd="/", stdout=subprocess.PIPE) as hidden:
        try:
            assert hidden.stdout.readline()
            termination.end_processes(uid)
            assert hidden.poll() == -signal.SIGTERM
        finally:
            hidden.kill()


def test_an_endlessly_forking_process_is_ended() -> None:
    uid = 61235  # of no account
    # One process at a time, which ends by itself after a while.
    code = (
        "import os, signal, time; signal.signal(signal.SIGTERM, signal.SIG_IGN); end = time.monotonic() + 60\n"
        "os.setsid(); print(flush=True)\n"
        "while time.monotonic() < end:\n    if os.fork(): os._exit(0)"
    )
    command = ["/usr/bin/python3", "-c", code]
    with subprocess.Popen(
        command, user=uid, group=uid, extra_groups=[], cwd="/", stdout=subprocess.PIPE, start_new_session=False
    ) as first:
        assert first.stdout.readline()
    termination.end_processes(uid, patience=2)
    assert termination.running(uid) == []
    assert termination.running(os.getuid()), "no other user was affected"


# Stops every process that it can signal, repeatedly; its copies continue each other.
FIGHT = """
import os, signal, time
end = time.monotonic() + 60
for sign in (signal.SIGTERM, signal.SIGHUP):
    signal.signal(sign, signal.SIG_IGN)
os.fork()
os.setsid()
print(flush=True)
while time.monotonic() < end:
    for sign in (signal.SIGSTOP, signal.SIGKILL):
        for pid in {targets}:
            try:
                os.kill(pid, sign)
            except OSError:
                pass
"""


def children(pid: int) -> list[str]:
    """The PIDs of a process's children."""
    return Path(f"/proc/{pid}/task/{pid}/children").read_text().split()


def fighter(uid: int, targets: str) -> subprocess.Popen:
    """A user's process that stops and kills others."""
    command = ["/usr/bin/python3", "-S", "-c", FIGHT.format(targets=targets)]
    return subprocess.Popen(command, user=uid, group=uid, extra_groups=[], cwd="/", stdout=subprocess.PIPE)


@pytest.fixture
def stopper() -> Iterator[int]:
    """A user's process that stops and kills every other process of the user."""
    uid = 61236  # of no account
    # A higher PID means a later process.
    with fighter(uid, "range(os.getpid() + 2, os.getpid() + 400)") as first:
        assert first.stdout.readline()
        yield uid
        first.kill()
        termination.kill_all(uid)


def test_a_user_that_stops_other_processes_is_ended(stopper: int) -> None:
    termination.end_processes(stopper, patience=0.3)
    assert termination.running(stopper) == []


def test_the_user_cannot_signal_or_trace_the_killer(monkeypatch: pytest.MonkeyPatch) -> None:
    uid, said = 61237, os.pipe()
    # A process of the user tries to signal and trace the killer while it kills.
    attack = (
        "import ctypes, os, signal, sys; pid = int(sys.argv[1]); found = []\n"
        "for sign in (0, signal.SIGSTOP, signal.SIGKILL):\n"
        "    try: os.kill(pid, sign); found.append(str(sign))\n"
        "    except PermissionError: pass\n"
        "libc = ctypes.CDLL(None)\n"
        "found += ['ptrace'] if libc.ptrace(16, pid, 0, 0) == 0 else []\n"
        "try: os.listdir(f'/proc/{pid}/fd'); found.append('fd')\n"
        "except PermissionError: pass\n"
        "print('could:', *found)"
    )

    def strike(pid: int, sign: int) -> None:
        assert (pid, sign) == (-1, signal.SIGKILL)
        os.write(said[1], " ".join(map(str, os.getresuid())).encode() + b"\n")
        signal.pause()

    monkeypatch.setattr(os, "kill", strike)
    child = os.fork()
    if child == 0:
        termination.kill_all(uid)
        os._exit(0)
    try:
        identity = os.read(said[0], 100).decode().split()
        assert identity == [str(termination.KILLER), str(uid), str(termination.KILLER)]
        (killer,) = children(child)
        done = subprocess.run(
            ["/usr/bin/python3", "-S", "-c", attack, killer],
            user=uid, group=uid, extra_groups=[], cwd="/", capture_output=True, text=True, check=True,
        )  # fmt: skip
        assert done.stdout.split() == ["could:"]
    finally:
        monkeypatch.undo()
        for pid in (*map(int, children(child)), child):
            os.kill(pid, signal.SIGKILL)
        os.waitpid(child, 0)


def test_a_blocked_killer_is_not_waited_for(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(termination, "STROKE", 0.2)
    kill = os.kill
    monkeypatch.setattr(os, "kill", lambda pid, sign: signal.pause() if pid == -1 else kill(pid, sign))
    uid = 61238
    with subprocess.Popen(["sleep", "600"], user=uid, group=uid, extra_groups=[], cwd="/") as left:
        termination.kill_all(uid)
        assert eventually(lambda: left.poll() == -signal.SIGKILL)


def test_remaining_processes_are_named_with_the_remedy(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(termination, "kill_all", lambda uid: None)  # as if the process could not be killed
    code = "import signal, time; signal.signal(15, signal.SIG_IGN); print(flush=True); time.sleep(600)"
    uid, command = 61239, ["/usr/bin/python3", "-S", "-c", code]
    with subprocess.Popen(command, user=uid, group=uid, extra_groups=[], cwd="/", stdout=subprocess.PIPE) as left:
        try:
            assert left.stdout.readline()
            with pytest.raises(termination.StillRunningError, match=rf"\(PID {left.pid}\).*restart the host"):
                termination.end_processes(uid, patience=0.1)
        finally:
            left.kill()


def test_a_signal_goes_to_the_recorded_process_only() -> None:
    with subprocess.Popen(["sleep", "600"]) as running:
        noted = process.find(running.pid)
        later = process.Process(noted.pid, noted.start - 1)  # an earlier process with this PID
        assert not later.send(signal.SIGKILL)
        assert later.ended(0)
        assert not noted.ended(0)
        assert noted.send(signal.SIGKILL)
        assert noted.ended(10)
        assert running.wait() == -signal.SIGKILL
        assert not noted.send(signal.SIGKILL)
