"""The files and processes of a slot on a host, and their removal."""

from __future__ import annotations

import contextlib
import json
import pwd
import signal
import time

from ansible_collections.wsgi.sites.plugins.module_utils.runtime import site_groups
from ansible_collections.wsgi.sites.plugins.module_utils.runtime.orphans import (
    end_group,
    end_orphan,
    noted,
    orphan,
    owner,
)
from ansible_collections.wsgi.sites.plugins.module_utils.runtime.supervisor import Supervisor, SupervisorError
from ansible_collections.wsgi.sites.plugins.module_utils.site import paths
from ansible_collections.wsgi.sites.plugins.module_utils.site.paths import Layout, write_file
from ansible_collections.wsgi.sites.plugins.module_utils.system import ports, process, runtime, trees


def write_token(site: Layout, slot: str, supervisord: int) -> None:
    """Allow the launcher under this supervisord process to start a slot that is not live yet."""
    daemon = process.find(supervisord)
    token = {"supervisord_pid": supervisord, "supervisord_start": daemon.start if daemon else None}
    runtime.make_folder(paths.RUN)
    write_file(site.token(slot), json.dumps(token), 0o600)


def traces(site: Layout, slot: str) -> list[str]:
    """The parts of a slot that exist on this host; empty if it is clear."""
    found = []
    with contextlib.suppress(SupervisorError):
        if Supervisor().info(f"{site.name}-{slot}") is not None:
            found.append("program in supervisord")
    if orphan(site, slot):
        found.append("process")
    nginx = (site.slot(slot) / "release", site.slot(slot) / "before", site.public(slot))
    for path in (site.program(slot), site.token(slot), *nginx, *site.sockets(slot)):
        if path.is_symlink() or path.exists():
            found.append(str(path))
    return found


def end_leftovers(site: Layout, slot: str) -> None:
    """End leftover processes of a stopped slot on the TCP ports that it shares with the live slot."""
    manifest = site.manifest(site.release_in(slot) or "")
    live = site.live_slot()
    server = orphan(site, live) if live and live != slot else None
    if not manifest.get("listen") or (server is None and live not in (None, slot)):
        return  # without the live server's PID its sockets cannot be told from others
    try:
        account = pwd.getpwnam(manifest["user"])
    except KeyError:
        return
    deadline = time.monotonic() + 5
    while (pids := ports.leftovers(manifest["listen"], account, server)) and time.monotonic() < deadline:
        for pid in pids:
            process.signal_if(pid, signal.SIGKILL, lambda pid: process.user(pid) == account.pw_uid)
        time.sleep(0.05)


def end_rest(site: Layout, slot: str, server: process.Process | None) -> None:
    """End processes of a stopped slot that supervisord does not manage."""
    end_orphan(site, slot)
    end_group(owner(site.manifest(site.release_in(slot) or "")), server.pid if server else None)
    site_groups.end(site.name, slot)
    end_leftovers(site, slot)


def clear_slot(site: Layout, slot: str) -> bool:
    """Stop a slot's processes and remove everything that would start them again; returns whether there was anything.

    The order matters: while the program file exists, a supervisord that starts meanwhile loads the program, and the
    launcher refuses it, because the slot is not live and has no token.
    """
    found = bool(traces(site, slot))
    site.token(slot).unlink(missing_ok=True)
    supervisor, server = Supervisor(), noted(site, slot)
    try:
        supervisor.remove(f"{site.name}-{slot}")
    except SupervisorError:
        # Without a supervisord no program runs; if supervisord cannot remove the program, its files must stay.
        if supervisor.running():
            # A process of this slot that hides the server's end from supervisord (by ptrace) is ended too.
            site_groups.end(site.name, slot)
            supervisor.remove(f"{site.name}-{slot}", patience=10)
    end_rest(site, slot, server)
    if site.program(slot).exists():
        site.program(slot).unlink()
        with contextlib.suppress(SupervisorError):
            supervisor.reread()
    for path in site.sockets(slot):
        path.unlink(missing_ok=True)
        path.with_name(f"{path.name}.new").unlink(missing_ok=True)
    for name in ("release", ".release.new", "before", ".before.new", "after_live"):
        (site.slot(slot) / name).unlink(missing_ok=True)
    trees.remove(site.public(slot))
    return found
