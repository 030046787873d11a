"""Change supervisord's own configuration in one step, without affecting running programs."""

from __future__ import annotations

DOCUMENTATION = """
module: supervisor_config
short_description: Change supervisord's own configuration, and restart it only without programs
description:
  - Tests the new configuration with supervisor's own parser. If the parser refuses it, nothing on disk changes and its
    message is the error.
  - supervisord reads its own settings only when it starts, and a restart stops every program on the host. So it is
    restarted only while it has no program, or with O(restart); otherwise each run warns that it is pending.
  - If supervisord does not start with the new files, the old ones are restored.
  - Records what was last loaded, so that the next run completes one that was killed before the restart.
  - Overwrites only its own files, and unedited files of the distribution.
options:
  files:
    description:
      - Path and content. O(config) is supervisord's configuration; others (a systemd drop-in) are only installed, and
        systemd reloads its units if it has not read them yet.
    type: dict
    required: true
  restart:
    description: Restart supervisord, and with it every program on the host, if it has not read its configuration yet.
    type: bool
    default: false
  config: {description: supervisord's configuration., type: path, default: /etc/supervisor/supervisord.conf}
  binary: {description: Program., type: path, default: /usr/bin/supervisord}
  socket: {description: Socket of supervisord., type: path, default: /run/supervisor.sock}
  state_dir: {description: Folder of the state file and the lock., type: path, default: /run/sites}
  dpkg_status: {description: dpkg's list of the distribution's files., type: path, default: /var/lib/dpkg/status}
attributes:
  check_mode: {support: full, description: Changes nothing and reports what would change.}
  diff_mode: {support: full, description: Shows the difference of each file.}
author: The authors of wsgi.sites (@wsgi)
"""

EXAMPLES = """
- name: Install supervisord's configuration
  wsgi.sites.supervisor_config:
    files:
      /etc/supervisor/supervisord.conf: "{{ lookup('wsgi.sites.template', 'supervisor/supervisord.conf.j2') }}"
"""

RETURN = """
paths: {description: Files that were changed, type: list, elements: str, returned: success}
restarted: {description: Whether supervisord was restarted, type: bool, returned: success}
pending: {description: Whether supervisord still runs with an older configuration, type: bool, returned: success}
tested: {description: Whether supervisor tested the configuration, type: bool, returned: success}
running: {description: Whether supervisord runs, type: bool, returned: success}
installed: {description: Whether supervisor is installed, type: bool, returned: success}
"""

import hashlib
import os
import subprocess
import time
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from ansible_collections.wsgi.sites.plugins.module_utils.daemons import entry, units
from ansible_collections.wsgi.sites.plugins.module_utils.daemons.errors import Refused
from ansible_collections.wsgi.sites.plugins.module_utils.daemons.files import Change, placed, refuse_foreign
from ansible_collections.wsgi.sites.plugins.module_utils.daemons.ownership import shipped, template
from ansible_collections.wsgi.sites.plugins.module_utils.daemons.supervisord import SOCKET, Supervisord, SupervisorError
from ansible_collections.wsgi.sites.plugins.module_utils.system import process
from ansible_collections.wsgi.sites.plugins.module_utils.system.process import Process
from ansible_collections.wsgi.sites.plugins.module_utils.system.runtime import RUN, Stamp, alone
from ansible_collections.wsgi.sites.plugins.module_utils.system.text import visible

# supervisor is a package of the distribution, which only the system's Python can import.
PYTHON = "/usr/bin/python3"
# Reads the text as supervisord would, but without the program files, since a broken one must not block a change of
# supervisord's own settings.
PARSE = r"""
import io, sys
from supervisor.options import ServerOptions, UnhosedConfigParser

options, main, text = ServerOptions(), UnhosedConfigParser(), io.StringIO()
main.expansions = options.environ_expansions
try:
    main.read_string(sys.stdin.read())
    main.remove_section("include")
    main.write(text)
    text.seek(0)
    options.exists, options.open = (lambda path: True), (lambda *words: text)
    options.realize(["-c", sys.argv[1]])
except Exception as error:
    raise SystemExit("Error: %s" % error)
"""
# It stops every program first, and each may take up to its `stopwaitsecs`.
PATIENCE = 300.0

PENDING = (
    "supervisord still runs with its former configuration, since a restart stops every program on this host for some"
    " seconds. To restart it, run this again with -e supervisor_restart=true."
)


@dataclass(frozen=True)
class Places:
    """Paths of supervisord; other ones in tests."""

    config: Path = Path("/etc/supervisor/supervisord.conf")
    binary: Path = Path("/usr/bin/supervisord")
    socket: Path = SOCKET
    state_dir: Path = RUN
    dpkg_status: Path = Path("/var/lib/dpkg/status")

    @property
    def stamp(self) -> Stamp:
        return Stamp(self.state_dir, "supervisord")

    @property
    def daemon(self) -> Supervisord:
        return Supervisord(self.socket)


def plan(files: Mapping[str, str], places: Places) -> list[Change]:
    """The pending changes on disk."""
    conffiles = shipped(places.dpkg_status)
    changes = [Change(Path(path), content=content) for path, content in files.items()]
    changes = [change for change in changes if change.needed]
    for change in changes:
        refuse_foreign(change, conffiles, places.config.parent / "conf.d")
    return changes


def master(places: Places) -> Process | None:
    """The running supervisord, or None."""
    try:
        return process.find(places.daemon.pid())
    except SupervisorError:
        return None


def test(text: str, running: Process | None, places: Places) -> None:
    """Test the new configuration with supervisor's own parser.

    :raises Refused: with the parser's message
    """
    # `%(ENV_X)s` is expanded from supervisord's environment.
    environment = process.environment(running.pid) if running else {}
    done = subprocess.run(
        [PYTHON, "-W", "ignore", "-c", PARSE, str(places.config)],
        input=text,
        capture_output=True,
        text=True,
        cwd="/",
        env=environment or dict(os.environ),
        check=False,
        timeout=60,
    )
    if done.returncode:
        words = visible(done.stderr.strip().removeprefix("Error: ").partition("\nFor help, ")[0])
        raise Refused(
            "supervisor rejects its new configuration, so nothing was changed and the old one stays in service. Correct"
            f" {template(text.encode()) or places.config}. supervisor reports: {words}"
        )


def digest(content: bytes) -> str:
    """The digest of a configuration in the state file."""
    return hashlib.sha256(content).hexdigest()


def loaded(running: Process, places: Places) -> str | None:
    """The digest of the configuration that this process has loaded, or None if it is unknown."""
    known = places.stamp.loaded(running)
    if known is None and places.config.is_file() and running.began_after(places.config.stat().st_ctime):
        # Not started by us, and later than the file was written: it has loaded it.
        return digest(places.config.read_bytes())
    return known


def restart(running: Process, places: Places) -> None:
    """Restart supervisord in the same process: stop every program, reload everything, start the programs.

    :raises Refused: if supervisord exits instead, because of the new configuration
    """
    places.daemon.restart()
    deadline = time.monotonic() + PATIENCE
    while time.monotonic() < deadline and running.alive:
        # While it stops programs, it answers that it is shutting down.
        if places.daemon.running():
            return
        time.sleep(0.1)
    raise Refused(
        "supervisord did not restart with its new configuration, so the old files are restored. See its log:"
        " journalctl -u supervisor, or /var/log/supervisor/supervisord.log. Without systemd, start it again: service"
        " supervisor start"
    )


def ensure(params: Mapping[str, Any], places: Places, check_mode: bool = False) -> dict[str, Any]:
    """Change supervisord's configuration as ``params`` specify, or restore the old state.

    :raises Refused: if a file belongs to someone else, or supervisor rejects the configuration
    """
    installed = entry.installed(places.binary, "supervisor", check_mode)
    text = params["files"][str(places.config)]
    drop_ins = units.drop_ins(params["files"])
    with alone(places.state_dir, "supervisord", enabled=not check_mode):
        changes = plan(params["files"], places)
        running = master(places)
        waiting = running is not None and loaded(running, places) != digest(text.encode())
        restarts = waiting and (params["restart"] or not places.daemon.programs())
        result = {
            "changed": bool(changes) or restarts or units.unread(drop_ins),
            "paths": [str(change.path) for change in changes],
            "restarted": restarts,
            "pending": waiting and not restarts,
            "tested": installed and (bool(changes) or waiting),
            "running": running is not None,
            "installed": installed,
            "diff": [change.diff() for change in changes],
        }
        if result["tested"]:
            test(text, running, places)
        if check_mode:
            return result
        with placed(changes):
            if running is not None and restarts:
                restart(running, places)
        if running is not None and not result["pending"]:
            places.stamp.write(running, digest(text.encode()))
        # Checked again, since a drop-in may have changed just now.
        result["changed"] |= units.catch_up(drop_ins)
        return result


def main() -> None:
    """Ansible's entry."""
    options = {"files": {"type": "dict", "required": True}, "restart": {"type": "bool", "default": False}}
    module, result = entry.perform(ensure, Places, options)
    if result["pending"]:
        module.warn(PENDING)
    module.exit_json(**result)


if __name__ == "__main__":
    main()
