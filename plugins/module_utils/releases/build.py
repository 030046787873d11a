"""Build a release from its manifest and payload, in its final place."""

from __future__ import annotations

import contextlib
import functools
import grp
import json
import pwd
import shutil
import tarfile
from collections.abc import Mapping
from dataclasses import replace
from datetime import datetime
from pathlib import Path
from typing import IO, Any

from ansible_collections.wsgi.sites.plugins.module_utils.packages import lockfile
from ansible_collections.wsgi.sites.plugins.module_utils.releases import (
    bytecode,
    compression,
    fingerprint,
    store,
    uv,
    venv,
)
from ansible_collections.wsgi.sites.plugins.module_utils.releases.environment import (
    format_environment,
    release_environment,
)
from ansible_collections.wsgi.sites.plugins.module_utils.releases.errors import BuildError
from ansible_collections.wsgi.sites.plugins.module_utils.releases.manifest import release_json
from ansible_collections.wsgi.sites.plugins.module_utils.releases.server_check import ServerCheck
from ansible_collections.wsgi.sites.plugins.module_utils.releases.uv import Toolbox
from ansible_collections.wsgi.sites.plugins.module_utils.runtime import run_identity
from ansible_collections.wsgi.sites.plugins.module_utils.site.paths import Layout, write_file
from ansible_collections.wsgi.sites.plugins.module_utils.system import trees

# Space that a release needs besides its own files: a small venv.
ROOM_FOR_VENV = 64 * 1024 * 1024
# Up to this number, files are compiled in one process, in seconds.
FEW_FILES = 300
# They may contain passwords, so they come with the payload and not as arguments.
NETWORK = ("package_index", "http_proxy", "no_proxy")


class Build:
    """The build of one release."""

    def __init__(
        self, layout: Layout, manifest: Mapping[str, Any], parts: Mapping[str, str], payload: Path, tools: Toolbox
    ) -> None:
        self.layout, self.manifest, self.parts, self.payload = layout, manifest, parts, payload
        with tarfile.open(payload) as tar:
            self.size = sum(member.size for member in tar.getmembers())
            self.settings = json.load(_opened(tar, "settings.json"))
            self.server_lock = _opened(tar, "server.txt").read().decode()
        self.tools = replace(tools, **{name: self.settings.get(name, "") for name in NETWORK})
        self.environment: dict[str, str] = self.settings["environment"]

    def run(self, now: datetime) -> str:
        """Build the release and return its ID; a failure leaves no files."""
        try:
            account = pwd.getpwnam(self.manifest["user"])
        except KeyError:
            raise BuildError(f"the user {self.manifest['user']} does not exist; run the whole site.yml once") from None
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
        """Refuse to start if the disk would fill up; an estimate, since the packages' size is unknown."""
        free, wanted = shutil.disk_usage(self.layout.releases).free, 2 * self.size + ROOM_FOR_VENV
        if free < wanted:
            missing = ((wanted - free) >> 20) + 1
            raise BuildError(
                f"only {free >> 20} MB are free under {self.layout.releases}, and a release needs about "
                f"{wanted >> 20} MB: {missing} MB are missing. Free some space, or lower keep_releases."
            )

    def fill(self, release: Path, now: datetime) -> None:
        """Write all files of the release."""
        public = self.manifest["public"]
        store.own(release, self.gid, store.release_mode(public))
        app = release / "app"
        app.mkdir(mode=0o700)
        with tarfile.open(self.payload) as tar:
            store.unpack(tar, "app", app)
        environment = self.write_files(release, now)
        self.install(release, app)
        store.check_depth(release / "venv")
        self.compile(release, app)
        store.set_modes(app, self.gid, store.app_folders(public))
        store.set_venv_modes(release, self.gid, public)
        ServerCheck(self.layout, self.manifest, release, environment).run()
        self.compress(release)

    def write_files(self, release: Path, now: datetime) -> dict[str, str]:
        """Write the environment, the server's configuration and release.json; returns the environment."""
        name, max_body = self.manifest["site"], self.manifest["max_body"]
        environment = release_environment(self.environment, name, release.name, self.layout.root, max_body)
        write_file(release / "environment", format_environment(environment), store.ENVIRONMENT_MODE)
        for file, content in self.settings["files"].items():
            write_file(release / file, content, 0o640, self.gid)
        described = release_json(
            self.manifest,
            release,
            self.layout.root,
            created=now.isoformat(timespec="seconds"),
            by=run_identity.author(),
            code=self.parts["code"],
            python=self.parts["python"],
            group=grp.getgrgid(self.gid).gr_name,
        )
        write_file(release / "release.json", json.dumps(described, indent=2) + "\n", store.MANIFEST_MODE, self.gid)
        return environment

    def install(self, release: Path, app: Path) -> None:
        """Build the venv from the site's lock and, if that has no server, the collection's lock of the server."""
        name, server = self.manifest["lock"], self.manifest["server"]
        with uv.workplace(self.tools, release) as work:
            locks = [venv.lock_of(self.tools, app, name, work)]
            names = locks[0].names
            if server["name"] == "gunicorn":
                venv.check_extras(names, server["worker_class"])
            if self.settings.get("server_package", server["name"]) not in {"", *names}:
                locks.append(lockfile.parse(self.server_lock))
            wheels = self.unpack_wheels(work) if self.manifest["packages"] == "wheelhouse" else None
            complete = lockfile.is_uv_lock(name)
            venv.build(self.tools, release / "venv", locks, work, complete=complete, wheels=wheels)
        # A path to the packages without Python's version, for `aliases`.
        (release / "packages").symlink_to(f"venv/lib/python{self.parts['python']}/site-packages")

    def unpack_wheels(self, work: Path) -> Path:
        """Unpack the wheels of the payload for the duration of the build."""
        folder = work / "wheels"
        folder.mkdir(mode=0o700)
        with tarfile.open(self.payload) as tar:
            store.unpack(tar, "wheels", folder)
        return folder

    def compile(self, release: Path, app: Path) -> None:
        """Compile packages and code, except files that are unchanged from the live release."""
        taken = bytecode.take_over_bytecode(self.before / "venv", release / "venv") if self.before else 0
        packages = release / "venv" / "lib"
        left = sum(1 for _ in packages.glob("**/*.py")) - taken
        # For few files, more processes cost more than they save.
        bytecode.compile_bytecode(self.tools.python, [packages, app], jobs=1 if left < FEW_FILES else 0)

    @functools.cached_property
    def before(self) -> Path | None:
        """The live release, whose unchanged files are reused; None if it was changed on the host."""
        live = self.layout.live_release()
        return self.layout.release(live) if live and not fingerprint.damage(self.layout.release(live)) else None

    def compress(self, release: Path) -> None:
        """Write compressed copies beside the files that nginx serves."""
        known = self.layout.manifest(self.before.name) if self.before else None
        ways = self.manifest["compress"]
        compression.Compressor(release, ways, self.gid, self.before, known).run(self.manifest["public"])


def _opened(tar: tarfile.TarFile, name: str) -> IO[bytes]:
    stream = tar.extractfile(name)
    if stream is None:
        raise store.UnpackError(f"{name} in the payload is not a file")
    return stream
