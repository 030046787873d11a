"""The launcher's command `run`: a command as the site's user, such as a shell, flask or a database client."""

from __future__ import annotations

import contextlib
import os
import resource
import signal
import sys
from collections.abc import Callable
from pathlib import Path
from typing import NoReturn

from ansible_collections.wsgi.sites.plugins.module_utils.launcher import identity, limits
from ansible_collections.wsgi.sites.plugins.module_utils.launcher.keystrokes import has_terminal
from ansible_collections.wsgi.sites.plugins.module_utils.launcher.listeners import FIRST_FD
from ansible_collections.wsgi.sites.plugins.module_utils.launcher.messages import LauncherError
from ansible_collections.wsgi.sites.plugins.module_utils.launcher.release import Release
from ansible_collections.wsgi.sites.plugins.module_utils.launcher.terminal import Relay


def run(root: Path, words: list[str]) -> NoReturn:
    """Run a command as the site's user, in the live release unless another one is named."""
    release_id = None
    if words[:1] == ["--release"] and len(words) > 1:
        release_id, words = words[1], words[2:]
    if words[:1] == ["--"]:
        words = words[1:]
    if not words:
        raise LauncherError("nothing to run: launcher ROOT run [--release ID] -- COMMAND…")
    release = Release.at(root, root / "releases" / release_id if release_id else root / "live" / "release")
    # A shell needs the type of its terminal.
    terminal = {"TERM": os.environ["TERM"]} if "TERM" in os.environ else {}

    def start() -> NoReturn:
        limits.confine(release, f"run.{os.getpid()}", supervised=False)
        identity.become(release, words, terminal)

    uid, _ = release.account()
    separated(start, uid, release.site.name)


def separated(start: Callable[[], NoReturn], uid: int, site: str) -> NoReturn:
    """Run ``start`` in a child without access to root's terminal, and exit with its status."""
    if not has_terminal() and not any(map(os.isatty, range(FIRST_FD))):
        os.closerange(FIRST_FD, os.sysconf("SC_OPEN_MAX"))
        start()
    resource.setrlimit(resource.RLIMIT_CORE, (0, 0))
    status = Relay(uid, site).run(start)
    if not os.WIFSIGNALED(status):
        sys.exit(os.waitstatus_to_exitcode(status))
    with contextlib.suppress(OSError):  # SIGKILL cannot be handled
        signal.signal(os.WTERMSIG(status), signal.SIG_DFL)
    os.kill(os.getpid(), os.WTERMSIG(status))
    sys.exit(128 + os.WTERMSIG(status))
