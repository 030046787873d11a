"""The steps that put a built release live: start the idle slot, switch, abort.

Each step may be interrupted anywhere (a killed run, a reboot). The next run's steps first clear everything that is not
live, so they never depend on the progress of an interrupted run.
"""

from __future__ import annotations

import contextlib
import time
from dataclasses import dataclass, replace

from ansible_collections.wsgi.sites.plugins.module_utils.releases import health, public_files, replacement
from ansible_collections.wsgi.sites.plugins.module_utils.releases.slots import clear_slot, end_rest, traces, write_token
from ansible_collections.wsgi.sites.plugins.module_utils.runtime import processes
from ansible_collections.wsgi.sites.plugins.module_utils.runtime.orphans import noted, orphan, owner
from ansible_collections.wsgi.sites.plugins.module_utils.runtime.supervisor import (
    Supervisor,
    SupervisorError,
    check_program,
)
from ansible_collections.wsgi.sites.plugins.module_utils.site import logs
from ansible_collections.wsgi.sites.plugins.module_utils.site.paths import SLOTS, Layout, replace_link, write_file
from ansible_collections.wsgi.sites.plugins.module_utils.system import memory, ports


class StepError(Exception):
    """A step failed; the text has the site, the reason and the remedy."""


class UnhealthyError(StepError):
    """A release did not become healthy in its slot."""

    last_words = " Correct it and deploy again."


def is_whole(site: Layout, release_id: str) -> bool:
    """Whether a release was built completely."""
    return bool(release_id) and (site.release(release_id) / ".complete").exists() and bool(site.manifest(release_id))


def start(
    site: Layout, release_id: str, after_live: bool = False, needs_room: bool = True, check_mode: bool = False
) -> dict:
    """Start a release in the idle slot and wait until it is healthy; on failure clear the slot.

    For a site that must not run twice at once, the live slot is stopped first, and started again if the new release
    does not become healthy. A healthy one is live at once, since no other serves; `switch` completes that,
    `undo_replacement` undoes it.

    :param after_live: whether hooks must run here once it is live; recorded with the slot until they have run
    :param needs_room: whether to check for memory first; not for a release that may be what reduces the usage
    :returns: ``{"changed", "slot", "health", "downtime", "took"}``: seconds of downtime, and seconds until healthy
    """
    slot = site.idle_slot()
    result = {"changed": True, "slot": slot, "health": "", "downtime": 0.0, "took": 0.0}
    if not is_whole(site, release_id):
        if check_mode:  # in check mode the build has written nothing either
            return result
        raise StepError(f"{site.name}: the release {release_id} is not on this host or incomplete; deploy again")
    supervisord = _check_programs(site, slot, release_id)
    if check_mode:
        return result
    recover(site)
    try:
        clear_slot(site, slot)
    except SupervisorError as error:
        raise StepError(f"{site.name}: {error}") from error
    _check_ports(site, site.manifest(release_id))
    alone = replacement.wanted(site, release_id)
    if needs_room and not alone:
        _check_memory(site, supervisord)
    seen = logs.position(site.log)
    try:
        _fill_slot(site, slot, release_id, supervisord, after_live)
        if alone:
            stop_live(site)
        words, took = _wait_until_healthy(site, slot, release_id, seen)
        downtime = _replace_live(site, slot, release_id)
    except BaseException as error:
        try:
            undo_replacement(site)
            with contextlib.suppress(SupervisorError):
                clear_slot(site, slot)
        finally:
            resumed = resume_stopped(site)
        if isinstance(error, (StepError, SupervisorError, OSError)):
            last_words = getattr(error, "last_words", "")
            raise StepError(f"{site.name}: {error}{resumed.words}{last_words}") from error
        raise
    return result | {"health": words, "downtime": downtime, "took": took}


def _check_programs(site: Layout, slot: str, release_id: str) -> int:
    """Refuse program files that supervisord would reject; returns its PID."""
    try:
        supervisord = Supervisor().pid()
        program = site.release(release_id) / f"program-{slot}.conf"
        check_program(f"{site.name}-{slot}", program, site.program(slot), supervisord)
        processes.check(site, release_id, supervisord)
    except SupervisorError as error:
        raise StepError(f"{site.name}: {error}") from error
    return supervisord


def _fill_slot(site: Layout, slot: str, release_id: str, supervisord: int, after_live: bool) -> None:
    """Link a release into a slot, and write the files that its program needs."""
    site.slot(slot).mkdir(mode=0o755, parents=True, exist_ok=True)
    replace_link(site.slot(slot) / "release", f"../../releases/{release_id}")
    public_files.publish(site, slot)
    public_files.carry_over(site, slot)
    # Hooks that were pending before a restart still are.
    if after_live or (site.live_release() == release_id and site.has_pending_hooks()):
        write_file(site.pending_hooks(slot), "", 0o600)
    write_token(site, slot, supervisord)
    program = (site.release(release_id) / f"program-{slot}.conf").read_text(encoding="utf-8")
    write_file(site.program(slot), program, 0o640)


def _wait_until_healthy(site: Layout, slot: str, release_id: str, seen: tuple[int, int]) -> tuple[str, float]:
    """Start a slot's program; returns the result of its health check and the seconds until then."""
    began, manifest = time.monotonic(), site.manifest(release_id)
    Supervisor().add(f"{site.name}-{slot}")
    is_healthy, words = health.healthy(site, slot, manifest, timeout=manifest["health"]["timeout"])
    if not is_healthy:
        said = f"release {release_id} did not become healthy in slot {slot}: {words}. {_what_serves(site)}"
        error = UnhealthyError(said)
        # Read now, before the next steps write to the same log.
        error.last_words += logs.last_words(site.log, seen, site.release(release_id) / "environment")
        raise error
    return words, time.monotonic() - began


def stop_live(site: Layout) -> None:
    """Stop the live slot for a release that must not run beside it. Its program file stays, so a boot starts it."""
    slot = site.live_slot() or ""
    note = replacement.Stopped(slot, site.live_release() or "", site.previous_release(), time.monotonic())
    replacement.write(site, note)
    server = noted(site, slot)
    Supervisor().stop(f"{site.name}-{slot}")
    end_rest(site, slot, server)


def _replace_live(site: Layout, slot: str, release_id: str) -> float:
    """Make a slot live for which the live one was stopped; returns the seconds of downtime."""
    if (stopped := replacement.read(site)) is None:
        return 0.0
    downtime = time.monotonic() - stopped.since
    replacement.write(site, replace(stopped, downtime=downtime))
    _point(site, slot, release_id)
    return downtime


def _point(site: Layout, slot: str, release_id: str) -> None:
    """Rename the link to the live slot.

    The previous release is recorded before the rename, so that an interruption between the two does not lose it. A
    restart of the same release keeps the record.
    """
    before = site.live_release() or ""
    if before and before != release_id:
        write_file(site.previous, before + "\n", 0o644)
    replace_link(site.live, f"slots/{slot}")
    site.token(slot).unlink(missing_ok=True)


def undo_replacement(site: Layout) -> None:
    """Make the stopped slot live again; `resume_stopped` starts it once the other slot is cleared."""
    stopped = replacement.read(site)
    if stopped is None or stopped.slot == site.live_slot() or site.release_in(stopped.slot) != stopped.release:
        return
    if stopped.previous:
        write_file(site.previous, stopped.previous + "\n", 0o644)
    else:
        site.previous.unlink(missing_ok=True)
    replacement.write(site, replace(stopped, since=time.monotonic() - stopped.downtime))  # the other slot answered
    replace_link(site.live, f"slots/{stopped.slot}")


@dataclass(frozen=True)
class Resumed:
    """The result of restarting a stopped slot, as text, and the seconds of downtime."""

    words: str = ""
    downtime: float = 0.0


def resume_stopped(site: Layout) -> Resumed:
    """Start the live slot again if it was stopped for another one, and wait until it is healthy."""
    stopped = replacement.read(site)
    if stopped is None:
        return Resumed()
    if stopped.slot != site.live_slot():  # the other slot is live by now
        site.stopped.unlink(missing_ok=True)
        return Resumed()
    manifest = site.manifest(stopped.release)
    try:
        Supervisor().resume(f"{site.name}-{stopped.slot}")
        site.stopped.unlink(missing_ok=True)
        healthy, words = health.healthy(site, stopped.slot, manifest, timeout=manifest["health"]["timeout"])
    except (SupervisorError, KeyError) as error:
        healthy, words = False, str(error)
    downtime = max(0.0, time.monotonic() - stopped.since)
    if healthy:
        return Resumed(f" It was stopped and runs again; downtime: {downtime:.1f} s.", downtime)
    return Resumed(f" IT WAS STOPPED AND IS DOWN SINCE THEN: {words}; supervisor keeps restarting it.", downtime)


def switch(site: Layout, slot: str, release_id: str, drain: float = 2.5, check_mode: bool = False) -> dict:
    """Make a started slot live with one rename, let the old slot finish its requests, and clear it.

    Then the release's processes replace the old one's.

    :returns: ``{"changed", "slot", "previous", "downtime", "problems"}``; problems name processes that do not run
    """
    old = site.live_slot()
    before = site.live_release() or ""
    result = {"changed": True, "slot": slot, "previous": before, "downtime": 0.0, "problems": []}
    if old == slot:  # `start` has made it live already, or an earlier run has
        if site.live_release() != release_id:
            raise StepError(f"{site.name}: slot {slot} is live with release {before}, not {release_id}; deploy again")
        stopped = replacement.read(site)
        result["previous"], result["downtime"] = (stopped.release, stopped.downtime) if stopped else ("", 0.0)
        cleared, report = abort(site, check_mode)["changed"], processes.reconcile(site, check_mode)
        return result | {"changed": cleared or bool(report.changes), "problems": report.problems}
    if check_mode:
        return result
    if site.release_in(slot) != release_id:
        raise StepError(
            f"{site.name}: slot {slot} does not hold release {release_id}; deploy again. {_what_serves(site)}"
        )
    try:
        info = Supervisor().info(f"{site.name}-{slot}")
    except SupervisorError as error:
        raise StepError(f"{site.name}: not switched: {error}") from error
    if info is None or info["statename"] not in ("STARTING", "RUNNING"):
        state = "unknown to supervisord" if info is None else info["statename"]
        raise StepError(
            f"{site.name}: slot {slot} is {state}, so nothing was switched. {_what_serves(site)} Deploy again"
        )
    _point(site, slot, release_id)
    processes.ask_to_stop(site)
    if old:
        time.sleep(drain)
    try:
        clear_slot(site, "blue" if slot == "green" else "green")
    except SupervisorError as error:
        # The old processes have been asked to stop, so the new ones must start nevertheless.
        words = [f"release {release_id} is live, but the old slot could not be cleared: {error}"]
        raise StepError(f"{site.name}: " + "\n".join(words + processes.reconcile(site).problems)) from error
    return result | {"problems": processes.reconcile(site).problems}


def abort(site: Layout, check_mode: bool = False) -> dict:
    """Clear the leftovers of an interrupted run: all slots but the live one, and every token.

    A live slot that it had stopped is started again.

    :returns: ``{"changed", "removed": {slot: what was removed}, "remark", "downtime"}``
    """
    live = site.live_slot()
    removed: dict[str, list[str]] = {}
    for slot in SLOTS:
        if slot != live:
            found = traces(site, slot)
            if found and not check_mode:
                try:
                    clear_slot(site, slot)
                except SupervisorError as error:
                    raise StepError(f"{site.name}: {error}") from error
        else:
            # The live slot needs no token; a leftover one is removed.
            found = [str(site.token(slot))] if site.token(slot).exists() else []
            if found and not check_mode:
                site.token(slot).unlink(missing_ok=True)
        if found:
            removed[slot] = found
    resumed = Resumed()
    if stopped := replacement.read(site):
        if stopped.slot == live:
            removed.setdefault(live, []).append("stopped for another release")
        if not check_mode:
            resumed = resume_stopped(site)
    remark = f"{site.name}: release {site.live_release()} is live.{resumed.words}" if resumed.words else ""
    return {"changed": bool(removed), "removed": removed, "remark": remark, "downtime": resumed.downtime}


def recover(site: Layout) -> str:
    """Restart a slot that an interrupted run has stopped, before anything else; returns a text if there was one.

    Other leftovers are cleared by later steps.
    """
    return abort(site)["remark"] if replacement.read(site) else ""


def _what_serves(site: Layout) -> str:
    release_id = site.live_release()
    return f"Release {release_id} stays live." if release_id else "Nothing was live before."


def _check_ports(site: Layout, manifest: dict) -> None:
    uid = owner(manifest)
    live = site.manifest(site.live_release() or "").get("listen", [])
    # The live release's addresses belong to the site, whatever listens there while it is down.
    ports.take_back([address for address in manifest.get("listen", []) if address in live], uid)
    problems = [ports.problem(address, uid, live) for address in manifest.get("listen", [])]
    if any(problems):
        raise StepError(f"{site.name}: {'; '.join(filter(None, problems))}. {_what_serves(site)}")


def _check_memory(site: Layout, supervisord: int) -> None:
    """Refuse if there is no memory for a second server; the running one shows how much it needs."""
    server = orphan(site, site.live_slot() or "")
    if server and (words := memory.shortage(server, supervisord)):
        raise StepError(f"{site.name}: {words}. Nothing was started. {_what_serves(site)}")
