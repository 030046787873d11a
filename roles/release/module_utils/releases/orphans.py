"""What a supervisord that was killed leaves behind: processes without a parent, known by the launcher's notes."""

from __future__ import annotations

import contextlib
import json
import os
import pwd
import signal
import time

from ansible.module_utils.daemons import process
from ansible.module_utils.releases.layout import Layout


def owner(manifest: dict) -> int | None:
    """Whom a release runs as, if there is such a user."""
    try:
        return pwd.getpwnam(manifest["user"]).pw_uid
    except KeyError:
        return None


def note(site: Layout, key: str) -> dict:
    """What the launcher noted of the process that it became, for a slot or for ``NAME-NUMBER``."""
    try:
        found = json.loads(site.pid(key).read_text(encoding="utf-8"))
    except (OSError, ValueError):
        return {}
    return found if isinstance(found, dict) else {}


def noted(site: Layout, key: str) -> process.Process | None:
    """The process that the launcher noted, whether it still runs or not."""
    try:
        found = note(site, key)
        return process.Process(found["pid"], found["start"])
    except KeyError:
        return None


def orphan(site: Layout, key: str) -> int | None:
    """The PID that the launcher noted, if that very process still runs."""
    server = noted(site, key)
    return server.pid if server and server.alive else None


def end_orphan(site: Layout, key: str, patience: float = 30, sign: int = signal.SIGTERM) -> None:
    """End a process that no supervisord looks after any more (it was killed, and its children were not)."""
    pid = orphan(site, key)
    if pid is not None:
        with contextlib.suppress(ProcessLookupError):
            os.kill(pid, sign)
        deadline = time.monotonic() + patience
        while orphan(site, key) and not process.is_gone(pid) and time.monotonic() < deadline:
            time.sleep(0.1)
        if orphan(site, key):
            with contextlib.suppress(ProcessLookupError):
                os.kill(pid, signal.SIGKILL)
    site.pid(key).unlink(missing_ok=True)


def end_group(uid: int | None, server: int | None, patience: float = 3) -> None:
    """End what a stopped server's code has started and left running: nothing of a release outlives its slot.

    supervisor made the server the head of a process group; its number is nobody else's as long as one of them runs.
    Whatever left the group (`setsid`) is not found.

    :param uid: whose processes are meant; without one, nobody's
    :param server: PID that the server had
    """
    if uid is None or server is None or not process.is_gone(server):
        return
    for word in (signal.SIGTERM, signal.SIGKILL):
        for pid in process.group(server, uid):
            with contextlib.suppress(ProcessLookupError):
                os.kill(pid, word)
        deadline = time.monotonic() + patience
        while process.group(server, uid) and time.monotonic() < deadline:
            time.sleep(0.05)
