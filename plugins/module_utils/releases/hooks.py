"""Runs a site's hooks with one of its releases."""

from __future__ import annotations

import shlex
import subprocess
import time
from collections.abc import Sequence

from ansible_collections.wsgi.sites.plugins.module_utils.releases.deployment import StepError
from ansible_collections.wsgi.sites.plugins.module_utils.releases.environment import (
    mask,
    parse_environment,
    process_environment,
)
from ansible_collections.wsgi.sites.plugins.module_utils.releases.uv import last_lines
from ansible_collections.wsgi.sites.plugins.module_utils.runtime.privileges import run_as
from ansible_collections.wsgi.sites.plugins.module_utils.site.paths import Layout


def run(
    site: Layout,
    user: str,
    release_id: str,
    commands: Sequence[str],
    timeout: float,
    outcome: str = "Nothing went live",
) -> list[dict]:
    """Run the commands in order, in the release's ``app/``, as the site's user with the release's environment.

    :param outcome: the consequence of a failure, for the message
    :raises StepError: with the last lines of the command that failed
    """
    if not commands:
        return []
    release = site.release(release_id)
    environment = parse_environment((release / "environment").read_text(encoding="utf-8"))
    surroundings = process_environment(user, release, site.shared, environment)
    ran = []
    for command in commands:
        began = time.monotonic()
        try:
            done = run_as(
                user,
                shlex.split(command),
                cwd=release / "app",
                environment=surroundings,
                timeout=timeout,
                site=site.name,
                resources=site.manifest(release_id).get("resources", {}),
            )
        except subprocess.TimeoutExpired:
            raise StepError(
                f"{site.name}: the hook `{command}` did not end within {timeout} s (hooks.timeout) and was "
                f"stopped. {outcome}"
            ) from None
        except FileNotFoundError:
            raise StepError(
                f"{site.name}: the hook `{command}` names a program that is neither in the release's venv nor on the "
                f"host. {outcome}"
            ) from None
        except OSError as error:
            raise StepError(
                f"{site.name}: the hook `{command}` cannot be run ({error.strerror}): a script needs the executable "
                f"bit and a first line such as #!/bin/sh. {outcome}"
            ) from None
        said = last_lines(mask(done.stdout + done.stderr, environment))
        if done.returncode != 0:
            raise StepError(
                f"{site.name}: the hook `{command}` failed with exit code {done.returncode}. {outcome}. "
                f"It said:\n{said}"
            )
        ran.append({"command": command, "seconds": round(time.monotonic() - began, 1), "said": said})
    return ran


def check_schema(site: Layout, user: str, release_id: str, command: str, timeout: float) -> None:
    """Run a release's `hooks.schema`, which checks that the database matches its code.

    :raises StepError: with the command's output
    """
    try:
        run(site, user, release_id, [command] if command else [], timeout, outcome="Nothing was started")
    except StepError as error:
        raise StepError(
            f"{site.name}: the database does not match the release {release_id}, and migrations are not undone by "
            f"themselves. Bring the database to where this release can work with it, or, if you know that it can: "
            f"-e schema=ok.\n{error}"
        ) from None
