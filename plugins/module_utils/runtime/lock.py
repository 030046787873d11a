"""Locks of a site: one run at a time, and one step of it at a time.

There are two locks: a kernel lock, which a step holds until it ends, however it ends; and a record of the run that the
steps belong to, from the run's first step on a site to its last.
"""

from __future__ import annotations

import contextlib
import fcntl
import json
import os
import time
from collections.abc import Iterator
from datetime import UTC, datetime
from typing import Any

from ansible_collections.wsgi.sites.plugins.module_utils.runtime import history, run_identity
from ansible_collections.wsgi.sites.plugins.module_utils.runtime.run_identity import Run
from ansible_collections.wsgi.sites.plugins.module_utils.site import paths
from ansible_collections.wsgi.sites.plugins.module_utils.site.paths import Layout, write_file
from ansible_collections.wsgi.sites.plugins.module_utils.system import runtime

# Number of remembered runs whose lock was taken over.
REMEMBERED = 20
# Keys of a run in its record, besides the time of the lock and the last sign of life.
KEPT = ("id", "action", "who", "controller", "machine", "process", "silence", "step")
VERBS = {"deploy": "deploying", "rollback": "rolling back", "restart": "restarting"}


class Busy(Exception):
    """Another run has locked the site."""


class Held:
    """A site that a step has locked."""

    def __init__(self, site: Layout, me: Run | None) -> None:
        self.site, self.run = site, me
        # Messages for the operator, such as a lock that was taken over.
        self.remark = ""
        self.since = time.time()

    @property
    def seconds(self) -> float:
        """Seconds since the run locked the site."""
        return max(0.0, time.time() - self.since)

    def note(self, result: str, **fields: Any) -> None:
        """Record the result of the run."""
        action = self.run.action if self.run else "deploy"
        by = self.run.author if self.run else ""
        history.append(self.site, action, result, by=by, seconds=self.seconds, **fields)

    def let_go(self) -> None:
        """Release the run's lock after its last step on this site."""
        if self.run is not None:
            _write(self.site, {"ousted": read(self.site)["ousted"]})


def read(site: Layout) -> dict:
    """Read the record: ``holder`` if there is one, and ``ousted``, the runs whose lock was taken over."""
    try:
        found = json.loads(site.run_note.read_text(encoding="utf-8"))
    except (OSError, ValueError):
        found = {}
    return found | {"ousted": list(found.get("ousted", []))}


def _write(site: Layout, note: dict) -> None:
    if note.get("holder") or note["ousted"]:
        write_file(site.run_note, json.dumps(note) + "\n", 0o600)
    else:
        site.run_note.unlink(missing_ok=True)


def describe(holder: dict, now: float) -> str:
    """``alice@laptop has been deploying it since 2026-11-21 03:45:10 UTC``."""
    since = datetime.fromtimestamp(holder["since"], tz=UTC)
    doing = VERBS.get(holder["action"], holder["action"])
    return (
        f"{holder['who']}@{holder['controller']} has been {doing} it since {since:%Y-%m-%d %H:%M:%S} UTC "
        f"(last sign of life {max(0, now - holder['seen']):.0f} s ago)"
    )


def is_dead(holder: dict, me: Run | None, now: float) -> str:
    """Why the run that holds the lock counts as dead; empty if it may still be alive.

    Requires the kernel lock, which a run of one step would still hold.
    """
    known = me is not None and holder["machine"] == me.machine != "" and holder["process"]
    if holder.get("step") or (known and holder["process"] not in me.alive):
        return "its process has ended"
    patience = max(me.patience if me else run_identity.PATIENCE, holder.get("silence", 0))
    if now - holder["seen"] > patience:
        return f"it gave no sign of life for more than {patience:.0f} s"
    return "you said lock=take" if me and me.take else ""


def claim(site: Layout, me: Run | None) -> Held:
    """Lock the site for this run, or keep its lock. Requires the kernel lock.

    :raises Busy: with holder, time and remedy
    """
    held, note, now = Held(site, me), read(site), time.time()
    holder = note.get("holder")
    if me and me.id in note["ousted"]:
        by = f"; {describe(holder, now)}" if holder else ""
        raise Busy(f"{site.name}: another run has taken over the lock of this site{by}. This run stops here")
    if holder and (me is None or holder["id"] != me.id):
        why = is_dead(holder, me, now)
        if not why:
            raise Busy(
                f"{site.name}: {describe(holder, now)}. Nothing was done here. Wait until that run ends, then run "
                "again; if you know that it is dead, run a playbook with -e lock=take"
            )
        held.remark = f"{site.name}: took over from {holder['who']}@{holder['controller']}: {why}"
        note["ousted"] = [*note["ousted"], holder["id"]][-REMEMBERED:]
        by = f"{holder['who']}@{holder['controller']}"
        history.append(site, holder["action"], "cut-off", by=by, seconds=holder["seen"] - holder["since"], reason=why)
        holder = None
    if me is not None:
        held.since = holder["since"] if holder else now
        mine = {key: getattr(me, key) for key in KEPT}
        _write(site, {"holder": {**mine, "since": held.since, "seen": now}, "ousted": note["ousted"]})
    elif held.remark:
        _write(site, {"ousted": note["ousted"]})
    return held


@contextlib.contextmanager
def site_lock(
    site: Layout, enabled: bool = True, *, last: bool = False, first: bool = False, me: Run | None = None
) -> Iterator[Held]:
    """Lock the site for one step.

    :param enabled: False in check mode, which writes nothing, not even a lock file
    :param last: whether this is the run's last step on this site, whatever its result
    :param first: whether no step follows if this one fails
    :param me: the run, if it is not in the environment
    """
    if not enabled:
        yield Held(site, None)
        return
    runtime.make_folder(paths.RUN)
    descriptor = os.open(site.lock, os.O_RDWR | os.O_CREAT | os.O_CLOEXEC | os.O_NOFOLLOW, 0o600)
    try:
        try:
            fcntl.flock(descriptor, fcntl.LOCK_EX | fcntl.LOCK_NB)
        except BlockingIOError:
            pid = os.pread(descriptor, 64, 0).decode(errors="replace").strip() or "unknown"
            holder = read(site).get("holder")
            who = describe(holder, time.time()) if holder else "another run is working on this site"
            raise Busy(
                f"{site.name}: {who}, and one of its steps is running now (PID {pid} on the host holds {site.lock}); "
                "wait until it ends, then run again"
            ) from None
        os.ftruncate(descriptor, 0)
        os.pwrite(descriptor, f"{os.getpid()}\n".encode(), 0)
        held = claim(site, me or run_identity.current())
        try:
            yield held
        except BaseException:
            if first or last:
                held.let_go()
            raise
        if last:
            held.let_go()
        elif held.run is not None and (note := read(site)).get("holder"):
            # The end of a long step is a sign of life too.
            _write(site, {**note, "holder": {**note["holder"], "seen": time.time()}})
    finally:
        os.close(descriptor)
