"""Change jails of fail2ban in one step: tested by fail2ban and loaded, or rolled back."""

from __future__ import annotations

DOCUMENTATION = """
module: ban_config
short_description: Change jails of fail2ban in one tested step
description:
  - Installs the files, has fail2ban test its whole configuration, and reloads a running server. If fail2ban refuses,
    the old files are restored and its message is the error.
  - Debian's package includes a jail for sshd, without whose log fail2ban does not start. Without
    C(/var/log/auth.log), that jail reads the journal; without a journal it is off.
  - Records what was last loaded, so that the next run completes one that was killed before the reload.
options:
  files: {description: Path and content., type: dict, default: {}}
  absent: {description: "Files to remove, if this module made them.", type: list, elements: path, default: []}
  conf_dir: {description: fail2ban's configuration., type: path, default: /etc/fail2ban}
  client: {description: fail2ban-client., type: path, default: /usr/bin/fail2ban-client}
  pid_file: {description: PID file of the running server., type: path, default: /run/fail2ban/fail2ban.pid}
  auth_log: {description: Log that the sshd jail reads., type: path, default: /var/log/auth.log}
  systemd: {description: A path that exists where systemd runs., type: path, default: /run/systemd/system}
  state_dir: {description: Folder of the state file and the lock., type: path, default: /run/sites}
  dpkg_status: {description: dpkg's list of the distribution's files., type: path, default: /var/lib/dpkg/status}
attributes:
  check_mode: {support: full, description: Changes nothing and reports what would change.}
  diff_mode: {support: full, description: Shows the difference of each file.}
author: The authors of wsgi.sites (@wsgi)
"""

EXAMPLES = """
- name: Install the jail of a site
  wsgi.sites.ban_config:
    files:
      /etc/fail2ban/jail.d/site-shop.conf: >-
        {{ lookup('wsgi.sites.template', 'ban/jail.conf.j2', site=site_entry) }}
"""

RETURN = """
paths: {description: Files that were changed., type: list, elements: str, returned: always}
reloaded: {description: Whether fail2ban reloaded., type: bool, returned: always}
running: {description: Whether fail2ban runs., type: bool, returned: always}
installed: {description: Whether fail2ban is installed., type: bool, returned: always}
"""

import glob
import hashlib
import subprocess
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from ansible_collections.wsgi.sites.plugins.module_utils.daemons import entry
from ansible_collections.wsgi.sites.plugins.module_utils.daemons.errors import Refused
from ansible_collections.wsgi.sites.plugins.module_utils.daemons.files import Change, placed, refuse_foreign
from ansible_collections.wsgi.sites.plugins.module_utils.daemons.ownership import is_ours, shipped
from ansible_collections.wsgi.sites.plugins.module_utils.system import process
from ansible_collections.wsgi.sites.plugins.module_utils.system.process import Process
from ansible_collections.wsgi.sites.plugins.module_utils.system.runtime import RUN, Stamp, alone
from ansible_collections.wsgi.sites.plugins.module_utils.system.text import visible

HEAD = "# Made from plugins/modules/ban_config.py; edits here are lost.\n"
SSHD = {
    # This host has no auth.log, without which Debian's jail does not start.
    "journal": f"{HEAD}[sshd]\nbackend = systemd\n",
    # Neither a log nor a journal of failed logins exists.
    "nothing": f"{HEAD}[sshd]\nenabled = false\n",
}


@dataclass(frozen=True)
class Places:
    """Paths of fail2ban; other ones in tests."""

    conf_dir: Path = Path("/etc/fail2ban")
    client: Path = Path("/usr/bin/fail2ban-client")
    pid_file: Path = Path("/run/fail2ban/fail2ban.pid")
    auth_log: Path = Path("/var/log/auth.log")
    systemd: Path = Path("/run/systemd/system")
    state_dir: Path = RUN
    dpkg_status: Path = Path("/var/lib/dpkg/status")

    @property
    def stamp(self) -> Stamp:
        return Stamp(self.state_dir, "fail2ban")

    @property
    def sshd(self) -> Path:
        return self.conf_dir / "jail.d/sites-sshd.conf"


def server(places: Places) -> Process | None:
    """The running server, or None."""
    try:
        pid = int(places.pid_file.read_text(encoding="utf-8"))
    except (OSError, ValueError):
        return None
    return process.find(pid) if "fail2ban-server" in process.command(pid) else None


def digest(places: Places) -> str:
    """One hash of our files in its configuration."""
    total = hashlib.sha256()
    for path in sorted(glob.glob(f"{places.conf_dir}/*.d/*.conf")):
        body = Path(path).read_bytes()
        if is_ours(body):
            total.update(f"{path}\0{len(body)}\0".encode() + body)
    return total.hexdigest()


def plan(params: Mapping[str, Any], places: Places) -> list[Change]:
    """The pending changes."""
    changes = [Change(Path(path), content=content) for path, content in params["files"].items()]
    changes += [Change(Path(path)) for path in params["absent"]]
    if params["files"] and not places.auth_log.exists():
        changes.append(Change(places.sshd, content=SSHD["journal" if places.systemd.exists() else "nothing"]))
    elif params["files"]:
        changes.append(Change(places.sshd))
    changes = [change for change in changes if change.needed]
    for change in changes:
        refuse_foreign(change, shipped(places.dpkg_status), places.conf_dir / "jail.d")
    return changes


def tell(places: Places, *words: str) -> None:
    """Run fail2ban-client.

    :raises Refused: with its output
    """
    done = subprocess.run(
        [places.client, "-c", places.conf_dir, *words], capture_output=True, text=True, check=False, timeout=120
    )
    if done.returncode != 0:
        said = visible("\n".join(line for line in (done.stdout + done.stderr).splitlines() if line.strip()))
        raise Refused(f"fail2ban rejects its configuration; the old one stays. It reports:\n{said}")


def ensure(params: Mapping[str, Any], places: Places, check_mode: bool = False) -> dict[str, Any]:
    """Change fail2ban's jails as ``params`` specifies, or restore the old state."""
    installed = entry.installed(places.client, "fail2ban", check_mode or not params["files"])
    with alone(places.state_dir, "fail2ban", enabled=not check_mode):
        changes, running = plan(params, places), server(places)
        # A server that started after these files were written has loaded them.
        loaded = places.stamp.loaded(running) if running else None
        waiting = running is not None and loaded is not None and loaded != digest(places)
        result = {
            "changed": bool(changes) or waiting,
            "paths": [str(change.path) for change in changes],
            "reloaded": running is not None and (bool(changes) or waiting),
            "running": running is not None,
            "installed": installed,
            "diff": [change.diff() for change in changes],
        }
        if check_mode or not installed:
            return result
        with placed(changes):
            if params["files"] and changes:
                tell(places, "-t")
            now = digest(places)
            if result["reloaded"]:
                tell(places, "reload")
        if running is not None:
            places.stamp.write(running, now)
        return result


def main() -> None:
    """Ansible's entry."""
    options = {
        "files": {"type": "dict", "default": {}},
        "absent": {"type": "list", "elements": "path", "default": []},
    }
    module, result = entry.perform(ensure, Places, options)
    module.exit_json(**result)


if __name__ == "__main__":
    main()
