"""Run a playbook and record its tasks and times."""

from __future__ import annotations

import contextlib
import datetime
import json
import os
import signal
import subprocess
import tempfile
import threading
import time
from collections.abc import Iterator
from dataclasses import dataclass, field
from pathlib import Path

from measuring.cases import CASES
from measuring.commands import ROOT, BenchError, find_ansible
from measuring.progress import Progress


@dataclass
class Run:
    """One run of one playbook."""

    side: str
    case: str
    round: int
    seconds: float = 0.0
    # Seconds of it until the site's own server was healthy.
    start: float = 0.0
    ran: int = 0
    changed: int = 0
    skipped: int = 0
    tasks: list[tuple[float, str, str]] = field(default_factory=list)


def play(run: Run, inventory: Path, timeout: int, progress: Progress) -> None:
    """Run a playbook, and fill in its figures."""
    # A new directory for SSH's master connections: each run opens its own, as an operator's does.
    with tempfile.TemporaryDirectory(prefix="bench-") as control:
        environment = os.environ | {
            "ANSIBLE_CONFIG": str(ROOT / "ansible.cfg"),
            "ANSIBLE_STDOUT_CALLBACK": "ansible.posix.jsonl",
            "ANSIBLE_SSH_CONTROL_PATH_DIR": control,
            "ANSIBLE_NOCOLOR": "1",
        }
        words = [str(find_ansible()), "--inventory", str(inventory), str(ROOT / CASES[run.case].playbook(run.side))]
        started = time.monotonic()
        process = subprocess.Popen(
            words,
            cwd=ROOT,
            env=environment,
            text=True,
            stdin=subprocess.DEVNULL,
            stdout=subprocess.PIPE,
            stderr=subprocess.STDOUT,
            start_new_session=True,
        )
        timer = threading.Timer(timeout, stop, [process])
        timer.start()
        try:
            said = list(read(process, run, progress))
            process.wait()
            run.seconds = time.monotonic() - started
        finally:
            timer.cancel()
            stop(process)
            close_masters(control)
    if process.returncode:
        over = f" (stopped after {timeout} s)" if process.returncode < 0 else ""
        raise BenchError(
            f"{run.side}, {CASES[run.case].title}: ansible-playbook failed{over}\n" + "\n".join(said[-15:])
        )


def read(process: subprocess.Popen[str], run: Run, progress: Progress) -> Iterator[str]:
    """Count tasks and their time from the events of a run; yield lines to show if it fails."""
    for line in process.stdout or ():
        try:
            event = json.loads(line)
        except ValueError:
            yield line.rstrip()
            continue
        kind = event.get("_event", "")
        name = event.get("task", {}).get("name", "")
        if kind in ("v2_playbook_on_task_start", "v2_playbook_on_handler_task_start"):
            progress.now(f"{run.side}, {CASES[run.case].title}: {name}")
        elif kind in ("v2_runner_on_ok", "v2_runner_on_failed", "v2_runner_on_skipped"):
            begin, end = (datetime.datetime.fromisoformat(event["task"]["duration"][edge]) for edge in ("start", "end"))
            changed = any(result.get("changed") for result in event["hosts"].values())
            outcome = "changed" if changed else kind.rpartition("_")[2]
            run.start += max(result.get("took", 0.0) for result in event["hosts"].values())
            run.tasks.append((round((end - begin).total_seconds(), 2), name, outcome))
        if kind in ("v2_runner_on_failed", "v2_runner_on_unreachable"):
            for result in event["hosts"].values():
                yield f"{name}: {result.get('msg', 'failed')}"
                yield from (f"    {item['msg']}" for item in result.get("results", []) if item.get("failed"))
                yield from filter(None, (result.get("stderr"), result.get("module_stderr")))
        if kind == "v2_playbook_on_stats":
            for counts in event["stats"].values():
                run.ran += counts["ok"] + counts["failures"]
                run.changed += counts["changed"]
                run.skipped += counts["skipped"]


def stop(process: subprocess.Popen[str]) -> None:
    """Kill a run with all its processes."""
    if process.poll() is None:
        with contextlib.suppress(ProcessLookupError):
            os.killpg(process.pid, signal.SIGKILL)
        process.wait()


def close_masters(folder: str) -> None:
    """Close the master connections that SSH keeps open."""
    for master in Path(folder).iterdir():
        subprocess.run(
            ["ssh", "-o", f"ControlPath={master}", "-O", "exit", "-"], capture_output=True, timeout=10, check=False
        )
