"""A site's background processes and cron jobs, which are supervisor programs.

The live release defines them. The functions compare the host's state with that and correct it, whatever an interrupted
run has left. The launcher's record of a process has the slot and release that it was started from.
"""

from __future__ import annotations

import contextlib
import signal
import time
from collections.abc import Iterable
from dataclasses import dataclass, field
from pathlib import Path

from ansible_collections.wsgi.sites.plugins.module_utils.daemons import ownership
from ansible_collections.wsgi.sites.plugins.module_utils.runtime import site_groups
from ansible_collections.wsgi.sites.plugins.module_utils.runtime.orphans import (
    end_group,
    end_orphan,
    note,
    noted,
    orphan,
    owner,
)
from ansible_collections.wsgi.sites.plugins.module_utils.runtime.supervisor import (
    Supervisor,
    SupervisorError,
    check_programs,
)
from ansible_collections.wsgi.sites.plugins.module_utils.site import logs, paths
from ansible_collections.wsgi.sites.plugins.module_utils.site.paths import SLOTS, Layout, write_file

CRON = Path("/usr/sbin/cron")
CRONTAB = "crontab"
# Far longer than supervisor needs to decide whether a process is up (`startsecs`).
PATIENCE = 120
# Default if the launcher's record has none.
STOP_PATIENCE = 30


@dataclass
class Report:
    """The changes as text, and remaining problems."""

    changes: list[str] = field(default_factory=list)
    problems: list[str] = field(default_factory=list)


def program(site: Layout, name: str) -> str:
    """The supervisor program of a process or job."""
    return f"{site.name}-{name}"


def file_in(release: Path, name: str) -> Path:
    """The program file in a release."""
    return release / f"program-{name}.conf"


def wanted_by(manifest: dict) -> dict[str, dict]:
    """The processes and jobs of a release: name → kind, command, count, stop_signal, patience."""
    return manifest.get("processes", {})


def present(site: Layout) -> set[str]:
    """The names of processes and jobs with any file or program on this host."""
    files = {path.stem.removeprefix(f"{site.name}-") for path in paths.PROGRAMS.glob(f"{site.name}-*.conf")}
    ours = {name for name in files if name not in SLOTS and _is_ours(site.program(name))}
    return ours | {key.rpartition("-")[0] for key in _keys(site)}


def check(site: Layout, release_id: str, supervisord: int | None = None) -> None:
    """Refuse a release whose processes could not be started, before anything is changed.

    :raises SupervisorError: with the problem
    """
    release, wanted = site.release(release_id), wanted_by(site.manifest(release_id))
    places = [site.program(name) for name in wanted]
    if (release / CRONTAB).exists():
        places.append(site.crontab)
        if not CRON.exists():
            raise SupervisorError("it has cron jobs, and this host has no cron; run the whole site.yml once")
    for name, process in wanted.items():
        file = Path(process["command"][0])
        if file.parent == paths.LIBRARY and not file.exists():  # the collection is newer than the host's files
            raise SupervisorError(f"its {name} needs {file}, which is missing; run the whole site.yml once")
    for path in places:
        if path.exists() and not _is_ours(path):
            raise SupervisorError(
                f"{path} exists and was not made by this collection; move it away, or give the process another name"
            )
    check_programs({program(site, name): (file_in(release, name), site.program(name)) for name in wanted}, supervisord)


def ask_to_stop(site: Layout) -> None:
    """Send the stop signal to processes of other releases, so that they end together with the old server."""
    with contextlib.suppress(SupervisorError, OSError):
        for name in _stale(site, Supervisor().infos() if present(site) else []):
            Supervisor().ask_to_stop(program(site, name))


def reconcile(site: Layout, check_mode: bool = False) -> Report:
    """Start the live release's processes and stop all others. Processes in the right state are not touched.

    The site is live already, so a problem is reported and does not fail the run.
    """
    report, release_id = Report(), site.live_release()
    if release_id is None or not (wanted_by(site.manifest(release_id)) or present(site) or _is_ours(site.crontab)):
        return report
    try:
        _reconcile(site, release_id, report, check_mode)
    except (SupervisorError, OSError) as error:
        report.problems.append(f"{site.name}: release {release_id} is live, but not all of its processes are: {error}")
    return report


def _reconcile(site: Layout, release_id: str, report: Report, check_mode: bool) -> None:
    supervisor, release = Supervisor(), site.release(release_id)
    wanted = wanted_by(site.manifest(release_id))
    stale = _stale(site, _settled(site, wanted))
    crontab = _read(release / CRONTAB)
    other_times = _read(site.crontab) != crontab and (crontab is not None or _is_ours(site.crontab))
    report.changes += [f"{program(site, name)} {why}" for name, why in stale.items()]
    report.changes += [f"{site.crontab} differs from that of the live release"] if other_times else []
    if check_mode or not report.changes:
        return
    if other_times:
        site.crontab.unlink(missing_ok=True)  # no job starts until the new ones are installed
    _end(site, stale)
    new = {name: logs.position(_log(site, name)) for name in stale if name in wanted}
    for name in new:
        if not _log(site, name).exists():
            logs.make(_log(site, name), site.logs.stat().st_gid)
        write_file(site.program(name), file_in(release, name).read_text(encoding="utf-8"), 0o640)
    refused = {}
    for name in new:
        try:
            supervisor.add(program(site, name))
        except SupervisorError as error:
            refused[name] = str(error)
    if other_times and crontab is not None:
        write_file(site.crontab, crontab, 0o644)
    infos = _settled(site, new)
    for name, since in new.items():
        if words := refused.get(name) or _not_up(site, name, wanted[name], infos):
            report.problems.append(
                f"{site.name}: {words}, with release {release_id}, which is live nevertheless. Correct its command or "
                f"what it needs, and deploy again.{logs.last_words(_log(site, name), since, release / 'environment')}"
            )


def remove(site: Layout, check_mode: bool = False) -> list[str]:
    """Remove all processes and jobs from the host; returns what was (or would be) changed."""
    names = sorted(present(site))
    changes = [f"stop {program(site, name)}" for name in names]
    if _is_ours(site.crontab):
        changes.insert(0, f"remove {site.crontab}")
    if changes and not check_mode:
        if _is_ours(site.crontab):
            site.crontab.unlink()
        _end(site, names)
    return changes


def status(site: Layout, manifest: dict) -> dict[str, str]:
    """The number of running and wanted processes, and a short text of the problems."""
    wanted = wanted_by(manifest)
    if not wanted:
        return {"processes": "", "problems": ""}
    infos = Supervisor().infos()
    lasting = {name: it for name, it in wanted.items() if it["kind"] == "process"}
    up = [info for name in lasting for info in _of(site, name, infos) if info["statename"] == "RUNNING"]
    stale = _stale(site, infos)
    problems = [_not_up(site, name, it, infos) or (f"{name} {stale[name]}" if name in stale else "")
                for name, it in wanted.items()]  # fmt: skip
    problems += [f"{name} {why}" for name, why in stale.items() if name not in wanted]
    return {
        "processes": f"{len(up)}/{sum(it['count'] for it in lasting.values())}" if lasting else "",
        "problems": "; ".join(filter(None, problems)),
    }


def _stale(site: Layout, infos: list[dict]) -> dict[str, str]:
    """The processes and jobs that differ from the live release, each with the reason."""
    found = {}
    wanted = wanted_by(site.manifest(site.live_release() or ""))
    for name in sorted({*wanted, *present(site)}):
        why = _why_stale(site, name, wanted.get(name), _of(site, name, infos))
        if why:
            found[name] = why
    return found


def _why_stale(site: Layout, name: str, it: dict | None, infos: list[dict]) -> str:
    if it is None:
        return "is not wanted any more"
    if _read(site.program(name)) != _read(file_in(site.live / "release", name)):
        return "has no program file, or another one"
    if not infos:
        return "is not known to supervisord"
    supervised = {info["pid"] for info in infos if info["pid"]}
    running = {pid: note(site, key) for key in _keys(site, name) if (pid := orphan(site, key))}
    here = {"slot": site.live_slot(), "release": site.live_release()}
    if any({"slot": running[pid].get("slot"), "release": running[pid].get("release")} != here for pid in running):
        return "runs from before the switch"
    if it["kind"] == "job":
        return ""
    if any(info["statename"] != "RUNNING" for info in infos):
        return "does not run"
    return "" if set(running) == supervised else "does not run under supervisord alone"


def _not_up(site: Layout, name: str, it: dict, infos: list[dict]) -> str:
    """The problem of a process that should run, or of a job's last run; empty if there is none."""
    own = _of(site, name, infos)
    if not own:
        return f"supervisord has no program {name}"
    if it["kind"] == "job":
        code = own[0]["exitstatus"] if own[0]["statename"] == "EXITED" else 0
        return f"the last run of the job {name} failed with exit code {code}" if code else ""
    down = [info for info in own if info["statename"] != "RUNNING"]
    said = ", ".join(sorted({f"{info['statename']} ({info['description']})" for info in down}))
    many = f" ({len(down)} of {len(own)})" if len(own) > 1 else ""
    return f"the process {name} does not stay up{many}: supervisor reports {said}" if down else ""


def _settled(site: Layout, names: Iterable[str]) -> list[dict]:
    """Their states once supervisord has decided whether they are up."""
    deadline, groups = time.monotonic() + PATIENCE, {program(site, name) for name in names}
    while True:
        infos = Supervisor().infos()
        undecided = any(info["group"] in groups and info["statename"] == "STARTING" for info in infos)
        if not undecided or time.monotonic() > deadline:
            return infos
        time.sleep(0.1)


def _end(site: Layout, names: Iterable[str]) -> None:
    """Stop these in parallel, each with its own signal and timeout, and remove everything that would start them."""
    supervisor, names = Supervisor(), list(names)
    alive = supervisor.running()
    for name in names:
        if alive:
            supervisor.ask_to_stop(program(site, name))
    for name in names:
        keys = _keys(site, name)
        notes = {key: (note(site, key), noted(site, key)) for key in keys}
        patience = max((said.get("patience", STOP_PATIENCE) for said, _ in notes.values()), default=STOP_PATIENCE)
        if alive:
            # supervisord itself kills a process after its stop timeout.
            supervisor.remove(program(site, name), patience=patience + 60)
        # First, so that a supervisord that starts meanwhile does not start it.
        site.program(name).unlink(missing_ok=True)
        for key, (said, process) in notes.items():
            end_orphan(site, key, said.get("patience", STOP_PATIENCE), said.get("signal", signal.SIGTERM))
            end_group(owner(site.manifest(said.get("release", ""))), process.pid if process else None)
            site_groups.end(site.name, key)
    if names and alive:
        supervisor.reread()


def _keys(site: Layout, name: str = "") -> list[str]:
    """The names of the launcher's process records: ``NAME-NUMBER``."""
    found = (path.stem.removeprefix(f"{site.name}-") for path in paths.RUN.glob(f"{site.name}-*-*.pid"))
    return sorted(key for key in found if not name or key.rpartition("-")[0] == name)


def _of(site: Layout, name: str, infos: list[dict]) -> list[dict]:
    return [info for info in infos if info["group"] == program(site, name)]


def _log(site: Layout, name: str) -> Path:
    return site.logs / f"{name}.log"


def _read(path: Path) -> str | None:
    try:
        return path.read_text(encoding="utf-8")
    except FileNotFoundError:
        return None


def _is_ours(path: Path) -> bool:
    try:
        return ownership.is_ours(path.read_bytes())
    except FileNotFoundError:
        return False
