"""Orphaned processes of a killed supervisord, found by the launcher's records."""

from __future__ import annotations

import json
import pwd
import signal
import time

from ansible_collections.wsgi.sites.plugins.module_utils.site.paths import Layout
from ansible_collections.wsgi.sites.plugins.module_utils.system import process


def owner(manifest: dict) -> int | None:
    """The ID of the user that a release runs as, or None if it does not exist."""
    try:
        return pwd.getpwnam(manifest["user"]).pw_uid
    except KeyError:
        return None


def note(site: Layout, key: str) -> dict:
    """The launcher's record of the process of a slot or of ``NAME-NUMBER``."""
    try:
        found = json.loads(site.pid(key).read_text(encoding="utf-8"))
    except (OSError, ValueError):
        return {}
    return found if isinstance(found, dict) else {}


def noted(site: Layout, key: str) -> process.Process | None:
    """The recorded process, whether it still runs or not."""
    try:
        found = note(site, key)
        return process.Process(found["pid"], found["start"])
    except KeyError:
        return None


def orphan(site: Layout, key: str) -> int | None:
    """The recorded PID, if exactly that process still runs."""
    server = noted(site, key)
    return server.pid if server and server.alive else None


def end_orphan(site: Layout, key: str, patience: float = 30, sign: int = signal.SIGTERM) -> None:
    """End a process whose supervisord was killed."""
    left = noted(site, key)
    if left is not None and left.send(sign) and not left.ended(patience):
        left.send(signal.SIGKILL)
    site.pid(key).unlink(missing_ok=True)


def end_group(uid: int | None, server: int | None, patience: float = 3) -> None:
    """End background processes of a stopped server: no process of a release outlives its slot.

    supervisor made the server a process group leader; the group's number is not reused while a member runs. Processes
    that left the group (`setsid`) are found by their control group, where there is one.

    :param uid: the user of the processes; without one nothing is ended
    :param server: PID of the stopped server
    """
    if uid is None or server is None or not process.is_gone(server):
        return
    for word in (signal.SIGTERM, signal.SIGKILL):
        for pid in process.group(server, uid):
            process.signal_if(pid, word, lambda pid: process.in_group(pid, server, uid))
        deadline = time.monotonic() + patience
        while process.group(server, uid) and time.monotonic() < deadline:
            time.sleep(0.05)
