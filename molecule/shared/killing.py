"""A run that is killed in the middle: its controller with all that it has started, as by a power cut there."""

from __future__ import annotations

import os
import re
import signal
import subprocess
from collections.abc import Iterable, Iterator
from pathlib import Path

from support import Machine, until


def kill(run: subprocess.Popen) -> None:
    """Kill a run's controller and all that it has started."""
    # Ansible's workers have sessions of their own: they outlive the process group, and go on with their task. And all
    # are stopped before the first one dies, so that none starts or sends anything more.
    for pid in list(stopped(run.pid)):
        os.kill(pid, signal.SIGKILL)
    run.wait()


def let_end(run: subprocess.Popen, hosts: Iterable[Machine]) -> None:
    """Wait until what a killed run had already sent to these hosts has ended there, as it does by itself."""
    for host in hosts:
        until(lambda host=host: not at_work(host, run.pid), f"nothing of the killed run is at work on {host.name}")


def stopped(pid: int) -> Iterator[int]:
    """Stop a process and all that descend from it."""
    os.kill(pid, signal.SIGSTOP)
    until(lambda: status(pid)[0] in "TtZ", f"process {pid} has stopped")
    yield pid
    for other in children(pid):
        yield from stopped(other)


def status(pid: int | str) -> tuple[str, int]:
    """The state and the parent of a process; a process that has ended counts as a zombie."""
    try:
        state, parent, *_ = Path(f"/proc/{pid}/stat").read_text().rpartition(")")[2].split()
    except (FileNotFoundError, ProcessLookupError):
        return "Z", 0
    return state, int(parent)


def children(pid: int) -> list[int]:
    """The processes that a process has started."""
    others = [path.name for path in Path("/proc").iterdir() if path.name.isdigit()]
    return [int(other) for other in others if status(other)[1] == pid]


def at_work(host: Machine, controller: int) -> str:
    """The commands of a run on a host: each brings along whose it is, and its shell lives until it has ended."""
    commands = host.output("ps -ww -e -o args=").splitlines()
    return "\n".join(line for line in commands if re.search(rf'"process": "{controller}:', line))
