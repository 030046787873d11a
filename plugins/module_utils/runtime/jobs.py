"""Runs a site's job: called by cron, starts the job under supervisor, waits for its end, and reports the result."""

from __future__ import annotations

import time
from pathlib import Path

from ansible_collections.wsgi.sites.plugins.module_utils.runtime import history, processes
from ansible_collections.wsgi.sites.plugins.module_utils.runtime.supervisor import Supervisor, SupervisorError
from ansible_collections.wsgi.sites.plugins.module_utils.site.paths import Layout

# Seconds that a job waits while a deploy replaces its program, or for supervisord at boot.
PATIENCE = 90
# supervisor's exit code of a process that was ended by a signal.
BY_SIGNAL = -1
ACTIVE = ("STARTING", "RUNNING", "STOPPING")


class JobError(Exception):
    """A job could not run, or failed; the text has the reason."""


def run(site: Layout, name: str) -> str:
    """Start a job and wait for its end; returns the result as text.

    :raises JobError: if it cannot run, or failed
    """
    try:
        return _run(site, name)
    except (JobError, SupervisorError) as error:
        # cron mails this output, where there is mail; the journal has it anyway.
        history.journal(site, f"job {name}: {error}", ok=False)
        raise JobError(f"{site.name}: job {name}: {error}") from error


def _run(site: Layout, name: str) -> str:
    jobs = [job for job, it in processes.wanted_by(_manifest(site)).items() if it["kind"] == "job"]
    if name not in jobs:
        raise JobError(f"the live release has no such job; there are: {', '.join(jobs) or 'none'}")
    program = processes.program(site, name)
    if _wait_until_known(site, name)["statename"] in ACTIVE:
        history.journal(site, f"job {name}: its last run has not ended, so it was not started again", ok=True)
        return "its last run has not ended, so it was not started again"
    Supervisor().start(program)
    pause = 0.1
    while (info := _info(program)) and info["statename"] in ACTIVE:
        time.sleep(pause)
        pause = min(pause * 1.5, 2)
    if not info or info["statename"] != "EXITED":
        raise JobError("it was stopped before its end, by a deploy or manually on the host")
    if info["exitstatus"] == 0:
        return "it succeeded"
    how = "was ended by a signal" if info["exitstatus"] == BY_SIGNAL else f"failed with exit code {info['exitstatus']}"
    raise JobError(f"it {how}; see {_log(site, name)}")


def _wait_until_known(site: Layout, name: str) -> dict:
    deadline, why = time.monotonic() + PATIENCE, ""
    while time.monotonic() < deadline:
        try:
            if info := _info(processes.program(site, name)):
                return info
            why = "supervisord has no program for it; deploy again"
        except SupervisorError as error:
            why = str(error)
        time.sleep(0.5)
    raise JobError(why)


def _info(program: str) -> dict | None:
    return next((info for info in Supervisor().infos() if info["group"] == program), None)


def _manifest(site: Layout) -> dict:
    return site.manifest(site.live_release() or "")


def _log(site: Layout, name: str) -> Path:
    return site.logs / f"{name}.log"
