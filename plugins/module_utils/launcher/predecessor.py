"""An older process of the same slot or name, which a supervisord that was killed has left behind."""

from __future__ import annotations

import json
import os
import signal

from ansible_collections.wsgi.sites.plugins.module_utils.launcher.messages import LauncherError, say
from ansible_collections.wsgi.sites.plugins.module_utils.runtime import orphans
from ansible_collections.wsgi.sites.plugins.module_utils.site import paths
from ansible_collections.wsgi.sites.plugins.module_utils.site.paths import Layout, write_file
from ansible_collections.wsgi.sites.plugins.module_utils.system import process, runtime

# When its note does not say how long it may take to end.
PATIENCE = 30
# Seconds until what was killed has ended.
KILLED = 5.0


def find(site: Layout, key: str) -> process.Process | None:
    """The process that was noted here, if that very process still runs.

    :param key: a slot, or NAME-NUMBER of a process
    """
    noted = orphans.noted(site, key)
    return noted if noted and noted.pid != os.getpid() and noted.alive else None


def note(site: Layout, key: str, **more: object) -> None:
    """Note the process that runs here from now on: `exec` keeps the PID, so the note stays true."""
    runtime.make_folder(paths.RUN)
    own = process.find(os.getpid())
    write_file(site.pid(key), json.dumps({"pid": os.getpid(), "start": own and own.start, **more}), 0o644)


def retire(site: Layout, slot: str) -> None:
    """Ask an older server of this slot to end, and note the new one.

    The new one's sockets listen already, so the older one ends its requests and none is lost.
    """
    if old := find(site, slot):
        say(f"an older server of {site.name}-{slot} (PID {old.pid}) still ran; told it to end")
        old.send(signal.SIGTERM)
    note(site, slot)


def await_end(site: Layout, key: str, uid: int) -> None:
    """End an older process of the same name and wait until it has ended: there may be only one.

    It gets its own stop signal and patience; what outlasts that, or is left of its process group, is killed.
    """
    old = find(site, key)
    if old is None:
        return
    how = orphans.note(site, key)
    say(f"an older process (PID {old.pid}) still runs; it is told to end, and waited for")
    old.send(how.get("signal", signal.SIGTERM))
    if not old.ended(how.get("patience", PATIENCE)):
        old.send(signal.SIGKILL)
    # supervisor made it the head of a process group, whose number stays its own as long as one of them runs.
    for member in process.group(old.pid, uid):
        process.signal_if(member, signal.SIGKILL, lambda pid: process.in_group(pid, old.pid, uid))
    if not old.ended(KILLED):
        raise LauncherError(
            f"PID {old.pid}, the older process, does not end although it was killed: it waits for a disk or a network "
            "file system. Bring that back, or restart the host"
        )
