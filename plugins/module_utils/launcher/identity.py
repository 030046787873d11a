"""Drop root and exec a program as the site's user."""

from __future__ import annotations

import ctypes
import os
import resource
import signal
from typing import NoReturn

from ansible_collections.wsgi.sites.plugins.module_utils.launcher.keystrokes import forbid_typing
from ansible_collections.wsgi.sites.plugins.module_utils.launcher.messages import LauncherError
from ansible_collections.wsgi.sites.plugins.module_utils.launcher.release import Release

PR_SET_NO_NEW_PRIVS = 38


def become(release: Release, command: list[str], more: dict[str, str]) -> NoReturn:
    """Exec a command in a release's `app/`, as the site's user with the release's environment and these variables."""
    uid, gid = release.account()
    environment = release.environment()
    os.chdir(release.path / "app")
    drop_privileges(uid, gid)
    forbid_typing()
    execute(command, environment | more)


def drop_privileges(uid: int, gid: int) -> None:
    """Switch to the site's user irrevocably."""
    resource.setrlimit(resource.RLIMIT_CORE, (0, 0))  # a core dump would contain the site's secrets
    os.setgroups([gid])
    os.setresgid(gid, gid, gid)
    os.setresuid(uid, uid, uid)
    if ctypes.CDLL(None, use_errno=True).prctl(PR_SET_NO_NEW_PRIVS, 1, 0, 0, 0) != 0:
        raise LauncherError(f"cannot forbid new privileges: {os.strerror(ctypes.get_errno())}")
    os.umask(0o027)
    # Python ignores these two signals; the executed program must not inherit that.
    signal.signal(signal.SIGPIPE, signal.SIG_DFL)
    signal.signal(signal.SIGXFSZ, signal.SIG_DFL)


def execute(command: list[str], environment: dict[str, str]) -> NoReturn:
    """Become the command."""
    try:
        os.execvpe(command[0], command, environment)
    except BlockingIOError:
        raise LauncherError(
            f"cannot run {command[0]}: the site's user has reached the number of processes and threads that "
            "`resources.tasks_max` allows; end some of them, or raise it and deploy again"
        ) from None
    except OSError as error:
        raise LauncherError(f"cannot run {command[0]}: {error.strerror}") from error
