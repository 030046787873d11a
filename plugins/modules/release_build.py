#!/usr/bin/python
"""The host's half of release_build; the action plugin of the same name packs on the controller and calls it."""

from __future__ import annotations

DOCUMENTATION = r"""
module: release_build
short_description: Build a release of a site, unless the live one is what the page asks for
description:
  - Compares what a release would be made from with what the live release was made from, and looks after the live
    release's files, program and health.
  - When a release is needed, packs the source on the controller and builds it on the host. Nothing goes live here.
  - The environment travels in the payload alone and never becomes an argument or a result.
options:
  site: {description: The site's key on the page., type: str, required: true}
  root: {description: The site's directory on the host., type: path, required: true}
  user: {description: The site's user; its primary group may read the release., type: str, required: true}
  source: {description: Where the code came from; the page's C(source), in words., type: str}
  requirements: {description: The lock file, relative to the source., type: str, default: requirements.txt}
  wsgi: {description: What the server loads., type: str, required: true}
  server: {description: The server., type: str, choices: [gunicorn, uwsgi], default: gunicorn}
  server_from:
    description: Whether the server comes with the release, or is the distribution's.
    type: str
    choices: [release, distribution]
    default: release
  crew:
    description: "What the launcher counts for those that cannot: workers, workers_max, workers_min and threads."
    type: dict
    default: {}
  worker_class: {description: The server's worker class., type: str, default: gthread}
  listen: {description: Further TCP listeners., type: list, elements: str, default: []}
  backlog: {description: How many connections may wait., type: int, default: 2048}
  going_live:
    description: Whether this release may run beside another one while it goes live; C(release.json) keeps it.
    type: str
    choices: [overlap, replace]
    default: overlap
  resources: {description: The limits of its processes; C(release.json) keeps them., type: dict, default: {}}
  tls: {description: Whether the server itself speaks TLS., type: bool, default: false}
  socket_group: {description: The group that may reach the slot's socket., type: str, default: www-data}
  aliases: {description: Folders that nginx serves., type: dict, default: {}}
  precompress:
    description: In which ways their files are packed, for nginx to serve.
    type: list
    elements: str
    choices: [gzip, brotli]
    default: []
  health: {description: What a healthy slot answers., type: dict, default: {}}
  processes:
    description: "Processes and jobs by name, each with kind, command (in words), count, stop_signal and patience."
    type: dict
    default: {}
  max_body: {description: The largest request body in bytes; 0 is no limit., type: int, default: 0}
  keep_releases: {description: How many complete releases stay., type: int, default: 5}
  packages:
    description: Whether the host fetches the packages from an index, or gets their wheels with the payload.
    type: str
    choices: [index, wheelhouse]
    default: index
  parts: {description: Hashes of code, requirements and config; made by the action plugin., type: dict, required: true}
  environment_hash: {description: Hash of the environment; made by the action plugin., type: str, required: true}
  payload: {description: The packed release on the host; without it the module only says what it would do., type: path}
"""

EXAMPLES = r"""
- name: Build a release, unless the live one is what the page asks for
  wsgi.sites.release_build:
    site: wordbook
    root: /srv/wordbook
    user: wordbook
    source: {path: app}
    wsgi: "wsgi:app"
    files: {gunicorn.conf.py: "…", program-blue.conf: "…", program-green.conf: "…"}
    environment: {GREETING: Hello}
"""

RETURN = r"""
site: {description: The site's key., type: str, returned: always}
needed: {description: Whether a release has to be started and put live., type: bool, returned: always}
after_live: {description: Whether an earlier run still owes the hooks after going live, type: bool, returned: always}
reason: {description: Why, in plain words., type: str, returned: always}
release: {description: ID of the release to start, or of the live one., type: str, returned: always}
slot: {description: The idle slot if something is needed, else the live one., type: str, returned: always}
build: {description: Whether the release still has to be built (only without a payload)., type: bool, returned: always}
target:
  description: What wheels must fit.
  type: dict
  returned: for a wheelhouse
  contains:
    markers: {description: "The markers of requirements files, by name.", type: dict, returned: always}
    platform: {description: Python's word for it., type: str, returned: always}
    libc: {description: Its name and version., type: list, elements: str, returned: always}
remark: {description: What was healed of a run that was cut off, type: str, returned: always}
complaints:
  description: Which processes of the live release do not run.
  type: list
  elements: str
  returned: always
pruned: {description: Old releases that were removed., type: list, elements: str, returned: after a build}
"""

import contextlib
import errno
import functools
import grp
import json
import os
import pwd
import shutil
import subprocess
import tarfile
import traceback
from dataclasses import dataclass, replace
from datetime import datetime
from pathlib import Path
from typing import IO

from ansible.module_utils.basic import AnsibleModule

from ansible_collections.wsgi.sites.plugins.module_utils.packages import build_account, lockfile
from ansible_collections.wsgi.sites.plugins.module_utils.releases import (
    compression,
    deployment,
    fingerprint,
    store,
    venv,
)
from ansible_collections.wsgi.sites.plugins.module_utils.releases.environment import (
    format_environment,
    mask,
    process_environment,
    site_environment,
)
from ansible_collections.wsgi.sites.plugins.module_utils.releases.health import healthy
from ansible_collections.wsgi.sites.plugins.module_utils.releases.venv import BuildError, Toolbox
from ansible_collections.wsgi.sites.plugins.module_utils.runtime import processes, run_identity, workers
from ansible_collections.wsgi.sites.plugins.module_utils.runtime.lock import Busy, site_lock
from ansible_collections.wsgi.sites.plugins.module_utils.site.paths import Layout, write_file
from ansible_collections.wsgi.sites.plugins.module_utils.system import trees
from ansible_collections.wsgi.sites.plugins.module_utils.system.privileges import run_as
from ansible_collections.wsgi.sites.plugins.module_utils.system.text import visible

# What a release may need beside its own files, when nothing better is known: a small venv.
ROOM_FOR_VENV = 64 * 1024 * 1024
# A site that imports slower than this would not pass the gate either.
IMPORT_TIMEOUT = 120
# Of the package uwsgi-core.
DISTRIBUTIONS_UWSGI = "/usr/bin/uwsgi"
# To compile; a few seconds of work.
FEW_FILES = 300


@dataclass(frozen=True)
class Decision:
    """What has to be done: nothing, start a release that lies here, or build one."""

    needed: bool
    reason: str
    slot: str
    release: str = ""
    suspicious_cache: bool = False

    @property
    def build(self) -> bool:
        """Whether nothing that lies here will do."""
        return self.needed and not self.release


def decide(layout: Layout, parts: dict[str, str]) -> Decision:
    """Compare what is asked for with the live release and its state on this host."""
    slot, live = layout.live_slot(), layout.live_release()
    idle = layout.idle_slot()
    if slot is None or live is None:
        return Decision(True, "first release", idle, same_release(layout, parts))
    release = layout.release(live)
    found = fingerprint.read(release)
    if found:
        reason = fingerprint.difference(parts, found["parts"])
        if reason:
            return Decision(True, reason, idle, same_release(layout, parts))
    damage = fingerprint.damage(release)
    if damage:
        reason = "files of the live release were changed on the host"
        return Decision(True, reason, idle, same_release(layout, parts), damage == "packages")
    reason = program_problem(layout, slot, release)
    if not reason:
        well, seen = healthy(layout, slot, layout.manifest(live))
        if not well:
            reason = f"slot {slot} is not healthy: {seen}"
    if reason:
        return Decision(True, reason, idle, live)
    return Decision(False, "the live release is what the page asks for", slot, live)


def same_release(layout: Layout, parts: dict[str, str]) -> str:
    """A complete release of the same parts (an earlier run may have been cut short, or a change taken back)."""
    for name in reversed(store.complete(layout)):
        release = layout.release(name)
        if fingerprint.read(release).get("parts") == parts and not fingerprint.damage(release):
            return name
    return ""


def program_problem(layout: Layout, slot: str, release: Path) -> str:
    """What is wrong with the live slot's program file; empty if nothing is."""
    path = layout.program(slot)
    try:
        placed = path.read_bytes()
    except OSError:
        return f"the program file {path} is missing"
    laid_down = release / f"program-{slot}.conf"
    same = laid_down.is_file() and laid_down.read_bytes() == placed
    return "" if same else f"the program file {path} was changed on the host"


class Build:
    """One release in the making."""

    def __init__(self, layout: Layout, params: dict, parts: dict[str, str], payload: Path, tools: Toolbox) -> None:
        self.layout, self.params, self.parts = layout, params, parts
        with tarfile.open(payload) as tar:
            members = tar.getmembers()
            self.size = sum(member.size for member in members)
            self.settings = json.load(_opened(tar, "settings.json"))
            self.server_lock = _opened(tar, "server.txt").read().decode()
        self.payload = payload
        # None of it has a place in a module's arguments: the index and the proxy may hold a password.
        names = ("package_index", "http_proxy", "no_proxy")
        self.tools = replace(tools, **{name: self.settings.get(name, "") for name in names})
        self.environment: dict[str, str] = self.settings["environment"]

    def run(self, now: datetime) -> str:
        """Build at the place where the release stays; whatever fails leaves nothing behind."""
        try:
            account = pwd.getpwnam(self.params["user"])
        except KeyError:
            raise BuildError(f"the user {self.params['user']} is not there; run the whole site.yml once") from None
        self.gid = account.pw_gid
        trees.make_folder(self.layout.releases)
        self.check_room()
        release_id = store.new_id(self.layout, self.parts["code"], now)
        release = self.layout.release(release_id)
        release.mkdir(mode=0o700)
        try:
            self.fill(release, now)
            write_file(release / fingerprint.FILE, fingerprint.record(release, self.parts), 0o600)
            write_file(release / fingerprint.COMPLETE, "", 0o644)
        except BaseException:
            with contextlib.suppress(OSError):
                trees.remove(release)
            raise
        return release_id

    def check_room(self) -> None:
        """Refuse early what would end in a full disk; roughly, since nobody knows how large the packages are."""
        free, wanted = shutil.disk_usage(self.layout.releases).free, 2 * self.size + ROOM_FOR_VENV
        if free < wanted:
            missing = ((wanted - free) >> 20) + 1
            raise BuildError(
                f"only {free >> 20} MB are free under {self.layout.releases}, and a release needs about "
                f"{wanted >> 20} MB: {missing} MB are missing. Free some space, or lower keep_releases."
            )

    def fill(self, release: Path, now: datetime) -> None:
        """Everything that goes live together."""
        aliases = self.params["aliases"]
        store.own(release, self.gid, store.release_mode(aliases))
        app = release / "app"
        app.mkdir(mode=0o700)
        with tarfile.open(self.payload) as tar:
            store.unpack(tar, "app", app)
        environment = site_environment(
            self.environment, self.params["site"], release.name, self.layout.shared, self.params["max_body"]
        )
        write_file(release / "environment", format_environment(environment), store.ENVIRONMENT_MODE)
        for name, content in self.settings["files"].items():
            write_file(release / name, content, 0o640, self.gid)
        manifest = json.dumps(self.manifest(release, now), indent=2) + "\n"
        write_file(release / "release.json", manifest, store.MANIFEST_MODE, self.gid)
        self.install(release, app)
        store.check_depth(release / "venv")
        self.compile(release, app)
        store.set_modes(app, self.gid, store.app_folders(aliases))
        store.set_venv_modes(release, self.gid, aliases)
        self.check(release, environment)
        self.pack(release)

    def manifest(self, release: Path, now: datetime) -> dict:
        """``release.json``: what the launcher, the gate and an operator want to know; no secrets."""
        params = self.params
        return {
            "id": release.name,
            "site": params["site"],
            "created": now.isoformat(timespec="seconds"),
            "source": params["source"],
            "by": run_identity.author(),
            "code": self.parts["code"],
            "python": self.parts["python"],
            "root": str(self.layout.root),
            "user": params["user"],
            "group": grp.getgrgid(self.gid).gr_name,
            "socket_group": params["socket_group"],
            "server": params["server"],
            "command": self.command(release),
            "wsgi": params["wsgi"],
            **({"sockets": ["sock", "uwsgi.sock"]} if params["server"] == "uwsgi" else {}),
            **params["crew"],
            "listen": params["listen"],
            "backlog": params["backlog"],
            "going_live": params["going_live"],
            "resources": params["resources"],
            "tls": params["tls"],
            "processes": params["processes"],
            "packed": {"ways": params["precompress"], "aliases": params["aliases"]},
            # As clients ask: nginx's https, or the server's own.
            "health": {"scheme": "https" if params["tls"] else "http", **params["health"]},
        }

    def command(self, release: Path) -> list[str]:
        """What the launcher becomes."""
        if self.params["server"] == "uwsgi":
            own = self.params["server_from"] == "release"
            program = str(release / "venv/bin/uwsgi") if own else DISTRIBUTIONS_UWSGI
            return [program, "--ini", str(release / "uwsgi.ini")]
        return [
            str(release / "venv/bin/gunicorn"),
            "--config",
            str(release / "gunicorn.conf.py"),
            self.params["wsgi"],
        ]

    def install(self, release: Path, app: Path) -> None:
        """Build the venv from the site's lock and, if that names no server, the bundle's own lock of it."""
        with venv.workplace(self.tools, release) as work:
            locks = [venv.lock_of(self.tools, app, self.params["requirements"], work)]
            names = locks[0].names
            if self.params["server"] == "gunicorn":
                venv.check_extras(names, self.params["worker_class"])
            if self.settings.get("server_package", self.params["server"]) not in {"", *names}:
                locks.append(lockfile.parse(self.server_lock))
            is_uv_lock = Path(self.params["requirements"]).name == "uv.lock"
            wheels = self.unpack_wheels(work) if self.params["packages"] == "wheelhouse" else None
            venv.build(self.tools, release / "venv", locks, work, complete=is_uv_lock, wheels=wheels)
        # What packages lie in, under a name without Python's version: `aliases` lead there.
        (release / "packages").symlink_to(f"venv/lib/python{self.parts['python']}/site-packages")

    def compile(self, release: Path, app: Path) -> None:
        """Compile the packages and the code, but not again what is the same in the live release."""
        taken = venv.take_over_bytecode(self.before / "venv", release / "venv") if self.before else 0
        packages = release / "venv" / "lib"
        left = sum(1 for _ in packages.glob("**/*.py")) - taken
        # To start more processes costs more than they save where little is left to do.
        venv.compile_bytecode(self.tools.python, [packages, app], jobs=1 if left < FEW_FILES else 0)

    @functools.cached_property
    def before(self) -> Path | None:
        """The live release, to take over what is the same; not one that was changed on the host: this mends that."""
        live = self.layout.live_release()
        return self.layout.release(live) if live and not fingerprint.damage(self.layout.release(live)) else None

    def pack(self, release: Path) -> None:
        """Lay packed copies beside the files that nginx serves."""
        known = self.layout.manifest(self.before.name).get("packed") if self.before else None
        compression.Packing(release, self.params["precompress"], self.gid, self.before, known).run(
            self.params["aliases"]
        )

    def unpack_wheels(self, work: Path) -> Path:
        """The wheels that came with the payload, for as long as the build takes."""
        folder = work / "wheels"
        folder.mkdir(mode=0o700)
        with tarfile.open(self.payload) as tar:
            store.unpack(tar, "wheels", folder)
        return folder

    def check(self, release: Path, environment: dict[str, str]) -> None:
        """Let the server read its config and import the site, as the site's user."""
        if self.params["server"] == "uwsgi":
            self.check_uwsgi(release, environment)
        else:
            self.check_gunicorn(release, environment)

    def check_gunicorn(self, release: Path, environment: dict[str, str]) -> None:
        """Its worker class, its config and the site's import."""
        user, binaries = self.params["user"], release / "venv" / "bin"
        asked = run_as(
            user,
            [str(binaries / "python"), "-I", "-c", venv.WORKER_CLASSES],
            cwd=release,
            environment=process_environment(user, release, self.layout.shared, {}),
            site=self.layout.name,
            resources=self.params["resources"],
        )
        if asked.returncode != 0:
            raise BuildError(f"the installed gunicorn cannot be imported:\n{venv.last_lines(asked.stderr)}")
        venv.check_worker_class(asked.stdout, self.params["worker_class"])
        command, *arguments = self.command(release)
        done = self.try_out(release, environment, [command, "--check-config", *arguments])
        if done.returncode != 0:
            said = venv.last_lines(mask(done.stderr or done.stdout, self.environment))
            raise BuildError(
                f"gunicorn's check of this release, run as {user}, failed: either {self.params['wsgi']} cannot be "
                f"imported or gunicorn.conf.py has an error. It says:\n{said}"
            )

    def check_uwsgi(self, release: Path, environment: dict[str, str]) -> None:
        """The site's import first, since only Python tells what is wrong with it; then the config."""
        user, command = self.params["user"], self.command(release)
        if self.params["server_from"] == "distribution" and not Path(command[0]).exists():
            raise BuildError(
                f"uwsgi.from: this host has no {command[0]}; run the whole site.yml once, which installs the packages "
                "uwsgi-core and uwsgi-plugin-python3"
            )
        done = self.try_out(release, environment, [str(release / "venv/bin/python"), "-P", "../uwsgi_app.py"])
        if done.returncode != 0:
            said = venv.last_lines(mask(done.stderr or done.stdout, self.environment))
            raise BuildError(f"{self.params['wsgi']} cannot be imported as {user}. Python says:\n{said}")
        # For one CPU: what is wrong with a few workers shows at the start as well.
        counted = {"SITE_SLOT": "blue", **workers.environment(self.params["crew"], cpus=1)}
        done = self.try_out(release, {**environment, **counted}, [*command, "--no-server"])
        if done.returncode != 0:
            said = venv.last_lines(mask(done.stderr or done.stdout, self.environment))
            raise BuildError(f"uWSGI's check of uwsgi.ini, run as {user}, failed. It says:\n{said}")

    def try_out(self, release: Path, environment: dict[str, str], command: list[str]) -> subprocess.CompletedProcess:
        """Run what imports the site, as its user and where it will run."""
        user = self.params["user"]
        surroundings = process_environment(user, release, self.layout.shared, {})
        try:
            return run_as(
                user,
                command,
                cwd=release / "app",
                environment={**surroundings, **environment},
                timeout=IMPORT_TIMEOUT,
                site=self.layout.name,
                resources=self.params["resources"],
            )
        except subprocess.TimeoutExpired:
            raise BuildError(f"{self.params['wsgi']} was not imported within {IMPORT_TIMEOUT} s") from None


def _opened(tar: tarfile.TarFile, name: str) -> IO[bytes]:
    stream = tar.extractfile(name)
    if stream is None:
        raise store.UnpackError(f"{name} in the payload is no file")
    return stream


def explain(error: OSError) -> str:
    """An error of the file system in the operator's words."""
    if error.errno in (errno.ENOSPC, errno.EDQUOT):
        where = visible(str(error.filename or "while a release was built"))
        return f"the disk is full ({where}). Free some space, then run again."
    return f"{error.strerror or error}: {visible(str(error.filename))}" if error.filename else str(error)


def perform(params: dict, check_mode: bool, tools: Toolbox | None = None, now: datetime | None = None) -> dict:
    """Do the module's work; ``tools`` is for tests.

    :raises BuildError: with what is wrong and the remedy
    """
    now, tools = now or run_identity.moment(), tools or Toolbox(account=build_account.ACCOUNT)
    layout = Layout(params["site"], Path(params["root"]))
    parts = {**params["parts"], "environment": params["environment_hash"], "python": venv.host_python(tools.python)}
    with site_lock(layout, enabled=not check_mode) as held:
        cleaned = [] if check_mode else store.remove_half_built(layout)
        remark = "" if check_mode else deployment.recover(layout)
        brought = processes.Brought()
        decision = decide(layout, parts)
        if not decision.needed:
            # Nothing will start, so nothing else clears what a run that was cut off left in the idle slot.
            cleaned += deployment.abort(layout, check_mode)["removed"]
            brought = processes.bring(layout, check_mode)
            if not layout.owes_hooks():
                held.let_go()
        result = {
            "changed": bool(cleaned or remark or brought.changes),
            "remark": remark,
            "site": layout.name,
            "needed": decision.needed,
            "after_live": not decision.needed and layout.owes_hooks(),
            "build": decision.build,
            "reason": decision.reason,
            "release": decision.release,
            "slot": decision.slot,
            "complaints": brought.complaints,
        }
        if not decision.build:
            return result
        if check_mode or not params["payload"]:
            if params["packages"] == "wheelhouse":
                result["target"] = venv.target(tools.python)
            return {**result, "release": store.new_id(layout, parts["code"], now)}
        if decision.suspicious_cache:
            venv.forget_packages(tools)
        release = Build(layout, params, parts, Path(params["payload"]), tools).run(now)
        pruned = store.prune(layout, params["keep_releases"], release)
        return {**result, "changed": True, "build": False, "release": release, "pruned": pruned}


def main() -> None:
    """Entry point of the module."""
    module = AnsibleModule(
        argument_spec={
            "site": {"type": "str", "required": True},
            "root": {"type": "path", "required": True},
            "user": {"type": "str", "required": True},
            "source": {"type": "str", "default": ""},
            "requirements": {"type": "str", "default": "requirements.txt"},
            "wsgi": {"type": "str", "required": True},
            "server": {"type": "str", "choices": ["gunicorn", "uwsgi"], "default": "gunicorn"},
            "server_from": {"type": "str", "choices": ["release", "distribution"], "default": "release"},
            "crew": {"type": "dict", "default": {}},
            "worker_class": {"type": "str", "default": "gthread"},
            "listen": {"type": "list", "elements": "str", "default": []},
            "backlog": {"type": "int", "default": 2048},
            "going_live": {"type": "str", "choices": ["overlap", "replace"], "default": "overlap"},
            "resources": {"type": "dict", "default": {}},
            "tls": {"type": "bool", "default": False},
            "socket_group": {"type": "str", "default": "www-data"},
            "aliases": {"type": "dict", "default": {}},
            "precompress": {"type": "list", "elements": "str", "choices": ["gzip", "brotli"], "default": []},
            "health": {"type": "dict", "default": {}},
            "processes": {"type": "dict", "default": {}},
            "max_body": {"type": "int", "default": 0},
            "keep_releases": {"type": "int", "default": 5},
            "packages": {"type": "str", "choices": ["index", "wheelhouse"], "default": "index"},
            "parts": {"type": "dict", "required": True},
            # A hash of weak secrets can be guessed: it stays out of logs and out of what -vvv shows.
            "environment_hash": {"type": "str", "required": True, "no_log": True},
            "payload": {"type": "path"},
        },
        supports_check_mode=True,
    )
    # Whatever umask the operator's login has: others must be able to pass through and nginx to read.
    os.umask(0o022)
    payload = module.params["payload"]
    try:
        result = perform(module.params, module.check_mode)
        if result["remark"]:
            module.warn(result["remark"])
        module.exit_json(**result)
    except Busy as error:
        module.fail_json(msg=str(error))
    except (BuildError, store.UnpackError, deployment.StepError) as error:
        module.fail_json(msg=f"{module.params['site']}: {error}")
    except OSError as error:
        module.fail_json(msg=f"{module.params['site']}: {explain(error)}")
    except Exception as error:  # noqa: BLE001 - its text may quote what is in the payload
        where = "".join(traceback.format_tb(error.__traceback__))
        module.fail_json(
            msg=f"{module.params['site']}: {type(error).__name__} while the release was built", where=where
        )
    finally:
        if payload:
            # It holds the environment; Ansible removes the folder later, but not after every kind of end.
            Path(payload).unlink(missing_ok=True)


if __name__ == "__main__":
    main()
