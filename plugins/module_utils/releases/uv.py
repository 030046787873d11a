"""Runs uv as its own account, and explains its errors."""

from __future__ import annotations

import contextlib
import os
import re
import subprocess
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from pathlib import Path

from ansible_collections.wsgi.sites.plugins.module_utils.daemons.proxy import proxy_environment, without_passwords
from ansible_collections.wsgi.sites.plugins.module_utils.packages import build_account, lockfile
from ansible_collections.wsgi.sites.plugins.module_utils.releases.errors import BuildError
from ansible_collections.wsgi.sites.plugins.module_utils.releases.host_python import PYTHON
from ansible_collections.wsgi.sites.plugins.module_utils.site.paths import CACHE, LIBRARY
from ansible_collections.wsgi.sites.plugins.module_utils.system import trees
from ansible_collections.wsgi.sites.plugins.module_utils.system.text import visible

# Half an hour: a slow mirror may take long, but a run must not hang.
PATIENCE = 1800
# Another site's build may hold the lock while it unpacks.
LOCK_PATIENCE = 300
# The maximum length of a quoted line.
LINE_LENGTH = 2000
UNREACHABLE = re.compile(
    r"error sending request|failed to fetch|dns error|connection refused|timed out|timeout|client error \(connect\)"
    r"|network is unreachable|tunnel error|network connectivity is disabled",
    re.IGNORECASE,
)
WAITED = re.compile(r"when waiting for lock on .* at `([^`]+)`")
UNTRUSTED = re.compile(r"certificate|unknownissuer", re.IGNORECASE)


@dataclass(frozen=True)
class Toolbox:
    """uv and its access to the package index. uv's defaults and the host's uv.toml are ignored.

    ``account`` is the user that uv runs as, since it unpacks downloads; without one, the current user.
    """

    uv: Path = LIBRARY / "uv"
    cache: Path = CACHE
    python: Path = PYTHON
    package_index: str = ""
    http_proxy: str = ""
    no_proxy: str = ""
    account: str = ""

    def who(self) -> build_account.Account | None:
        """The account that uv runs as."""
        try:
            return build_account.account(self.account) if self.account and os.geteuid() == 0 else None
        except build_account.BuilderError as error:
            raise BuildError(str(error)) from None

    def environment(self, home: Path) -> dict[str, str]:
        """The environment of uv, including a proxy's password, which has no other place, but not an index's."""
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
            # Symlinks, which root resolves later; the account cannot hard-link files that belong to root.
            values["UV_LINK_MODE"] = "symlink"
        return values | proxy_environment(self.http_proxy, self.no_proxy)

    def run(self, arguments: Sequence[str], home: Path) -> str:
        """Run uv; an error becomes a :class:`BuildError` with a remedy.

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
    """A private folder for uv in an incomplete release: its home and its input. It may contain an index's login.

    An interruption leaves it in an incomplete release, which the next run removes.
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
    """Convert uv's errors to a message with a remedy.

    :param folder: where it ran
    """
    said = last_lines(without_passwords(stderr))
    low = stderr.lower()
    if found := WAITED.search(stderr):
        lock = folder / found[1]
        return (
            f"uv waited {LOCK_PATIENCE} s for the lock {lock}, which {build_account.holder(lock)} holds. "
            f"Wait for its end, or end it, then run again. uv says:\n{said}"
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
            "a package is not among the payload's wheels. Lock again, so that the lock file names every package "
            f"that others need. uv says:\n{said}"
        )
    if "--require-hashes" in low or "to be pinned" in low:
        return (
            "the lock file is incomplete: it must pin every package with its hashes, including dependencies. "
            f"Compile it again: {lockfile.COMPILE} requirements.in -o requirements.txt. uv says:\n{said}"
        )
    if "no usable wheels" in low or "building from source is disabled" in low or "no wheels with a matching" in low:
        return (
            "a package has no wheel for this host's Python or processor, and nothing is compiled on hosts. Lock a "
            f"version that has one. uv says:\n{said}"
        )
    return f"the packages could not be installed. uv says:\n{said}"


def forget_packages(tools: Toolbox) -> None:
    """Empty uv's cache: it shares its files with every venv by hard links, so files changed in a venv are in it too."""
    tools.run(["cache", "clean"], Path("/"))
