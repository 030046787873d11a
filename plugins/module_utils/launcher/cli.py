"""The launcher's command line."""

from __future__ import annotations

import os
import sys
from pathlib import Path
from typing import NoReturn

from ansible_collections.wsgi.sites.plugins.module_utils.launcher.messages import LauncherError
from ansible_collections.wsgi.sites.plugins.module_utils.site.paths import SLOTS

USAGE = """usage: launcher ROOT blue|green
       launcher ROOT process NAME NUMBER
       launcher ROOT run [--release ID] -- COMMAND…

The first becomes the server of a slot, the second a process or a job of the live release: supervisor starts both. The
third runs a command as the site's user, with the environment of the live release or of another one.

Exit codes: 77 if this slot or process must not run (`exitcodes=77` makes supervisor accept that), 1 for errors."""


def main(words: list[str]) -> NoReturn:
    """Run one of the commands; it replaces this process."""
    what = words[2:3]
    is_slot = len(words) == 3 and what[0] in SLOTS
    if not (is_slot or what == ["run"] or (what == ["process"] and len(words) == 5)):
        sys.exit(USAGE)
    root = Path(words[1])
    try:
        if os.geteuid() != 0:
            raise LauncherError("must be started by root (it drops root itself)")
        # Each command imports only what it needs: Python compiles it again at each start.
        if is_slot:
            from ansible_collections.wsgi.sites.plugins.module_utils.launcher import server

            server.serve(root, what[0])
        if what == ["run"]:
            from ansible_collections.wsgi.sites.plugins.module_utils.launcher import command

            command.run(root, words[3:])
        from ansible_collections.wsgi.sites.plugins.module_utils.launcher import background

        background.start(root, *words[3:])
    except LauncherError as error:
        sys.exit(f"launcher: {root} {what[0]}: {error}")
    except (OSError, KeyError, ValueError) as error:
        sys.exit(f"launcher: {root} {what[0]}: {type(error).__name__}: {error}")
