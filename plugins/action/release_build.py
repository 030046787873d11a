"""Controller side of release_build: compose the manifest, query the host, and send the payload if it is needed."""

from __future__ import annotations

import os
import re
import tempfile
from collections.abc import Mapping
from pathlib import Path
from typing import Any

from ansible import constants
from ansible.plugins.action import ActionBase
from ansible.utils.vars import load_extra_vars

from ansible_collections.wsgi.sites.plugins.module_utils.releases.environment import EnvironmentFault, as_texts
from ansible_collections.wsgi.sites.plugins.plugin_utils.config import site_config
from ansible_collections.wsgi.sites.plugins.plugin_utils.places import CACHE, PROJECT
from ansible_collections.wsgi.sites.plugins.plugin_utils.releases import payload
from ansible_collections.wsgi.sites.plugins.plugin_utils.releases.inputs import Inputs, with_version
from ansible_collections.wsgi.sites.plugins.plugin_utils.releases.manifest import compose, hash_of
from ansible_collections.wsgi.sites.plugins.plugin_utils.results import ask
from ansible_collections.wsgi.sites.plugins.plugin_utils.sources import InputError
from ansible_collections.wsgi.sites.plugins.plugin_utils.sources.source import source_folder

# Names in a release that are not allowed for configuration files.
RELEASE_NAMES = ("app", "venv", "packages", "environment")
OPTIONS = {"site", "settings", "environment", "files", "processes", "brotli", "package_index", "http_proxy", "no_proxy"}
# They may contain passwords, so they are sent in the payload.
NETWORK = ("package_index", "http_proxy", "no_proxy")


class ActionModule(ActionBase):
    """Query whether the host needs a release; pack, transfer and build only then."""

    TRANSFERS_FILES = False  # the remote folder is created only for a payload
    _supports_check_mode = True
    _supports_async = False

    def run(self, tmp: str | None = None, task_vars: dict[str, Any] | None = None) -> dict[str, Any]:
        """Entry point."""
        site_config.guard(task_vars or {})
        # Removed from the task, since callbacks and debuggers show a task's arguments.
        environment, settings = self._task.args.pop("environment", {}), self._task.args.pop("settings", {})
        super().run(tmp, task_vars)
        site = str(self._task.args.get("site", "?"))
        try:
            return self._build(site, settings, as_texts(environment), task_vars or {})
        except (InputError, EnvironmentFault) as error:
            return {"failed": True, "changed": False, "msg": f"{site}: {error}"}
        except OSError as error:
            return {"failed": True, "changed": False, "msg": f"{site}: cannot pack the source: {error}"}

    def _build(
        self, site: str, settings: Mapping[str, Any], environment: dict[str, str], task_vars: dict[str, Any]
    ) -> dict[str, Any]:
        args = dict(self._task.args)
        if unknown := sorted(set(args) - OPTIONS):
            raise InputError(f"release_build has no option {', '.join(unknown)}; it has {', '.join(sorted(OPTIONS))}")
        files = checked_files(args.get("files") or {})
        # A folder of this run, shared by its forks and removed by Ansible at its end.
        run = Path(constants.DEFAULT_LOCAL_TMP)
        source = with_version(settings["source"], site, load_extra_vars(self._loader))
        folder, words = source_folder(source, PROJECT, run, CACHE)
        manifest = compose(site, settings, words, args.get("processes") or {}, bool(args.get("brotli")))
        inputs = Inputs.read(folder, manifest)
        module_args = {
            "manifest": manifest,
            "parts": inputs.parts(files),
            "environment_hash": hash_of(environment),
        }
        result = self._ask(site, module_args, task_vars)
        if result.get("failed") or not result.get("build"):
            return result
        if self._task.check_mode:
            return {**result, "changed": True}
        network = {name: str(args.get(name) or "") for name in NETWORK}
        contents = {"environment": environment, "files": files, "server_package": inputs.server_package, **network}
        wheels = inputs.wheels(result["target"], network["package_index"]) if "target" in result else []
        sent = self._send(inputs, contents, wheels)
        return self._ask(site, module_args | {"payload": sent}, task_vars)

    def _ask(self, site: str, module_args: dict[str, Any], task_vars: dict[str, Any]) -> dict[str, Any]:
        """Run the module on the host. Its answer cannot change the site's name."""
        return {**ask(self, "wsgi.sites.release_build", module_args, task_vars), "site": site}

    def _send(self, inputs: Inputs, contents: Mapping[str, Any], wheels: list[Path]) -> str:
        """Pack into a private file, and transfer it to the connection's folder on the host."""
        descriptor, local = tempfile.mkstemp(prefix="release-", suffix=".tar.gz", dir=constants.DEFAULT_LOCAL_TMP)
        try:
            with os.fdopen(descriptor, "wb") as target:
                payload.pack(target, inputs.entries, contents, inputs.server_lock, wheels)
            shell = self._connection._shell
            if shell.tmpdir is None:
                self._make_tmp_path()
            remote = shell.join_path(shell.tmpdir, "release.tar.gz")
            self._transfer_file(local, remote)
            return remote
        finally:
            Path(local).unlink()


def checked_files(given: Mapping[str, Any]) -> dict[str, str]:
    """The configuration files by their names in the release."""
    for name in map(str, given):
        if not re.fullmatch(r"[A-Za-z0-9][A-Za-z0-9._-]*", name) or name in RELEASE_NAMES:
            raise InputError(f"files: {name!r} is not allowed as a file name in a release")
    return {str(name): str(content) for name, content in given.items()}
