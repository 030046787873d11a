"""The venv of a release: built by uv from hashed locks alone, and with the server that it needs."""

from __future__ import annotations

import json
from collections.abc import Sequence
from pathlib import Path

from ansible_collections.wsgi.sites.plugins.module_utils.packages import build_account, lockfile, uv_lock
from ansible_collections.wsgi.sites.plugins.module_utils.packages.lock import Lock, LockError
from ansible_collections.wsgi.sites.plugins.module_utils.releases.errors import BuildError
from ansible_collections.wsgi.sites.plugins.module_utils.releases.uv import Toolbox
from ansible_collections.wsgi.sites.plugins.module_utils.site.paths import write_file

# What a worker class needs besides gunicorn: the package, and gunicorn's extra that names it.
EXTRAS = {"gevent": "gevent", "gevent_wsgi": "gevent", "gevent_pywsgi": "gevent", "tornado": "tornado"}


def lock_of(tools: Toolbox, app: Path, requirements: str, work: Path) -> Lock:
    """The site's lock.

    uv.lock is exported here, by the same uv that installs: the controller then needs no uv of its own, and no site can
    be locked by one version and read by another. With ``--frozen`` nothing is resolved, fetched or run; and uv gets a
    copy of the lock and of each pyproject.toml, so that it finds nothing else.
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
    """Make ``venv`` where it will stay (its scripts name it in their first line) and install the locks into it.

    Packages that a lock forgot are an error, hence no ``--no-deps`` for requirements files, which may be written by
    hand. uv.lock is ``complete`` by its making and may override what packages say they need: there it is the truth.

    :param work: see :func:`workplace`
    :param wheels: a folder with every wheel, which are then checked against the same hashes, and no index is asked
    """
    who = tools.who()
    # Until it is complete, no other user may enter: every user could hold uv's lock in it.
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
        # Where packages are is said in the first one, for all. The index is there and not in the environment, since
        # its URL may hold a login.
        where = lock.index_options(tools.package_index) if number == 0 and not wheels else []
        write_file(file, lock.text(where), 0o600)
        build_account.give(file, who)
        options += ["-r", str(file)]
    tools.run(["pip", "install", "--python", str(venv / "bin" / "python"), *options], work)
    # uv leaves its lock behind, for all the world to write: a place to fill the disk, and nothing needs it any more.
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
    """Refuse a class that this gunicorn does not have; ``answer`` is what :data:`WORKER_CLASSES` printed."""
    known = json.loads(answer)
    if worker_class not in known:
        raise BuildError(f"worker_class {worker_class!r}: this gunicorn has {', '.join(known)}. Name one of them.")
