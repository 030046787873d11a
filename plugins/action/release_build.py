"""The controller's half of release_build: packs a site's source, and transfers it only if the host needs it.

The environment (secrets) goes from the task's arguments into the packed file and nowhere else: not into the module's
arguments, not into a result, an error or a log.
"""

from __future__ import annotations

import gzip
import hashlib
import io
import json
import os
import re
import stat
import tarfile
import tempfile
from collections.abc import Collection, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path, PurePosixPath
from typing import Any, BinaryIO

from ansible import constants
from ansible.plugins.action import ActionBase
from ansible.utils.vars import load_extra_vars

from ansible_collections.wsgi.sites.plugins.module_utils.packages import lockfile
from ansible_collections.wsgi.sites.plugins.module_utils.packages.lock import Lock
from ansible_collections.wsgi.sites.plugins.module_utils.releases.environment import EnvironmentFault, as_texts
from ansible_collections.wsgi.sites.plugins.plugin_utils.config import site_config
from ansible_collections.wsgi.sites.plugins.plugin_utils.places import PROJECT, ROLES
from ansible_collections.wsgi.sites.plugins.plugin_utils.results import ask
from ansible_collections.wsgi.sites.plugins.plugin_utils.sources import InputError, limits, wheels
from ansible_collections.wsgi.sites.plugins.plugin_utils.sources.source import source_folder

# What was fetched for earlier runs. A name that no host has: beside it lies what playbooks/render.yml writes.
CACHE = PROJECT / "build" / ".cache"
# Raise this when a release of the same parts would be laid down in another way: every site then gets a new one.
LAYOUT = 2
EXCLUDED = {".git", "__pycache__", ".venv", "node_modules", ".pytest_cache", ".mypy_cache", ".ruff_cache"}
# Flask keeps a machine's own data here; a package of this name deeper down is code.
EXCLUDED_AT_TOP = {"instance"}
# What the module gets as it is; the rest of the task's arguments is this plugin's own.
FOR_MODULE = (
    "site", "root", "user", "requirements", "wsgi", "server", "worker_class",
    "listen", "backlog", "tls", "socket_group", "aliases", "health", "max_body", "going_live", "keep_releases",
    "resources", "packages", "processes", "server_from", "crew", "precompress",
)  # fmt: skip
# What makes another server config, besides the rendered files.
CONFIG = (
    "root", "user", "wsgi", "server", "worker_class", "listen", "backlog", "tls", "socket_group", "aliases", "health",
    "max_body", "going_live", "resources", "processes", "server_from", "crew", "precompress",
)  # fmt: skip
# The package that brings each server.
PACKAGES = {"gunicorn": "gunicorn", "uwsgi": "pyuwsgi"}
# Links that a link may lead through, as Linux has it.
LINKS = 40
# What a release has in any case.
RELEASE_NAMES = ("app", "venv", "packages", "environment")
OWN = ("source", "files", "environment", "package_index", "http_proxy", "no_proxy")


class PackError(InputError):
    """The release cannot be packed; the text names what is wrong and the remedy, never a value."""


@dataclass(frozen=True)
class Entry:
    """One file, folder or link of the source, as it will lie in ``app/``."""

    top: Path
    name: str
    kind: str
    executable: bool = False
    digest: str = ""
    size: int = 0


def collect(source: Path) -> list[Entry]:
    """List what belongs to a release, in a fixed order, with the hash of each file's content.

    Whoever can write to the source can exchange a part of it at any time, so each part is opened without following
    links, and only what was opened counts.
    """
    entries: list[Entry] = []
    used, folders = limits.Bounds(), [""]
    while folders:
        folder = folders.pop()
        descriptor = limits.open_folder(source, folder)
        try:
            for name in _names(descriptor, not folder, used):
                entries.append(_entry(source, f"{folder}/{name}" if folder else name, descriptor, used))
                if entries[-1].kind == "folder":
                    folders.append(entries[-1].name)
        finally:
            os.close(descriptor)
    links = {entry.name: entry.digest for entry in entries if entry.kind == "link"}
    for name in links:
        if _leads_out(name, links):
            raise PackError(
                f"the link {name} leads out of the source, where no host can follow; put the file itself there"
            )
    return sorted(entries, key=lambda entry: entry.name)


def _excluded(name: str, at_top: bool) -> bool:
    return name in EXCLUDED or name.endswith((".pyc", ".pyo")) or (at_top and name in EXCLUDED_AT_TOP)


def _names(folder: int, at_top: bool, used: limits.Bounds) -> list[str]:
    names = []
    with os.scandir(folder) as listed:
        for found in listed:
            if not _excluded(found.name, at_top):
                used.count()
                names.append(found.name)
    return sorted(names)


def _entry(source: Path, name: str, folder: int, used: limits.Bounds) -> Entry:
    path = PurePosixPath(name)
    limits.check_name(name, path.parts)
    try:
        mode = os.stat(path.name, dir_fd=folder, follow_symlinks=False).st_mode
        target = str(PurePosixPath(os.readlink(path.name, dir_fd=folder))) if stat.S_ISLNK(mode) else ""
    except OSError as error:
        raise limits.unreadable(name, error) from None
    if stat.S_ISDIR(mode):
        return Entry(source, name, "folder")
    if stat.S_ISLNK(mode):
        used.add(len(target))
        return Entry(source, name, "link", digest=target)
    if not stat.S_ISREG(mode):
        raise PackError(f"{name} in the source is neither a file, a folder nor a link; move it out of the source")
    with os.fdopen(limits.open_below(source, name), "rb") as stream:
        status, digest, size = os.fstat(stream.fileno()), hashlib.sha256(), 0
        used.room(status.st_size)
        while block := stream.read(limits.BLOCK):
            used.add(len(block))
            size += len(block)
            digest.update(block)
    return Entry(source, name, "file", bool(status.st_mode & 0o100), digest.hexdigest(), size)


def _leads_out(name: str, links: Mapping[str, str]) -> bool:
    """Whether a link ends outside the source, by the texts of all links as they were read and will be packed."""
    place = list(PurePosixPath(name).parts[:-1])
    steps, followed = [PurePosixPath(name).name], 0
    while steps:
        step = steps.pop()
        if step in ("", "."):
            continue
        if step == "..":
            if not place:
                return True
            place.pop()
            continue
        target = links.get("/".join([*place, step]))
        if target is None:
            place.append(step)
            continue
        followed += 1
        if target.startswith("/"):
            return True
        if followed > LINKS:
            return False  # a circle, which leads nowhere
        steps += reversed(target.split("/"))
    return False


def code_hash(entries: list[Entry], lock: Collection[str]) -> str:
    """Hash of names, contents and executable bits. Without times and the lock, a part of its own."""
    digest = hashlib.sha256()
    for entry in entries:
        if entry.name not in lock:
            digest.update(os.fsencode(repr((entry.name, entry.kind, entry.executable, entry.digest))))
    return digest.hexdigest()


def lock_contents(lock: lockfile.LockFile) -> list[str]:
    """What of a lock's files makes other packages."""
    return [part for name, content in lock.files.items() for part in (name, content.hex())]


def hash_of(value: object) -> str:
    """Hash of data, whatever the order of its keys."""
    return hashlib.sha256(json.dumps(value, sort_keys=True).encode()).hexdigest()


def load_lock(source: Path, requirements: str) -> lockfile.LockFile:
    """The lock of a source, with the key that names it in errors."""
    try:
        return lockfile.load(source, requirements)
    except lockfile.LockError as error:
        raise PackError(f"requirements: {error}") from None


class _Hashing(io.RawIOBase):
    """Reads a file and hashes what it reads."""

    def __init__(self, stream: BinaryIO) -> None:
        self.stream, self.hash = stream, hashlib.sha256()

    def readable(self) -> bool:
        return True

    def read(self, size: int = -1) -> bytes:
        data = self.stream.read(size)
        self.hash.update(data)
        return data


def pack(
    target: BinaryIO,
    entries: list[Entry],
    settings: Mapping[str, Any],
    server_lock: bytes,
    wheelhouse: Sequence[Path] = (),
) -> None:
    """Write the payload: the same source and settings make the same bytes, on every controller."""
    with (
        gzip.GzipFile(filename="", fileobj=target, mode="wb", compresslevel=6, mtime=0) as zipped,
        tarfile.open(fileobj=zipped, mode="w", format=tarfile.PAX_FORMAT) as tar,
    ):
        for name, content in (
            ("settings.json", json.dumps(settings, sort_keys=True).encode()),
            ("server.txt", server_lock),
        ):
            member = tarfile.TarInfo(name)
            member.size, member.mode = len(content), 0o600
            tar.addfile(member, io.BytesIO(content))
        for wheel in wheelhouse:
            member = tarfile.TarInfo(f"wheels/{wheel.name}")
            member.size, member.mode = wheel.stat().st_size, 0o600
            with wheel.open("rb") as stream:
                tar.addfile(member, stream)
        for entry in entries:
            _add(tar, entry)


def _add(tar: tarfile.TarFile, entry: Entry) -> None:
    member = tarfile.TarInfo(f"app/{entry.name}")
    if entry.kind == "folder":
        member.type, member.mode = tarfile.DIRTYPE, 0o755
        tar.addfile(member)
    elif entry.kind == "link":
        member.type, member.linkname = tarfile.SYMTYPE, entry.digest
        tar.addfile(member)
    else:
        with os.fdopen(limits.open_below(entry.top, entry.name), "rb") as stream:
            status = os.fstat(stream.fileno())
            # The real time: nginx makes ETags of it, and what did not change should stay in browsers' caches.
            member.mtime = int(status.st_mtime)
            member.size, member.mode = entry.size, 0o755 if entry.executable else 0o644
            reader = _Hashing(stream)
            try:
                tar.addfile(member, reader)
            except OSError:
                raise PackError(f"{entry.name} changed while it was packed; run again") from None
        if reader.hash.hexdigest() != entry.digest or status.st_size != entry.size:
            raise PackError(f"{entry.name} changed while it was packed; run again")


def with_version(source: object, site: str, extra: Mapping[str, Any]) -> object:
    """The page's source, with the version that the command line asks for: ``-e site=shop -e version=v1.3``.

    Only the command line: a variable of the inventory may well be called ``version``.
    """
    version = extra.get("version")
    if version is None or extra.get("site") != site:
        return source
    if not isinstance(source, Mapping) or not source.get("git"):
        raise PackError("-e version=…: only a source in git has versions; leave it out")
    return {**source, "version": str(version)}


def brings(args: Mapping[str, Any]) -> str:
    """The package of the site's server; empty if the distribution has it."""
    return "" if args.get("server_from") == "distribution" else PACKAGES[args.get("server") or "gunicorn"]


def collect_wheels(lock: Lock, server_lock: str, args: Mapping[str, Any], target: Mapping[str, Any]) -> list[Path]:
    """The wheels of the site's lock for this host, and those of the bundle's own lock if that names no server."""
    locks = [lock] if brings(args) in {"", *lock.names} else [lock, lockfile.parse(server_lock)]
    return wheels.collect(locks, target, str(args.get("package_index") or ""), CACHE)


class ActionModule(ActionBase):
    """Ask the host what it needs; pack, transfer and build only that."""

    TRANSFERS_FILES = False  # the remote folder is made when there is something to put into it
    _supports_check_mode = True
    _supports_async = False

    def run(self, tmp: str | None = None, task_vars: dict[str, Any] | None = None) -> dict[str, Any]:
        """Entry point."""
        site_config.guard(task_vars or {})
        # Out of the task first: what a callback or a debugger shows of a task are its arguments.
        environment, source = self._task.args.pop("environment", {}), self._task.args.pop("source", None)
        super().run(tmp, task_vars)
        site = self._task.args.get("site", "?")
        try:
            return self._build(environment, source, task_vars or {})
        except (InputError, EnvironmentFault) as error:
            return {"failed": True, "changed": False, "msg": f"{site}: {error}"}
        except OSError as error:
            return {"failed": True, "changed": False, "msg": f"{site}: cannot pack the source: {error}"}

    def _build(self, given: object, page: object, task_vars: dict[str, Any]) -> dict[str, Any]:
        args = dict(self._task.args)
        unknown = sorted(set(args) - {*FOR_MODULE, *OWN})
        if unknown:
            raise PackError(f"release_build does not know {', '.join(unknown)}")
        environment = as_texts(given)
        # A folder of this run that its forks share, and that Ansible removes at its end.
        run = Path(constants.DEFAULT_LOCAL_TMP)
        source = with_version(page, str(args.get("site", "")), load_extra_vars(self._loader))
        folder, words = source_folder(source, PROJECT, run, CACHE)
        requirements = args.get("requirements") or "requirements.txt"
        files = {str(name): str(content) for name, content in (args.get("files") or {}).items()}
        for name in files:
            if not re.fullmatch(r"[A-Za-z0-9][A-Za-z0-9._-]*", name) or name in RELEASE_NAMES:
                raise PackError(f"files: {name!r} is no name for a file of a release")
        # Before any file of it is read: a link that leads out of the source would show what lies there.
        entries = collect(folder)
        lock = load_lock(folder, requirements)
        server_lock = (ROLES / "server/files" / f"{args.get('server') or 'gunicorn'}.txt").read_bytes()
        server_package = brings(args)
        needs_server = bool(server_package) and server_package not in lock.names
        module_args = {name: args[name] for name in FOR_MODULE if name in args} | {
            "source": words,
            "parts": {
                "code": code_hash(entries, lock.files),
                "requirements": hash_of([*lock_contents(lock), server_lock.hex() if needs_server else ""]),
                "config": hash_of([LAYOUT, files, {name: args.get(name) for name in CONFIG}]),
            },
            "environment_hash": hash_of(environment),
        }
        result = self._ask(module_args, task_vars)
        if result.get("failed") or not result.get("build"):
            return result
        if self._task.check_mode:
            return {**result, "changed": True}
        settings = {
            "environment": environment,
            "files": files,
            "server_package": server_package,
            **{name: str(args.get(name) or "") for name in ("package_index", "http_proxy", "no_proxy")},
        }
        wheelhouse: list[Path] = []
        if args.get("packages") == "wheelhouse":
            whole = lock.lock or wheels.export(folder, lock.name, CACHE)
            wheelhouse = collect_wheels(whole, server_lock.decode(), args, result["target"])
        payload = self._send(entries, settings, server_lock, wheelhouse)
        return self._ask(module_args | {"payload": payload}, task_vars)

    def _ask(self, module_args: dict[str, Any], task_vars: dict[str, Any]) -> dict[str, Any]:
        """The host's half; whose site it is about is not the host's to say."""
        return {**ask(self, "wsgi.sites.release_build", module_args, task_vars), "site": module_args.get("site")}

    def _send(
        self, entries: list[Entry], settings: dict[str, Any], server_lock: bytes, wheelhouse: Sequence[Path]
    ) -> str:
        """Pack into a file that only its owner can read, lay it into the connection's own folder on the host."""
        descriptor, local = tempfile.mkstemp(prefix="release-", suffix=".tar.gz", dir=constants.DEFAULT_LOCAL_TMP)
        try:
            with os.fdopen(descriptor, "wb") as target:
                pack(target, entries, settings, server_lock, wheelhouse)
            shell = self._connection._shell
            if shell.tmpdir is None:
                self._make_tmp_path()
            remote = shell.join_path(shell.tmpdir, "release.tar.gz")
            self._transfer_file(local, remote)
            return remote
        finally:
            Path(local).unlink()
