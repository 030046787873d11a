"""Builds the venv of a release by uv, from hashed locks, including the server."""

from __future__ import annotations

import json
from collections.abc import Sequence
from pathlib import Path

from ansible_collections.wsgi.sites.plugins.module_utils.packages import build_account, lockfile, uv_lock
from ansible_collections.wsgi.sites.plugins.module_utils.packages.lock import Lock, LockError
from ansible_collections.wsgi.sites.plugins.module_utils.releases.errors import BuildError
from ansible_collections.wsgi.sites.plugins.module_utils.releases.uv import Toolbox
from ansible_collections.wsgi.sites.plugins.module_utils.site.paths import write_file

# The package that a worker class needs, and gunicorn's extra for it.
EXTRAS = {"gevent": "gevent", "gevent_wsgi": "gevent", "gevent_pywsgi": "gevent", "tornado": "tornado"}


def lock_of(tools: Toolbox, app: Path, requirements: str, work: Path) -> Lock:
    """The site's lock.

    uv.lock is exported on the host by the uv that installs, so the controller needs no uv, and export and installation
    use one version. With ``--frozen`` nothing is resolved, fetched or run. uv gets a copy of the lock and of each
    pyproject.toml, so that it reads nothing else.
    """
    try:
        found = lockfile.load(app, requirements)
        if found.lock is not None:
            return found.lock
        project = uv_lock.copy_project(app, requirements, work / "project")
    except LockError as error:
        raise BuildError(f"requirements: {error}") from None
    build_account.give(work / "project", tools.who())
    options = ["--python", str(tools.python), "--project", str(project)]
    try:
        return lockfile.parse(tools.run([*uv_lock.EXPORT, *options], work))
    except LockError as error:
        raise BuildError(f"requirements: {requirements}, as `uv export` writes it: {error}") from None


def check_extras(names: set[str], worker_class: str) -> None:
    """Refuse a worker class whose package the lock does not name."""
    package = EXTRAS.get(worker_class)
    if package and package not in names:
        raise BuildError(
            f"worker_class {worker_class} needs the package {package}, which the lock file does not name. Add the "
            f"line `gunicorn[{package}]` to requirements.in, then compile the lock again: "
            f"{lockfile.COMPILE} requirements.in -o requirements.txt"
        )


def build(
    tools: Toolbox,
    venv: Path,
    locks: Sequence[Lock],
    work: Path,
    *,
    complete: bool,
    wheels: Path | None = None,
) -> None:
    """Create ``venv`` in its final place (the shebangs of its scripts contain the path) and install the locks.

    A missing package is an error, hence no ``--no-deps`` for requirements files, which may be written by hand. uv.lock
    is always ``complete`` and may override the packages' declared dependencies.

    :param work: see :func:`workplace`
    :param wheels: a folder with all wheels, checked against the same hashes; then no index is used
    """
    who = tools.who()
    # No other user may enter before it is complete, since any user could hold uv's lock in it.
    venv.mkdir(mode=0o700)
    build_account.give(venv, who)
    tools.run(["venv", "--no-project", "--python", str(tools.python), str(venv)], work)
    options = ["--require-hashes", "--only-binary", ":all:"]
    if complete:
        options.append("--no-deps")
    if wheels:
        build_account.give(wheels, who)
        options += ["--offline", "--no-index", "--find-links", str(wheels)]
    for number, lock in enumerate(locks):
        file = work / f"{number}.txt"
        # The first file has the index options for all. The index is not in the environment, since its URL may contain a
        # login.
        where = lock.index_options(tools.package_index) if number == 0 and not wheels else []
        write_file(file, lock.text(where), 0o600)
        build_account.give(file, who)
        options += ["-r", str(file)]
    tools.run(["pip", "install", "--python", str(venv / "bin" / "python"), *options], work)
    # Remove uv's lock file, which every user could write to, and fill the disk.
    (venv / ".lock").unlink(missing_ok=True)
    venv.chmod(0o755)
    if who:
        try:
            build_account.take_over(venv, who, tools.cache, tools.python)
        except build_account.BuilderError as error:
            raise BuildError(str(error)) from None


WORKER_CLASSES = (
    "import json; from gunicorn.workers import SUPPORTED_WORKERS as known; print(json.dumps(sorted(known)))"
)


def check_worker_class(answer: str, worker_class: str) -> None:
    """Refuse a class that this gunicorn does not have; ``answer`` is the output of :data:`WORKER_CLASSES`."""
    known = json.loads(answer)
    if worker_class not in known:
        raise BuildError(f"worker_class {worker_class!r}: this gunicorn has {', '.join(known)}. Name one of them.")
