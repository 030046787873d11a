"""The inputs of a release on the controller: the source's files, the lock, and its wheels."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from ansible_collections.wsgi.sites.plugins.module_utils.packages import lockfile
from ansible_collections.wsgi.sites.plugins.module_utils.packages.lock import Lock
from ansible_collections.wsgi.sites.plugins.plugin_utils.places import CACHE, ROLES
from ansible_collections.wsgi.sites.plugins.plugin_utils.releases import manifest
from ansible_collections.wsgi.sites.plugins.plugin_utils.releases.source_files import Entry, code_hash, collect
from ansible_collections.wsgi.sites.plugins.plugin_utils.sources import InputError, wheels


@dataclass(frozen=True)
class Inputs:
    """The inputs read from a source, for one manifest."""

    folder: Path
    manifest: Mapping[str, Any]
    entries: list[Entry]
    lock: lockfile.LockFile
    # The collection's lock of the server.
    server_lock: bytes

    @classmethod
    def read(cls, folder: Path, wanted: Mapping[str, Any]) -> Inputs:
        """Read and check a source."""
        # Before any file is read, since a link could lead out of the source.
        entries = collect(folder)
        lock = load_lock(folder, wanted["lock"])
        server_lock = (ROLES / "server/files" / f"{wanted['server']['name']}.txt").read_bytes()
        return cls(folder, wanted, entries, lock, server_lock)

    @property
    def server_package(self) -> str:
        """The package of the server; empty if the distribution has it."""
        return manifest.server_package(self.manifest)

    def parts(self, files: Mapping[str, str]) -> dict[str, str]:
        """The hash of each part."""
        code = code_hash(self.entries, self.lock.files)
        return manifest.parts(self.manifest, files, code, self.lock, self.server_lock)

    def wheels(self, target: Mapping[str, Any], index: str) -> list[Path]:
        """The wheels of the lock for a host, and of the collection's lock if the site's has no server."""
        lock = self.lock.lock or wheels.export(self.folder, self.lock.name, CACHE)
        return wheels.collect(with_server(lock, self.server_lock, self.server_package), target, index, CACHE)


def with_server(lock: Lock, server_lock: bytes, package: str) -> list[Lock]:
    """A site's lock, and the collection's own lock if the site's does not name the server."""
    return [lock] if package in {"", *lock.names} else [lock, lockfile.parse(server_lock)]


def load_lock(source: Path, requirements: str) -> lockfile.LockFile:
    """The lock of a source; an error names the key."""
    try:
        return lockfile.load(source, requirements)
    except lockfile.LockError as error:
        raise InputError(f"requirements: {error}") from None


def with_version(source: object, site: str, extra: Mapping[str, Any]) -> object:
    """The site's source, with the version that the command line asks for: ``-e site=shop -e version=v1.3``.

    Only from the command line, since an inventory variable may be named ``version`` too.
    """
    version = extra.get("version")
    if version is None or extra.get("site") != site:
        return source
    if not isinstance(source, Mapping) or not source.get("git"):
        raise InputError("-e version=…: only a source in git has versions; leave it out")
    return {**source, "version": str(version)}
