"""Run a program as a site's user: whatever imports a site's code must never do so as root."""

from __future__ import annotations

import contextlib
import ctypes
import os
import pwd
import resource
import select
import signal
import subprocess
import tempfile
from collections.abc import Mapping, Sequence
from pathlib import Path

from ansible.module_utils.daemons.text import TAIL, end_of
from ansible.module_utils.releases import groups

PR_SET_NO_NEW_PRIVS = 38
# Seconds until a command that was killed has gone.
KILLED = 10


def run_as(
    user: str,
    command: Sequence[str],
    *,
    cwd: Path,
    environment: Mapping[str, str],
    timeout: float = 120,
    site: str = "",
    resources: Mapping[str, object] | None = None,
    limit: int = TAIL,
) -> subprocess.CompletedProcess[str]:
    """Run ``command`` as ``user`` and nobody more.

    With its own group alone, no new privileges, no core dump, no file or variable of ours. What it leaves in the
    background is ended with it; where there are no control groups, unless it made a process group of its own.

    :param site: whose control group it belongs to
    :param resources: the site's limits
    :param limit: of what it prints on each of its two outputs, so many bytes are read, from the end
    :raises subprocess.TimeoutExpired: after ``timeout`` seconds, or if it does not go when it is killed
    """
    account = pwd.getpwnam(user)
    # Loaded here, since between fork and exec nothing may be imported.
    libc = ctypes.CDLL(None, use_errno=True)

    place = groups.Command(site, resources or {})

    def confine() -> None:
        place.enter()
        resource.setrlimit(resource.RLIMIT_CORE, (0, 0))
        if libc.prctl(PR_SET_NO_NEW_PRIVS, 1, 0, 0, 0) != 0:
            raise OSError(ctypes.get_errno(), "prctl")

    drop = {}
    if os.geteuid() == 0:
        drop = {
            "user": account.pw_uid,
            "group": account.pw_gid,
            "extra_groups": [account.pw_gid],
        }
    elif os.geteuid() != account.pw_uid:
        raise PermissionError(f"only root can run a program as {user}")
    # Files, not pipes: what the command leaves in the background would keep those open, and nobody would see its end.
    # It can make them as large as it likes, with holes or without: only their ends are read.
    with tempfile.TemporaryFile() as out, tempfile.TemporaryFile() as err, contextlib.ExitStack() as stack:
        stack.callback(place.end)
        process = subprocess.Popen(
            list(command),
            cwd=cwd,
            env=dict(environment),
            stdin=subprocess.DEVNULL,
            stdout=out,
            stderr=err,
            start_new_session=True,
            umask=0o027,
            preexec_fn=confine,
            **drop,
        )
        place.began(process.pid)
        try:
            # Not waited for yet, so that the number of its process group stays its own.
            if not _ends(process.pid, timeout):
                raise subprocess.TimeoutExpired(process.args, timeout)
        finally:
            # The whole group, also what the site's import may have left in the background.
            with contextlib.suppress(ProcessLookupError, PermissionError):
                os.killpg(process.pid, signal.SIGKILL)
            place.end()
            process.wait(KILLED)
        return subprocess.CompletedProcess(process.args, process.returncode, end_of(out, limit), end_of(err, limit))


def _ends(pid: int, timeout: float) -> bool:
    """Wait for the end of a child of ours; whether it came in time."""
    handle = os.pidfd_open(pid)
    try:
        return bool(select.select([handle], [], [], timeout)[0])
    finally:
        os.close(handle)


def process_environment(user: str, release: Path, home: Path, environment: Mapping[str, str]) -> dict[str, str]:
    """What a process of the site starts with, the same as the launcher gives it; the release's environment wins."""
    return {
        "PATH": f"{release / 'venv' / 'bin'}:/usr/local/bin:/usr/bin:/bin",
        "HOME": str(home),
        "USER": user,
        "LOGNAME": user,
        "LANG": "C.UTF-8",
        **environment,
    }
