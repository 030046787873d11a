"""The release that the launcher starts, read from root's files."""

from __future__ import annotations

import grp
import json
import pwd
from pathlib import Path
from typing import Any, NamedTuple

from ansible_collections.wsgi.sites.plugins.module_utils.launcher.messages import LauncherError
from ansible_collections.wsgi.sites.plugins.module_utils.releases.environment import (
    EnvironmentFileError,
    parse_environment,
    process_environment,
)
from ansible_collections.wsgi.sites.plugins.module_utils.site.paths import Layout
from ansible_collections.wsgi.sites.plugins.module_utils.system import cpus


class Release(NamedTuple):
    """One release of a site."""

    site: Layout
    path: Path
    manifest: dict[str, Any]

    @classmethod
    def at(cls, root: Path, link: Path) -> Release:
        """The release that a link leads to, by its own path, since the link may change later.

        :raises LauncherError: if there is none, or it has no manifest
        """
        try:
            path = link.resolve(strict=True)
        except (OSError, RuntimeError) as error:
            raise LauncherError(f"{link} does not lead to a release ({error}); deploy again") from error
        try:
            manifest = json.loads((path / "release.json").read_text(encoding="utf-8"))
        except (OSError, ValueError) as error:
            raise LauncherError(f"cannot read {path / 'release.json'}: {error}") from error
        return cls(Layout(manifest["site"], root), path, manifest)

    def account(self) -> tuple[int, int]:
        """The site's user and group as numbers.

        :raises LauncherError: if there is no such user or group, or it is root
        """
        try:
            uid = pwd.getpwnam(self.manifest["user"]).pw_uid
            gid = grp.getgrnam(self.manifest["group"]).gr_gid
        except KeyError as error:
            raise LauncherError(
                f"the site's user or group is missing ({error}); run the site's playbook again"
            ) from None
        if uid == 0 or gid == 0:
            raise LauncherError("a site never runs as root; give it a user of its own")
        return uid, gid

    def environment(self) -> dict[str, str]:
        """The environment of every process of the release, without supervisord's own.

        :raises LauncherError: if its file cannot be read; the message shows no values, which may be secrets
        """
        path = self.path / "environment"
        try:
            own = parse_environment(path.read_text(encoding="utf-8"))
        except EnvironmentFileError as error:
            raise LauncherError(f"{path}, {error}; deploy a new release") from None
        except (OSError, UnicodeDecodeError) as error:
            raise LauncherError(f"cannot read {path}: {error}") from None
        # Releases of older versions count their workers from SITE_CPUS.
        ours = {"SITE_CPUS": str(cpus.usable())}
        return process_environment(self.manifest["user"], self.path, self.site.shared, ours | own)
