"""A run that is killed with all its processes on the controller, as by a power cut there."""

from __future__ import annotations

import os
import re
import signal
import subprocess
from collections.abc import Iterable, Iterator
from pathlib import Path

from support import Machine, wait_until


def kill(run: subprocess.Popen) -> None:
    """Kill a run and all that it has started on the controller."""
    # Ansible's workers have their own sessions, so they would survive a signal to the process group. All are stopped
    # before the first is killed, so that none starts or sends anything more.
    for pid in list(stopped(run.pid)):
        os.kill(pid, signal.SIGKILL)
    run.wait()


def wait_for_end(run: subprocess.Popen, hosts: Iterable[Machine]) -> None:
    """Wait until the steps that a killed run had already started on these hosts have ended there."""
    for host in hosts:
        wait_until(lambda host=host: not steps_of(host, run.pid), f"no step of the killed run is left on {host.name}")


def stopped(pid: int) -> Iterator[int]:
    """Stop a process and all its descendants."""
    os.kill(pid, signal.SIGSTOP)
    wait_until(lambda: status(pid)[0] in "TtZ", f"process {pid} has stopped")
    yield pid
    for other in children(pid):
        yield from stopped(other)


def status(pid: int | str) -> tuple[str, int]:
    """The state and the parent of a process; one that has ended counts as a zombie."""
    try:
        state, parent, *_ = Path(f"/proc/{pid}/stat").read_text().rpartition(")")[2].split()
    except (FileNotFoundError, ProcessLookupError):
        return "Z", 0
    return state, int(parent)


def children(pid: int) -> list[int]:
    """The child processes of a process."""
    others = [path.name for path in Path("/proc").iterdir() if path.name.isdigit()]
    return [int(other) for other in others if status(other)[1] == pid]


def steps_of(host: Machine, controller: int) -> str:
    """The processes of a run on a host: the command line of each step names the controller's process."""
    commands = host.output("ps -ww -e -o args=").splitlines()
    return "\n".join(line for line in commands if re.search(rf'"process": "{controller}:', line))
