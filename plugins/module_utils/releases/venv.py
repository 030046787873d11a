"""The venv of a release: built by uv from hashed locks alone, then asked what its server can do."""

from __future__ import annotations

import contextlib
import importlib.util
import json
import os
import re
import subprocess
import sys
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from pathlib import Path

from ansible_collections.wsgi.sites.plugins.module_utils.daemons.proxy import proxy_environment, without_passwords
from ansible_collections.wsgi.sites.plugins.module_utils.packages import build_account, lockfile, uv_lock
from ansible_collections.wsgi.sites.plugins.module_utils.packages.lock import Lock, LockError
from ansible_collections.wsgi.sites.plugins.module_utils.site.paths import CACHE, LIBRARY, write_file
from ansible_collections.wsgi.sites.plugins.module_utils.system import trees
from ansible_collections.wsgi.sites.plugins.module_utils.system.text import visible

PYTHON = Path("/usr/bin/python3")
# Half an hour: a slow mirror may take long, but a run must not hang for ever.
PATIENCE = 1800
# Another site's build may hold it while it unpacks.
LOCK_PATIENCE = 300
# What a worker class needs besides gunicorn: the package, and gunicorn's extra that names it.
EXTRAS = {"gevent": "gevent", "gevent_wsgi": "gevent", "gevent_pywsgi": "gevent", "tornado": "tornado"}
# Of a line of a program's, which may be of any length.
LINE_LENGTH = 2000
UNREACHABLE = re.compile(
    r"error sending request|failed to fetch|dns error|connection refused|timed out|timeout|client error \(connect\)"
    r"|network is unreachable|tunnel error|network connectivity is disabled",
    re.IGNORECASE,
)
WAITED = re.compile(r"when waiting for lock on .* at `([^`]+)`")
UNTRUSTED = re.compile(r"certificate|unknownissuer", re.IGNORECASE)


class BuildError(Exception):
    """A release cannot be built; the text is for the operator: what is wrong, and the remedy."""


@dataclass(frozen=True)
class Toolbox:
    """uv, and how it reaches the package index. uv's own defaults and the host's uv.toml play no part.

    ``account`` is whom uv runs as, since it unpacks what comes from the network; without one, as who runs this.
    """

    uv: Path = LIBRARY / "uv"
    cache: Path = CACHE
    python: Path = PYTHON
    package_index: str = ""
    http_proxy: str = ""
    no_proxy: str = ""
    account: str = ""

    def who(self) -> build_account.Account | None:
        """Whom uv runs as."""
        try:
            return build_account.account(self.account) if self.account and os.geteuid() == 0 else None
        except build_account.BuilderError as error:
            raise BuildError(str(error)) from None

    def environment(self, home: Path) -> dict[str, str]:
        """All that uv gets to see. A proxy's password too, which it takes from nowhere else, but no index's."""
        values = {
            "PATH": "/usr/local/bin:/usr/bin:/bin",
            "HOME": str(home),
            "TMPDIR": str(home),
            "LANG": "C.UTF-8",
            "UV_CACHE_DIR": str(self.cache),
            "UV_LOCK_TIMEOUT": str(LOCK_PATIENCE),
            "UV_SYSTEM_CERTS": "true",
            "UV_NO_CONFIG": "true",
            "UV_NO_PROGRESS": "true",
            "UV_PYTHON_DOWNLOADS": "never",
            "NO_COLOR": "1",
        }
        if self.who():
            # Links that root can make its own; the account may not give other names to files that are root's by now.
            values["UV_LINK_MODE"] = "symlink"
        return values | proxy_environment(self.http_proxy, self.no_proxy)

    def run(self, arguments: Sequence[str], home: Path) -> str:
        """Run uv; an error becomes a :class:`BuildError` that says where to look.

        :param home: a folder of its own, to work in
        """
        if not self.uv.is_file():
            raise BuildError(f"{self.uv} is not there; run the whole site.yml once, its role `host` installs it")
        who = self.who()
        try:
            build_account.private_cache(self.cache, who)
            done = build_account.run(
                [str(self.uv), *arguments], cwd=home, environment=self.environment(home), who=who, timeout=PATIENCE
            )
        except subprocess.TimeoutExpired:
            raise BuildError(
                f"uv did not end within {PATIENCE // 60} minutes; is the package index answering?"
            ) from None
        except build_account.BuilderError as error:
            raise BuildError(str(error)) from None
        if done.returncode != 0:
            raise BuildError(explain(done.stderr, home))
        return done.stdout


@contextlib.contextmanager
def workplace(tools: Toolbox, release: Path) -> Iterator[Path]:
    """A folder of uv's own in a release in the making: its home, and what it reads. It may hold an index's login.

    What is cut off leaves it in a half-built release, which the next run removes.
    """
    folder = release / ".build"
    folder.mkdir(mode=0o700)
    try:
        with build_account.passable(release):
            build_account.give(folder, tools.who())
            yield folder
    finally:
        with contextlib.suppress(OSError):
            trees.remove(folder)


def last_lines(text: str, count: int = 15) -> str:
    """The end of a program's output, where its error stands."""
    lines = text.strip()[-count * LINE_LENGTH :].splitlines()[-count:]
    return "\n".join(visible(line.rstrip()[:LINE_LENGTH]) for line in lines)


def explain(stderr: str, folder: Path = Path("/")) -> str:
    """Turn what uv said into what an operator can do about it.

    :param folder: where it ran
    """
    said = last_lines(without_passwords(stderr))
    low = stderr.lower()
    if found := WAITED.search(stderr):
        lock = folder / found[1]
        return (
            f"uv waited {LOCK_PATIENCE} s for the lock {lock}, which {build_account.holder(lock)} holds. "
            f"Let that end, or end it, then run again. uv says:\n{said}"
        )
    if "no space left on device" in low or "quota exceeded" in low:
        return f"the disk is full. Free some space for releases and /var/cache/uv, then run again. uv says:\n{said}"
    if UNTRUSTED.search(stderr) and UNREACHABLE.search(stderr):
        return (
            "this host does not trust the package index's certificate. Name the CA in `host_ca_certificates`. "
            f"uv says:\n{said}"
        )
    if UNREACHABLE.search(stderr):
        return (
            "this host does not reach the package index. Check its network, `host_package_index` and "
            f"`host_http_proxy`. uv says:\n{said}"
        )
    if "hash mismatch" in low:
        return f"a package is not the one that was locked. Compile the lock file again. uv says:\n{said}"
    if "was not found in the provided package locations" in low:
        return (
            "a package is not among the wheels that came along. Lock again, so that the lock file names every package "
            f"that others need. uv says:\n{said}"
        )
    if "--require-hashes" in low or "to be pinned" in low:
        return (
            "the lock file is not whole: it must pin every package with its hashes, also those that others need. "
            f"Compile it again: {lockfile.COMPILE} requirements.in -o requirements.txt. uv says:\n{said}"
        )
    if "no usable wheels" in low or "building from source is disabled" in low or "no wheels with a matching" in low:
        return (
            "a package has no wheel for this host's Python or processor, and nothing is compiled on hosts. Lock a "
            f"version that has one. uv says:\n{said}"
        )
    return f"the packages could not be installed. uv says:\n{said}"


def host_python(python: Path = PYTHON) -> str:
    """``3.11``: a venv belongs to one minor version, so another one means another venv."""
    if os.path.realpath(sys.executable) == os.path.realpath(python):
        return f"{sys.version_info[0]}.{sys.version_info[1]}"
    code = "import sys; print('%d.%d' % sys.version_info[:2])"
    try:
        done = subprocess.run([str(python), "-I", "-c", code], capture_output=True, text=True, check=True, timeout=30)
    except (OSError, subprocess.SubprocessError):
        return ""
    return done.stdout.strip()


TARGET = """
import json, os, platform, sys, sysconfig
version = sys.implementation.version
print(json.dumps({
    "markers": {
        "implementation_name": sys.implementation.name,
        "implementation_version": "%d.%d.%d" % version[:3],
        "os_name": os.name,
        "platform_machine": platform.machine(),
        "platform_python_implementation": platform.python_implementation(),
        "platform_release": platform.release(),
        "platform_system": platform.system(),
        "platform_version": platform.version(),
        "python_full_version": platform.python_version(),
        "python_version": ".".join(platform.python_version_tuple()[:2]),
        "sys_platform": sys.platform,
    },
    "platform": sysconfig.get_platform(),
    "libc": platform.libc_ver(),
}))
"""


def target(python: Path = PYTHON) -> dict:
    """What a wheel must fit to be installed here.

    :returns: ``{"markers": {name: value}, "platform": "linux-x86_64", "libc": ["glibc", "2.36"]}``; the markers as
        requirements files know them
    """
    try:
        done = subprocess.run(
            [str(python), "-I", "-S", "-c", TARGET], capture_output=True, text=True, check=True, timeout=30
        )
    except (OSError, subprocess.SubprocessError) as error:
        raise BuildError(f"{python} does not start: {error}") from error
    return json.loads(done.stdout)


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
    # Until it is whole, nobody else gets in: uv's lock in it is for all the world to hold.
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


def take_over_bytecode(old: Path, new: Path) -> int:
    """Link what was compiled for an earlier venv into a new one, where the source is the same file of uv's cache.

    :param old: a venv whose files are as they were built
    :returns: how many files need not be compiled again
    """
    taken = 0
    for compiled in _compiled(old / "lib"):
        # Another name than Python gives, a package that the new venv has not: no reason to fail, that gets compiled.
        with contextlib.suppress(ValueError, OSError):
            source = Path(importlib.util.source_from_cache(str(compiled))).relative_to(old)
            if os.path.samefile(old / source, new / source):
                place = new / compiled.relative_to(old)
                place.parent.mkdir(mode=0o755, exist_ok=True)
                place.hardlink_to(compiled)
                taken += 1
    return taken


def _compiled(folder: Path) -> Iterator[Path]:
    for path, _, files in trees.walk(folder):
        if os.path.basename(path) == "__pycache__":
            yield from (Path(path, name) for name in files if name.endswith(".pyc"))


def compile_bytecode(python: Path, folders: Sequence[Path], jobs: int = 0) -> None:
    """Compile before the first start: afterwards nobody who runs the code may write beside it.

    Not by uv's ``--compile-bytecode``, which starts the venv's Python as root, and so the code in any ``.pth`` file of
    a package; ``-S`` reads none. Files that do not compile (templates of code, say) are not this step's business.

    :param jobs: processes at work, 0 for one a CPU; what is already compiled is only looked at
    """
    command = [str(python), "-I", "-S", "-m", "compileall", "-q", "-j", str(jobs), *map(str, folders)]
    subprocess.run(command, cwd="/", capture_output=True, check=False, timeout=PATIENCE)


def forget_packages(tools: Toolbox) -> None:
    """Empty uv's cache: its files and those of every venv are the same through hard links, changed ones too."""
    tools.run(["cache", "clean"], Path("/"))


WORKER_CLASSES = (
    "import json; from gunicorn.workers import SUPPORTED_WORKERS as known; print(json.dumps(sorted(known)))"
)


def check_worker_class(answer: str, worker_class: str) -> None:
    """Refuse a class that this gunicorn does not have; ``answer`` is what :data:`WORKER_CLASSES` printed."""
    known = json.loads(answer)
    if worker_class not in known:
        raise BuildError(f"worker_class {worker_class!r}: this gunicorn has {', '.join(known)}. Name one of them.")
