"""What a supervisord that was killed leaves behind: processes without a parent, known by the launcher's notes."""

from __future__ import annotations

import json
import pwd
import signal
import time

from ansible_collections.wsgi.sites.plugins.module_utils.site.paths import Layout
from ansible_collections.wsgi.sites.plugins.module_utils.system import process


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
    left = noted(site, key)
    if left is not None and left.send(sign) and not left.ended(patience):
        left.send(signal.SIGKILL)
    site.pid(key).unlink(missing_ok=True)


def end_group(uid: int | None, server: int | None, patience: float = 3) -> None:
    """End what a stopped server's code has started and left running: nothing of a release outlives its slot.

    supervisor made the server the head of a process group; its number is nobody else's as long as one of them runs.
    Whatever left the group (`setsid`) is found by its control group, where there are any.

    :param uid: whose processes are meant; without one, nobody's
    :param server: PID that the server had
    """
    if uid is None or server is None or not process.is_gone(server):
        return
    for word in (signal.SIGTERM, signal.SIGKILL):
        for pid in process.group(server, uid):
            process.signal_if(pid, word, lambda pid: process.in_group(pid, server, uid))
        deadline = time.monotonic() + patience
        while process.group(server, uid) and time.monotonic() < deadline:
            time.sleep(0.05)
