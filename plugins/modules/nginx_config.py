"""Lay nginx's files down as one step: tested as a whole before, loaded and accepted after, or nothing at all."""

from __future__ import annotations

import glob
import os
import pwd
import re
import shutil
import subprocess
import tempfile
from collections.abc import Iterable, Iterator, Mapping
from contextlib import contextmanager
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
    tree,
)
from ansible_collections.wsgi.sites.plugins.module_utils.daemons.ownership import is_stock, shipped
from ansible_collections.wsgi.sites.plugins.module_utils.system.runtime import alone
from ansible_collections.wsgi.sites.plugins.module_utils.system.text import visible

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
  - Overwrites only its own files, and files of the distribution that nobody has edited.
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
  check_mode: {support: full}
  diff_mode: {support: full}
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
paths: {description: Files that were changed, type: list, elements: str}
reloaded: {description: Whether nginx was reloaded, type: bool}
tested: {description: Whether nginx tested it, type: bool}
running: {description: Whether nginx runs, type: bool}
installed: {description: Whether nginx is installed; not on a bare host in check mode, type: bool}
"""

# Of the files of users and hashes: what they begin with, and who may read them besides root.
PASSWORDS_HEAD = "# Made from the page of sites; edits here are lost.\n"
WORKERS = "www-data"


def plan(params: Mapping[str, Any], places: Places) -> list[Change]:
    """What has to change, in an order in which no link ever leads nowhere."""
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


@contextmanager
def candidate(changes: list[Change], assumed: Mapping[str, str], places: Places, quiet_logs: bool) -> Iterator[Path]:
    """A private copy of the configuration as it would be, which refers to itself and not to the real one.

    Only what names the real folder is copied; the rest are links, so that no private key is ever written twice.
    """
    real = str(places.conf_dir)
    wanted = {Path(path): text.encode() for path, text in assumed.items()}
    wanted |= {change.path: change.content.encode() for change in changes if change.content is not None}
    links = {change.path: change.target for change in changes if change.target is not None}
    gone = {change.path for change in changes if change.content is None and change.target is None}

    parent = "/run" if os.access("/run", os.W_OK) else None
    copy = Path(tempfile.mkdtemp(prefix="nginx-candidate-", dir=parent))
    try:

        def own(body: bytes) -> bytes:
            body = re.sub(rb"(?<![\w./-])" + re.escape(real.encode()) + rb"(?![\w.-])", str(copy).encode(), body)
            # `nginx -t` creates the pid file that the configuration names.
            body = re.sub(rb"(?m)^(\s*pid\s+)[^;\s]+;", rb"\g<1>" + str(copy).encode() + rb"/.pid;", body)
            # It also creates what answers are kept in; each needs a place of its own.
            body = re.sub(
                rb"(?m)^(\s*proxy_cache_path\s+)(/[^;\s]+)",
                lambda found: found[1] + str(copy).encode() + b"/.cache" + found[2].replace(b"/", b"-"),
                body,
            )
            if quiet_logs:  # nothing may be created, and the folders may not be there yet
                body = re.sub(rb"(?m)^(\s*(?:access|error)_log\s+)/[^;\s]+", rb"\g<1>/dev/null", body)
            return body

        def put(path: Path, body: bytes) -> None:
            place_ = copy / path.relative_to(real)
            place_.parent.mkdir(parents=True, exist_ok=True)
            place_.unlink(missing_ok=True)
            place_.write_bytes(own(body))

        for folder, names, _ in os.walk(real):
            for name in names:
                if not os.path.islink(os.path.join(folder, name)):
                    (copy / Path(folder, name).relative_to(real)).mkdir(parents=True, exist_ok=True)
        for path, _ in tree(places.conf_dir):
            if path in gone or path in wanted or path in links:
                continue
            here = copy / path.relative_to(real)
            if path.is_symlink():
                here.symlink_to(own(os.readlink(path).encode()).decode())
            elif path.is_file():
                body = path.read_bytes()
                if own(body) == body:
                    here.symlink_to(path)
                else:
                    here.write_bytes(own(body))
        for path, body in wanted.items():
            if path.is_relative_to(real):
                put(path, body)
        for path, target in links.items():
            if path.is_relative_to(real):
                here = copy / path.relative_to(real)
                here.parent.mkdir(parents=True, exist_ok=True)
                here.symlink_to(own(str(target).encode()).decode())
        yield copy
    finally:
        shutil.rmtree(copy)


def awaits_certificates(changes: list[Change]) -> bool:
    """Whether the new files name certificates that are not there."""
    written = {change.path for change in changes if change.content is not None}
    named = named_by(change.content.encode() for change in changes if change.content is not None)
    return any(not path.exists() for path in named if path not in written)


def test(changes: list[Change], assumed: Mapping[str, str], places: Places, check_mode: bool) -> None:
    """Let nginx judge the whole configuration as it would be.

    :raises Refused: with nginx's own words and the real paths
    """
    with candidate(changes, assumed, places, quiet_logs=check_mode) as copy:
        main = copy / "nginx.conf"
        if not main.exists():
            raise Refused(f"{places.conf_dir}/nginx.conf is not there. Reinstall it: apt-get install --reinstall nginx")
        done = subprocess.run(
            [str(places.binary), "-t", "-q", "-c", str(main)], capture_output=True, text=True, check=False, timeout=60
        )
        if done.returncode:
            words = visible((done.stderr + done.stdout).replace(str(copy), str(places.conf_dir)).strip())
            raise Refused(
                "nginx refuses the new configuration, so nothing was changed and the old one stays in service."
                f" nginx says: {words}"
            )


def unused(folders: Iterable[str]) -> list[Path]:
    """Those of the folders that are there, and nginx's own: its workers have made them."""
    found = [path for path in map(Path, folders) if path.is_dir() and not path.is_symlink()]
    return [path for path in found if path.stat().st_uid == pwd.getpwnam(WORKERS).pw_uid]


def ensure(params: Mapping[str, Any], places: Places, check_mode: bool = False) -> dict[str, Any]:
    """Bring nginx's configuration to what ``params`` says, or leave everything as it was.

    :raises Refused: when somebody else's file is in the way, or nginx does not take the configuration
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
            loaded = digest(places.conf_dir)  # before the reload: what is edited meanwhile is not yet in service
            if running is not None and result["reloaded"]:
                reload(running, places)
        if running is not None:
            places.stamp.write(running, loaded)
        for path in caches:
            # Workers on their way out may still write there: the next run finds what is left.
            shutil.rmtree(path, ignore_errors=True)
        # Asked again: a drop-in that was read before may have changed just now.
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
