"""The wheelhouse: every wheel of a lock for one kind of host, fetched once by the controller's pip.

uv cannot download without installing; pip can, also for another Python and machine than its own. But pip would judge
the lock's markers by the Python that it runs with, so they are judged here, by what the host says of itself.
"""

from __future__ import annotations

import ast
import contextlib
import glob
import hashlib
import importlib.util
import netrc
import os
import re
import shlex
import shutil
import subprocess
import sys
import tempfile
from collections.abc import Mapping, Sequence
from dataclasses import replace
from pathlib import Path
from typing import Any
from urllib.parse import quote, urlsplit, urlunsplit

from packaging.markers import InvalidMarker, Marker, UndefinedComparison, UndefinedEnvironmentName
from releases import lockfile

from release_inputs import InputError
from release_inputs.once import forget, locked, name_of
from release_inputs.words import last_lines

PATIENCE = 1800
# Wheelhouses that stay in the cache, the latest used ones.
KEEP = 10
# The oldest glibc that wheels are tagged for.
OLDEST_GLIBC = 5
DEBIAN_PIP = "/usr/share/python-wheels/pip-*.whl"
LOGIN = re.compile(r"(?<=://)[^/\s]+@")
# The way to the network, and whose certificates count there.
NETWORK = (
    "HTTP_PROXY", "HTTPS_PROXY", "ALL_PROXY", "NO_PROXY", "http_proxy", "https_proxy", "all_proxy", "no_proxy",
    "SSL_CERT_FILE", "SSL_CERT_DIR", "REQUESTS_CA_BUNDLE", "CURL_CA_BUNDLE",
)  # fmt: skip
# The same of pip's own settings: the variable that it goes by, and the option's name in `pip config`.
PIP = (
    ("CERT", "cert"), ("CLIENT_CERT", "client-cert"), ("PROXY", "proxy"), ("RETRIES", "retries"),
    ("DEFAULT_TIMEOUT", "default-timeout"), ("TIMEOUT", "timeout"),
)  # fmt: skip


def collect(locks: Sequence[str], target: Mapping[str, Any], index: str, cache: Path) -> list[Path]:
    """The wheels of these locks for a host, from the cache if they are all there and right.

    :param locks: requirements files with hashes, as text
    :param target: what the host says of itself: ``{"markers": {name: value}, "platform": "linux-x86_64",
        "libc": ["glibc", "2.36"]}``
    :param index: URL of a package index in place of the one that pip is set to; it may hold a login
    :raises InputError: if one cannot be had
    """
    read = [parsed(text) for text in locks]
    wanted = [pinned(lock, target["markers"]) for lock in read]
    packages = {line for part in wanted for line in part}
    hashes = {tuple(value.split(":")) for line in packages for value in re.findall(r"--hash=(\S+)", line)}
    count = len({line.split()[0] for line in packages})
    tags = tags_of(target)
    house = cache / "wheels" / name_of(wanted, tags)
    with locked(house.with_name(f"{house.name}.lock")):
        if not _is_right(house, hashes, count):
            _download(wanted, read, tags, index, house)
            if not _is_right(house, hashes, count):
                raise InputError("packages: pip brought other files than the lock names; run again")
        os.utime(house)
    forget((path for path in house.parent.iterdir() if path.is_dir() and not path.name.startswith(".")), KEEP)
    return sorted(house.glob("*.whl"))


def parsed(text: str) -> lockfile.Lock:
    """A lock, read.

    :raises InputError: if it is none
    """
    try:
        return lockfile.parse(text)
    except lockfile.LockError as error:
        raise InputError(f"requirements: {error}") from None


def pinned(lock: lockfile.Lock, markers: Mapping[str, str]) -> list[str]:
    """The lines of a lock that count for a host with these markers, without their markers.

    :raises InputError: for a line that no index can serve
    """
    found = []
    for package in lock.packages:
        if package.url:
            raise InputError(
                f"requirements: {package.name} is locked by its own URL, which no wheelhouse can serve; lock it "
                "from an index, or set `packages: index`"
            )
        try:
            counts = not package.marker or Marker(package.marker).evaluate(dict(markers))
        except (InvalidMarker, UndefinedComparison, UndefinedEnvironmentName):
            raise InputError(f"requirements: the marker of {package.name} is not understood; lock again") from None
        if counts:
            found.append(replace(package, extras=(), marker="").line)
    return sorted(found)


def names(text: str) -> set[str]:
    """The packages that a lock names, by their normal names."""
    return parsed(text).names


def tags_of(target: Mapping[str, Any]) -> dict[str, Any]:
    """The host's Python version, and the platforms whose wheels run there, the best ones first."""
    machine = target["platform"].partition("-")[2].replace("-", "_").replace(".", "_")
    libc, version = target["libc"]
    platforms = [f"linux_{machine}"]
    if libc == "glibc":
        minor = int(version.split(".")[1])
        named = {17: "manylinux2014", 12: "manylinux2010", 5: "manylinux1"}
        for number in range(minor, OLDEST_GLIBC - 1, -1):
            platforms.append(f"manylinux_2_{number}_{machine}")
            if number in named:
                platforms.append(f"{named[number]}_{machine}")
    return {"python": target["markers"]["python_version"], "platforms": platforms}


def export(folder: Path, requirements: str, place: Path) -> str:
    """uv.lock as a requirements file with hashes, by the controller's uv; the host exports it again by itself.

    :param place: a folder of the operator's alone, to work in
    :raises InputError: if there is no uv
    """
    uv = shutil.which("uv", path=f"{Path(sys.executable).parent}{os.pathsep}{os.environ.get('PATH', '')}")
    if uv is None:
        raise InputError(
            "packages: a wheelhouse for a uv.lock needs uv on the controller. Start the run with bin/site, which has "
            f"it; or install it: {sys.executable} -m pip install uv"
        )
    command = [uv, "export", "--frozen", "--no-dev", "--no-emit-project", "--no-header", "--no-annotate", "--offline"]
    command += ["--format", "requirements-txt"]
    place.mkdir(mode=0o700, parents=True, exist_ok=True)
    # A folder that no other user can put a file above: uv looks for workspaces up to the root.
    with tempfile.TemporaryDirectory(prefix=".uv-", dir=place) as home:
        environment = surroundings(home) | {"UV_NO_CONFIG": "true", "UV_PYTHON_DOWNLOADS": "never", "UV_NO_CACHE": "1"}
        try:
            project = lockfile.copy_project(folder, requirements, Path(home, "project"))
        except lockfile.LockError as error:
            raise InputError(f"requirements: {error}") from None
        text = _run([*command, "--project", str(project)], environment, "uv.lock cannot be read", home)
    try:
        return lockfile.parse(text).text()
    except lockfile.LockError as error:
        raise InputError(f"requirements: {requirements}, as `uv export` writes it: {error}") from None


def surroundings(home: str) -> dict[str, str]:
    """All that pip and uv get to see of the operator's environment: ways to the network, and whom to trust there."""
    kept = {name: os.environ[name] for name in NETWORK if name in os.environ}
    own = {"PATH": "/usr/local/bin:/usr/bin:/bin", "HOME": home, "TMPDIR": home, "LANG": "C.UTF-8", "NO_COLOR": "1"}
    return kept | own


def operators_pip() -> dict[str, str]:
    """What the operator has set pip to: option and value, by pip's own rules of which one counts.

    :raises InputError: if pip does not start
    """
    text = _run([*_pip(), "config", "list"], os.environ, "pip's settings cannot be read", "/")
    found: dict[str, dict[str, str]] = {}
    for line in text.splitlines():
        key, given, value = line.partition("=")
        section, dot, name = key.rpartition(".")
        # pip writes values as Python does.
        with contextlib.suppress(ValueError, SyntaxError):
            if given and dot:
                found.setdefault(section, {})[name] = str(ast.literal_eval(value))
    return found.get("global", {}) | found.get("download", {}) | found.get(":env:", {})


def _options(locks: Sequence[lockfile.Lock], index: str, settings: Mapping[str, str]) -> list[str]:
    """Where pip is to look, as lines of a file: they may hold logins, which anyone can read in arguments."""
    whole = lockfile.Lock(no_index=any(lock.no_index for lock in locks))
    for lock in locks:
        whole.index_url = whole.index_url or lock.index_url
        whole.extra_index_urls += lock.extra_index_urls
        whole.find_links += lock.find_links
        whole.trusted_hosts += lock.trusted_hosts
    if index:
        # The lock's own may have what the operator's has not.
        whole.extra_index_urls += [whole.index_url] if whole.index_url else []
    else:
        # As pip itself: a lock's index counts more than what pip is set to.
        index = "" if whole.index_url else settings.get("index-url", "")
        whole.no_index = whole.no_index or settings.get("no-index", "").lower() in ("1", "true", "yes", "on")
        more = settings.get("extra-index-url", "").split()
        whole.extra_index_urls += [lockfile.safe_url(with_login(url)) for url in more]
    whole.find_links += [shlex.quote(place) for place in settings.get("find-links", "").split()]
    whole.trusted_hosts += settings.get("trusted-host", "").split()
    return list(dict.fromkeys(whole.where(with_login(index))))


def with_login(index: str) -> str:
    """The operator's index with the login that the operator's netrc has for it, if the URL has none."""
    parts = urlsplit(index)
    if parts.scheme != "https" or not parts.hostname or "@" in parts.netloc:
        return index
    try:
        entry = netrc.netrc(os.environ.get("NETRC")).authenticators(parts.hostname)
    except (OSError, netrc.NetrcParseError):
        return index
    if entry is None:
        return index
    login = f"{quote(entry[0], safe='')}:{quote(entry[2] or '', safe='')}"
    return urlunsplit(parts._replace(netloc=f"{login}@{parts.netloc}"))


def _download(
    wanted: Sequence[list[str]], locks: Sequence[lockfile.Lock], tags: Mapping[str, Any], index: str, house: Path
) -> None:
    house.parent.mkdir(mode=0o700, parents=True, exist_ok=True)
    settings = operators_pip()
    options = _options(locks, index, settings)
    with tempfile.TemporaryDirectory(prefix=".new-", dir=house.parent) as temporary:
        folder = Path(temporary, "wheels")
        folder.mkdir()
        lock = Path(temporary, "lock.txt")
        environment = surroundings(temporary) | {f"PIP_{name}": settings[key] for name, key in PIP if settings.get(key)}
        # Not the operator's files: what counts of them was read above. It may hold logins, and other options.
        environment |= {"PIP_CONFIG_FILE": os.devnull, "PIP_NO_INPUT": "1", "PIP_DISABLE_PIP_VERSION_CHECK": "1"}
        environment["PIP_NO_CACHE_DIR"] = "1"
        command = [*_pip(), "download", "--quiet", "--no-deps", "--require-hashes", "--only-binary", ":all:"]
        command += ["--implementation", "cp", "--python-version", tags["python"], "--dest", str(folder)]
        command += [f"--platform={platform}" for platform in tags["platforms"]]
        # One lock at a time: what two of them disagree on is for the host to say, as without a wheelhouse.
        for lines in filter(None, wanted):
            lock.touch(0o600)
            lock.write_text("\n".join([*options, *lines]) + "\n", encoding="utf-8")
            _run([*command, "--requirement", str(lock)], environment, "the wheels cannot be collected", temporary)
        shutil.rmtree(house, ignore_errors=True)
        folder.rename(house)


def _pip() -> list[str]:
    """By its place, since Python's own rules of where modules are follow HOME and the environment."""
    spec = importlib.util.find_spec("pip")
    if spec and spec.origin:
        return [sys.executable, "-I", str(Path(spec.origin).parent)]
    if found := sorted(glob.glob(DEBIAN_PIP)):
        return [sys.executable, "-I", f"{found[-1]}/pip"]
    raise InputError(
        "packages: a wheelhouse needs pip on the controller. Start the run with bin/site, which has it; or install it: "
        "apt install python3-pip-whl"
    )


def _run(command: Sequence[str], environment: Mapping[str, str], what: str, folder: str) -> str:
    try:
        done = subprocess.run(
            command, cwd=folder, env=dict(environment), stdin=subprocess.DEVNULL, capture_output=True, text=True,
            errors="replace", timeout=PATIENCE, check=False,
        )  # fmt: skip
    except subprocess.TimeoutExpired:
        raise InputError(f"packages: {what} within {PATIENCE // 60} minutes; is the index answering?") from None
    if done.returncode == 0:
        return done.stdout
    said = LOGIN.sub("****@", done.stderr)
    remedy = "Does the controller reach the package index?"
    if "no matching distribution" in said.lower():
        remedy = (
            "Either the index was not reached, or there is no wheel for the host's Python or processor: lock a version "
            "that has one."
        )
    if "do not match the hashes" in said.lower():
        remedy = "A package is not the one that was locked: compile the lock again."
    raise InputError(f"packages: {what}. {remedy} It says:\n{last_lines(said)}")


def _is_right(house: Path, hashes: set[tuple[str, ...]], count: int) -> bool:
    """Whether a wheelhouse is there, with as many wheels as the lock names packages, and only such as it names."""
    files = list(house.glob("*.whl"))
    return len(files) == count and all(_digests(file) & hashes for file in files)


def _digests(file: Path) -> set[tuple[str, ...]]:
    content = file.read_bytes()
    return {(kind, hashlib.new(kind, content).hexdigest()) for kind in lockfile.STRONG}
