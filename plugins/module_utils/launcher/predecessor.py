"""An older process of the same slot or name, left behind by a killed supervisord."""

from __future__ import annotations

import json
import os
import signal

from ansible_collections.wsgi.sites.plugins.module_utils.launcher.messages import LauncherError, say
from ansible_collections.wsgi.sites.plugins.module_utils.runtime import orphans
from ansible_collections.wsgi.sites.plugins.module_utils.site import paths
from ansible_collections.wsgi.sites.plugins.module_utils.site.paths import Layout, write_file
from ansible_collections.wsgi.sites.plugins.module_utils.system import process, runtime

# Default if its record states no stop timeout.
PATIENCE = 30
# Seconds until a killed process has ended.
KILLED = 5.0


def find(site: Layout, key: str) -> process.Process | None:
    """The recorded process, if exactly that one still runs.

    :param key: a slot, or NAME-NUMBER of a process
    """
    noted = orphans.noted(site, key)
    return noted if noted and noted.pid != os.getpid() and noted.alive else None


def note(site: Layout, key: str, **more: object) -> None:
    """Record this process: `exec` keeps the PID, so the record stays valid."""
    runtime.make_folder(paths.RUN)
    own = process.find(os.getpid())
    write_file(site.pid(key), json.dumps({"pid": os.getpid(), "start": own and own.start, **more}), 0o644)


def retire(site: Layout, slot: str) -> None:
    """Ask an older server of this slot to end, and record the new one.

    The new server's sockets listen already, so the older one finishes its requests and none is lost.
    """
    if old := find(site, slot):
        say(f"an older server of {site.name}-{slot} (PID {old.pid}) still ran; sent it the stop signal")
        old.send(signal.SIGTERM)
    note(site, slot)


def await_end(site: Layout, key: str, uid: int) -> None:
    """End an older process of the same name and wait for its end: only one may run.

    It gets its own stop signal and timeout; then it and the rest of its process group are killed.
    """
    old = find(site, key)
    if old is None:
        return
    how = orphans.note(site, key)
    say(f"an older process (PID {old.pid}) still runs; sending its stop signal and waiting for its end")
    old.send(how.get("signal", signal.SIGTERM))
    if not old.ended(how.get("patience", PATIENCE)):
        old.send(signal.SIGKILL)
    # supervisor made it a process group leader; the group's number is not reused while a member runs.
    for member in process.group(old.pid, uid):
        process.signal_if(member, signal.SIGKILL, lambda pid: process.in_group(pid, old.pid, uid))
    if not old.ended(KILLED):
        raise LauncherError(
            f"the older process (PID {old.pid}) was killed but does not end: it waits for a disk or a network file "
            "system. Restore that, or restart the host"
        )
