"""Lookup of the identity of this run of ansible-playbook, the same in each of its tasks."""

from __future__ import annotations

DOCUMENTATION = """
name: run_identity
short_description: Identity of this run of ansible-playbook, for the lock and the history
description:
  - Returns JSON, for the variable C(SITES_RUN) in the environment of a module. Nothing in it is secret.
  - Identifies the run by the controller's process, so that nothing is passed from task to task. Where processes cannot
    be listed (no /proc, or one that hides those of other users), an interrupted run is recognized only by its silence.
  - C(-e lock=take) on the command line takes over a site's lock.
options:
  _terms:
    description: Action of the run, such as C(deploy).
    required: true
  release_lock_patience:
    description: Seconds without a sign of life after which another controller's run counts as dead.
    type: float
    default: 600
    vars:
      - name: release_lock_patience
  silence:
    description: Seconds that the run can be silent on a host while it works on others.
    type: float
    default: 0
author: The authors of wsgi.sites (@wsgi)
"""

EXAMPLES = """
- name: Run the steps under one identity
  environment:
    SITES_RUN: "{{ lookup('wsgi.sites.run_identity', 'deploy') }}"
  block:
    - name: Run the steps
      ansible.builtin.include_tasks: steps.yml
"""

RETURN = """
_raw:
  description: The run, as JSON.
  type: list
  elements: str
"""

import getpass
import hashlib
import json
import multiprocessing
import os
import socket
import subprocess
import time
from collections.abc import Mapping
from pathlib import Path
from typing import Any

from ansible.errors import AnsibleError
from ansible.plugins.lookup import LookupBase
from ansible.utils.vars import load_extra_vars

PROC = Path("/proc")


class LookupModule(LookupBase):
    """``lookup('wsgi.sites.run_identity', 'deploy')``."""

    def run(self, terms: list[str], variables: Mapping[str, Any] | None = None, **kwargs: object) -> list[str]:
        """Answer the lookup."""
        self.set_options(var_options=variables, direct=kwargs)
        # Tasks run in short-lived worker processes; the run is their parent.
        parent = multiprocessing.parent_process()
        pid = parent.pid if parent else os.getpid()
        values = {
            **identity(pid),
            "patience": self.get_option("release_lock_patience"),
            "silence": self.get_option("silence"),
            "take": self.taken(),
        }
        return [json.dumps({**values, "action": str(term)}, sort_keys=True) for term in terms]

    def taken(self) -> bool:
        """Whether the command line has lock=take; in the inventory it would apply to every run."""
        word = load_extra_vars(self._loader).get("lock", "wait")
        if word not in ("wait", "take"):
            raise AnsibleError("-e lock=…: the only value is `take`, which takes over a site's lock from another run")
        return word == "take"


def identity(pid: int) -> dict[str, Any]:
    """User, host and start time of this run, and other processes here that may be runs."""
    process, alive = named(pid), runs()
    host = socket.gethostname()
    machine = digest(*map(text, ("/etc/machine-id", "/proc/sys/kernel/random/boot_id")), link("self/ns/pid"), host)
    known = process in alive and others_seen()
    return {
        "id": digest(machine, process or f"{pid} {started(pid)}"),
        "who": os.environ.get("SUDO_USER") or user(),
        "controller": host.split(".")[0],
        "began": began(process) or started(pid),
        # Without these, another run of this machine detects the end of this one only by its silence.
        "machine": machine if known else "",
        "process": process if known else "",
        "alive": sorted(alive),
    }


def named(pid: int | str) -> str:
    """``PID:START``: unique with the start time (clock ticks since boot), although PIDs are reused."""
    fields = text(f"/proc/{pid}/stat").rpartition(")")[2].split()
    return f"{pid}:{fields[19]}" if len(fields) > 19 and fields[0] != "Z" else ""


def runs() -> set[str]:
    """Every process that may be a run of Ansible."""
    pids = [path.name for path in PROC.iterdir() if path.name.isdigit()] if PROC.is_dir() else []
    return {named(pid) for pid in pids if "ansible" in text(f"/proc/{pid}/cmdline")} - {""}


def others_seen() -> bool:
    """Whether processes of other users can be seen: where /proc is mounted with hidepid, only root sees them."""
    return os.geteuid() == 0 or text("/proc/1/cmdline") != ""


def began(process: str) -> float:
    """The start time of the run in seconds since 1970, from the kernel, so that it is the same in every task."""
    boot = [line.split()[1] for line in text("/proc/stat").splitlines() if line.startswith("btime ")]
    if not process or not boot:
        return 0.0
    return int(boot[0]) + int(process.partition(":")[2]) / os.sysconf("SC_CLK_TCK")


def started(pid: int) -> float:
    """The start time of a process by `ps`, in seconds, where there is no /proc (macOS)."""
    command = ["ps", "-o", "lstart=", "-p", str(pid)]
    try:
        said = subprocess.run(command, capture_output=True, text=True, check=True, env={**os.environ, "LC_ALL": "C"})
        return time.mktime(time.strptime(said.stdout.strip(), "%a %b %d %H:%M:%S %Y"))
    except (OSError, subprocess.CalledProcessError, ValueError):
        return time.time()


def user() -> str:
    """The name of the current user."""
    try:
        return getpass.getuser()
    except (OSError, KeyError):  # a user ID without a name, as in some containers
        return str(os.getuid())


def text(path: str) -> str:
    """The content of a kernel file; empty if there is none."""
    try:
        return Path(path).read_text(encoding="utf-8", errors="replace").strip()
    except OSError:
        return ""


def link(name: str) -> str:
    """The target of a link in /proc; empty if there is none."""
    try:
        return os.readlink(PROC / name)
    except OSError:
        return ""


def digest(*parts: str) -> str:
    """A short hash of these values."""
    return hashlib.sha256("\0".join(parts).encode()).hexdigest()[:16]
