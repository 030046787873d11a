"""Change nginx's configuration in one step: tested, installed and loaded, or rolled back."""

from __future__ import annotations

DOCUMENTATION = """
module: nginx_config
short_description: Change nginx's configuration in one tested step
description:
  - Tests a private copy of the whole configuration with the new files. If nginx refuses it, nothing on disk changes and
    nginx's message is the error.
  - Then replaces the files, reloads a running nginx and waits for its new workers. If nginx refuses now (a port in
    use), the old files are restored.
  - Records what was last loaded, including the certificates and keys that the configuration names, so that the next run
    completes one that was killed before the reload.
  - In check mode, a certificate that an earlier step would install can be missing. Then nothing is tested.
  - Overwrites only its own files, and unedited files of the distribution.
options:
  files:
    description:
      - Path and content. A file below O(conf_dir) is part of nginx's configuration; others (a systemd drop-in) are only
        installed, and systemd reloads its units if it has not read them yet.
    type: dict
    default: {}
  links:
    description: Path of a symbolic link and its target.
    type: dict
    default: {}
  passwords:
    description:
      - Files of users and password hashes for basic auth by their path, for root and nginx's workers only. No output
        shows them. nginx reads them for each request, so a change needs no reload.
    type: dict
    default: {}
  passwords_like:
    description: Pattern of such files; own files that O(passwords) does not name are removed.
    type: path
    default: ""
  absent:
    description:
      - Own files and links to remove, also as patterns, except those that O(files) and O(links) name. Files of others
        are refused.
    type: list
    elements: path
    default: []
  unused_caches:
    description: Cache folders to remove once nginx has loaded a configuration that does not name them.
    type: list
    elements: path
    default: []
  stock_links:
    description: Links to the distribution's files to remove, if the file is unchanged.
    type: list
    elements: path
    default: []
  assumed:
    description: Files that an earlier step would install; for the test in check mode.
    type: dict
    default: {}
  test_only:
    description: Have nginx test the result, and change nothing.
    type: bool
    default: false
  conf_dir: {description: Folder of nginx's configuration., type: path, default: /etc/nginx}
  binary: {description: Program., type: path, default: /usr/sbin/nginx}
  pid_file: {description: PID file of the running master., type: path, default: /run/nginx.pid}
  error_log: {description: Log with the reason of a refused reload., type: path, default: /var/log/nginx/error.log}
  state_dir: {description: Folder of the state file and the lock., type: path, default: /run/sites}
  dpkg_status: {description: dpkg's list of the distribution's files., type: path, default: /var/lib/dpkg/status}
attributes:
  check_mode: {support: full, description: Changes nothing and reports what would change.}
  diff_mode: {support: full, description: Shows the difference of each file.}
author: The authors of wsgi.sites (@wsgi)
"""

EXAMPLES = """
- name: Install the server block of a site
  wsgi.sites.nginx_config:
    files: {/etc/nginx/sites-available/shop.conf: "{{ lookup('wsgi.sites.template', 'nginx/site.conf.j2',
           site=site_entry, nginx=__nginx_site) }}"}
    links: {/etc/nginx/sites-enabled/shop.conf: ../sites-available/shop.conf}
"""

RETURN = """
paths: {description: Files that were changed, type: list, elements: str, returned: success}
reloaded: {description: Whether nginx was reloaded, type: bool, returned: success}
tested: {description: Whether nginx tested it, type: bool, returned: success}
running: {description: Whether nginx runs, type: bool, returned: success}
installed: {description: Whether nginx is installed; not on a bare host in check mode, type: bool, returned: success}
"""

import glob
import os
import pwd
import shutil
import subprocess
from collections.abc import Iterable, Mapping
from pathlib import Path
from typing import Any

from ansible_collections.wsgi.sites.plugins.module_utils.daemons import entry, units
from ansible_collections.wsgi.sites.plugins.module_utils.daemons.errors import Refused
from ansible_collections.wsgi.sites.plugins.module_utils.daemons.files import Change, placed, refuse_foreign
from ansible_collections.wsgi.sites.plugins.module_utils.daemons.nginx import (
    Places,
    digest,
    master,
    named_by,
    pending,
    reload,
)
from ansible_collections.wsgi.sites.plugins.module_utils.daemons.nginx_candidate import candidate
from ansible_collections.wsgi.sites.plugins.module_utils.daemons.ownership import is_stock, shipped
from ansible_collections.wsgi.sites.plugins.module_utils.system.runtime import alone
from ansible_collections.wsgi.sites.plugins.module_utils.system.text import visible

# First line of the files of users and hashes, and the group that may read them.
PASSWORDS_HEAD = "# Made from the site config; edits here are lost.\n"
WORKERS = "www-data"


def plan(params: Mapping[str, Any], places: Places) -> list[Change]:
    """The pending changes, in an order that never leaves a dangling link."""
    conffiles = shipped(places.dpkg_status)
    changes = [Change(Path(path), content=content) for path, content in params["files"].items()]
    changes += [Change(Path(path), target=target) for path, target in params["links"].items()]
    for path, users in params["passwords"].items():
        content = PASSWORDS_HEAD + "".join(f"{user}:{digest_}\n" for user, digest_ in users.items())
        changes.append(Change(Path(path), content=content, mode=0o640, group=WORKERS, secret=True))
    wanted = params["files"].keys() | params["links"].keys() | params["passwords"].keys()
    patterns = [(pattern, False) for pattern in params["absent"]] + [(params["passwords_like"], True)]
    absent = [
        Change(Path(path), secret=secret)
        for pattern, secret in patterns
        for path in sorted(set(glob.glob(pattern)) - wanted)
    ]
    changes += sorted(absent, key=lambda change: change.before_target is None)
    changes = [change for change in changes if change.needed]
    for change in changes:
        refuse_foreign(change, conffiles, places.conf_dir / "conf.d")
    for change in (Change(Path(path)) for path in params["stock_links"]):
        if change.before_target is not None:
            file = Path(os.path.normpath(change.path.parent / change.before_target))
            if file.is_file() and is_stock(str(file), file.read_bytes(), conffiles):
                changes.append(change)
    return changes


def awaits_certificates(changes: list[Change]) -> bool:
    """Whether the new files name certificates that do not exist."""
    written = {change.path for change in changes if change.content is not None}
    named = named_by(change.content.encode() for change in changes if change.content is not None)
    return any(not path.exists() for path in named if path not in written)


def test(changes: list[Change], assumed: Mapping[str, str], places: Places, check_mode: bool) -> None:
    """Have nginx test the whole configuration with the changes.

    :raises Refused: with nginx's message and the real paths
    """
    with candidate(changes, assumed, places.conf_dir, quiet_logs=check_mode) as copy:
        main = copy / "nginx.conf"
        if not main.exists():
            raise Refused(f"{places.conf_dir}/nginx.conf is missing. Reinstall it: apt-get install --reinstall nginx")
        done = subprocess.run(
            [str(places.binary), "-t", "-q", "-c", str(main)], capture_output=True, text=True, check=False, timeout=60
        )
        if done.returncode:
            words = visible((done.stderr + done.stdout).replace(str(copy), str(places.conf_dir)).strip())
            raise Refused(
                "nginx rejects the new configuration, so nothing was changed and the old one stays in service."
                f" nginx reports: {words}"
            )


def unused(folders: Iterable[str]) -> list[Path]:
    """The folders that exist and belong to nginx's workers."""
    found = [path for path in map(Path, folders) if path.is_dir() and not path.is_symlink()]
    return [path for path in found if path.stat().st_uid == pwd.getpwnam(WORKERS).pw_uid]


def ensure(params: Mapping[str, Any], places: Places, check_mode: bool = False) -> dict[str, Any]:
    """Change nginx's configuration as ``params`` specify, or restore the old state.

    :raises Refused: if a file belongs to someone else, or nginx rejects the configuration
    """
    installed = entry.installed(places.binary, "nginx", check_mode)
    drop_ins = units.drop_ins(params["files"])
    with alone(places.state_dir, "nginx", enabled=not check_mode):
        changes = plan(params, places)
        running = master(places)
        waiting = pending(running, places)
        reread = units.unread(drop_ins)
        caches = unused(params["unused_caches"])
        ours = any(change.path.is_relative_to(places.conf_dir) for change in changes)
        result = {
            "changed": bool(changes) or waiting or reread or bool(caches),
            "paths": [str(path) for path in [*(change.path for change in changes), *caches]],
            "reloaded": waiting or (running is not None and ours),
            "tested": installed and (bool(changes) or waiting) and not (check_mode and awaits_certificates(changes)),
            "running": running is not None,
            "installed": installed,
            "diff": [change.diff() for change in changes],
        }
        if result["tested"]:
            test(changes, params["assumed"] if check_mode else {}, places, check_mode)
        if params["test_only"]:
            return result | {"changed": False, "paths": [], "reloaded": False, "diff": []}
        if check_mode:
            return result
        with placed(changes):
            loaded = digest(places.conf_dir)  # before the reload, since later edits are not loaded
            if running is not None and result["reloaded"]:
                reload(running, places)
        if running is not None:
            places.stamp.write(running, loaded)
        for path in caches:
            # Old workers may still write there; the next run removes the rest.
            shutil.rmtree(path, ignore_errors=True)
        # Checked again: a drop-in may have changed just now.
        result["changed"] |= units.catch_up(drop_ins)
        return result


def main() -> None:
    """Ansible's entry."""
    options = {
        "files": {"type": "dict", "default": {}},
        "links": {"type": "dict", "default": {}},
        "passwords": {"type": "dict", "default": {}, "no_log": True},
        "passwords_like": {"type": "path", "default": "", "no_log": False},
        "absent": {"type": "list", "elements": "path", "default": []},
        "unused_caches": {"type": "list", "elements": "path", "default": []},
        "stock_links": {"type": "list", "elements": "path", "default": []},
        "assumed": {"type": "dict", "default": {}},
        "test_only": {"type": "bool", "default": False},
    }
    module, result = entry.perform(ensure, Places, options)
    module.exit_json(**result)


if __name__ == "__main__":
    main()
