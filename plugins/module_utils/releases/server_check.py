"""The check of a built release: its server loads its configuration and imports the app, as the site's user."""

from __future__ import annotations

import subprocess
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from ansible_collections.wsgi.sites.plugins.module_utils.releases import uv, venv
from ansible_collections.wsgi.sites.plugins.module_utils.releases.environment import mask, process_environment
from ansible_collections.wsgi.sites.plugins.module_utils.releases.errors import BuildError
from ansible_collections.wsgi.sites.plugins.module_utils.releases.manifest import command
from ansible_collections.wsgi.sites.plugins.module_utils.runtime import workers
from ansible_collections.wsgi.sites.plugins.module_utils.runtime.privileges import run_as
from ansible_collections.wsgi.sites.plugins.module_utils.site.paths import Layout

# An app that imports more slowly would not pass the health gate either.
IMPORT_TIMEOUT = 120


@dataclass(frozen=True)
class ServerCheck:
    """The check of one release.

    :param environment: the release's environment; its values are masked in errors
    """

    layout: Layout
    manifest: Mapping[str, Any]
    release: Path
    environment: Mapping[str, str]

    def run(self) -> None:
        """Check the release.

        :raises BuildError: with the last lines of the server's or Python's output
        """
        if self.manifest["server"]["name"] == "uwsgi":
            self._check_uwsgi()
        else:
            self._check_gunicorn()

    def _check_gunicorn(self) -> None:
        """Check the worker class, gunicorn's configuration and the app's import."""
        asked = self._run([self._python, "-I", "-c", venv.WORKER_CLASSES], cwd=self.release)
        if asked.returncode != 0:
            raise BuildError(f"the installed gunicorn cannot be imported:\n{uv.last_lines(asked.stderr)}")
        venv.check_worker_class(asked.stdout, self.manifest["server"]["worker_class"])
        program, *arguments = command(self.manifest, self.release)
        self._try(
            [program, "--check-config", *arguments],
            f"gunicorn's check of this release, run as {self._user}, failed: either {self._wsgi} cannot be imported or "
            "gunicorn.conf.py has an error. Its output:",
        )

    def _check_uwsgi(self) -> None:
        """Check the app's import first, since only Python reports its errors; then uWSGI's configuration."""
        words = command(self.manifest, self.release)
        if self.manifest["server"]["from"] == "distribution" and not Path(words[0]).exists():
            raise BuildError(
                f"uwsgi.from: this host has no {words[0]}; run the whole site.yml once, which installs the packages "
                "uwsgi-core and uwsgi-plugin-python3"
            )
        imported = [self._python, "-P", "../uwsgi_app.py"]
        self._try(imported, f"{self._wsgi} cannot be imported as {self._user}. Python's output:")
        # As for one CPU: an error with few workers shows at the start too.
        counts = {"SITE_SLOT": "blue", **workers.environment(self.manifest["server"]["workers"], cpus=1)}
        failed = f"uWSGI's check of uwsgi.ini, run as {self._user}, failed. Its output:"
        self._try([*words, "--no-server"], failed, counts)

    @property
    def _python(self) -> str:
        return str(self.release / "venv/bin/python")

    @property
    def _user(self) -> str:
        return self.manifest["user"]

    @property
    def _wsgi(self) -> str:
        return self.manifest["wsgi"]

    def _try(self, words: list[str], failed: str, more: Mapping[str, str] | None = None) -> None:
        """Run a command that imports the app, in the app's environment."""
        try:
            done = self._run(words, self.release / "app", {**self.environment, **(more or {})})
        except subprocess.TimeoutExpired:
            raise BuildError(f"{self._wsgi} was not imported within {IMPORT_TIMEOUT} s") from None
        if done.returncode != 0:
            raise BuildError(f"{failed}\n{uv.last_lines(mask(done.stderr or done.stdout, self.environment))}")

    def _run(
        self, words: list[str], cwd: Path, environment: Mapping[str, str] | None = None
    ) -> subprocess.CompletedProcess:
        around = process_environment(self._user, self.release, self.layout.shared, {})
        return run_as(
            self._user,
            words,
            cwd=cwd,
            environment={**around, **(environment or {})},
            timeout=IMPORT_TIMEOUT,
            site=self.layout.name,
            resources=self.manifest["resources"],
        )
