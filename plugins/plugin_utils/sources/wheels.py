"""The wheelhouse: every wheel of a lock for one kind of host, fetched once by the controller's pip.

uv cannot download without installing; pip can, also for another Python and platform. But pip would evaluate the lock's
markers for its own Python, so they are evaluated here, with the host's values.
"""

from __future__ import annotations

import glob
import hashlib
import importlib.util
import os
import re
import shutil
import subprocess
import sys
import tempfile
import time
from collections.abc import Mapping, Sequence
from dataclasses import replace
from pathlib import Path
from typing import Any

from packaging.markers import InvalidMarker, Marker, UndefinedComparison, UndefinedEnvironmentName

from ansible_collections.wsgi.sites.plugins.module_utils.packages import pip, uv_lock
from ansible_collections.wsgi.sites.plugins.module_utils.packages.lock import Lock, LockError
from ansible_collections.wsgi.sites.plugins.module_utils.packages.package_line import STRONG
from ansible_collections.wsgi.sites.plugins.module_utils.packages.requirements_file import parse
from ansible_collections.wsgi.sites.plugins.plugin_utils.sources import InputError
from ansible_collections.wsgi.sites.plugins.plugin_utils.sources.cache import forget, locked, name_of
from ansible_collections.wsgi.sites.plugins.plugin_utils.sources.urls import last_lines

PATIENCE = 1800
# Wheelhouses that stay in the cache, the latest used ones.
KEEP = 10
# The oldest glibc that wheels are tagged for.
OLDEST_GLIBC = 5
DEBIAN_PIP = "/usr/share/python-wheels/pip-*.whl"
LOGIN = re.compile(r"(?<=://)[^/\s]+@")


def collect(locks: Sequence[Lock], target: Mapping[str, Any], index: str, cache: Path) -> list[Path]:
    """The wheels of these locks for a host, from the cache if it is complete.

    :param target: the host's own values: ``{"markers": {name: value}, "platform": "linux-x86_64",
        "libc": ["glibc", "2.36"]}``
    :param index: URL of a package index that replaces pip's; it may contain a login
    :raises InputError: if one is not available
    """
    check_target(target)
    wanted = [pinned(lock, target["markers"]) for lock in locks]
    packages = {line for part in wanted for line in part}
    hashes = {tuple(value.split(":")) for line in packages for value in re.findall(r"--hash=(\S+)", line)}
    count = len({line.split()[0] for line in packages})
    tags = tags_of(target)
    house = cache / "wheels" / name_of(wanted, tags)
    with locked(house.with_name(f"{house.name}.lock")):
        if not _is_right(house, hashes, count):
            _download(wanted, locks, tags, index, house)
            if not _is_right(house, hashes, count):
                raise InputError("packages: pip brought other files than the lock names; run again")
        os.utime(house)
    forget((path for path in house.parent.iterdir() if path.is_dir() and not path.name.startswith(".")), KEEP)
    return sorted(house.glob("*.whl"))


def pinned(lock: Lock, markers: Mapping[str, str]) -> list[str]:
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


def check_target(target: Mapping[str, Any]) -> None:
    """Refuse implausible values of the host, since they become arguments of pip.

    :raises InputError: naming the part
    """
    markers, libc = target.get("markers"), target.get("libc")
    fits = {
        "platform": re.fullmatch(r"linux-[a-z0-9_]{1,32}", str(target.get("platform"))),
        "markers": isinstance(markers, Mapping)
        and all(isinstance(text, str) and len(text) < 300 for pair in markers.items() for text in pair)
        and re.fullmatch(r"3\.\d{1,3}", str(markers.get("python_version"))),
        "libc": isinstance(libc, Sequence)
        and len(libc) == 2
        and re.fullmatch(r"glibc 2(\.\d{1,3}){1,2}|(?!glibc)[a-z]{0,16} [\d.]{0,16}", " ".join(map(str, libc))),
    }
    if wrong := [part for part, right in fits.items() if not right]:
        raise InputError(
            f"packages: the host says of itself what no host can ({wrong[0]}), so no wheels are chosen for it. Look at "
            "that host: its Python is not the system's, or it is compromised"
        )


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


def export(folder: Path, requirements: str, place: Path) -> Lock:
    """What uv.lock locks, by the controller's uv; the host exports it again by itself.

    :param place: a folder of the operator's alone, to work in
    :raises InputError: if there is no uv
    """
    uv = shutil.which("uv", path=f"{Path(sys.executable).parent}{os.pathsep}{os.environ.get('PATH', '')}")
    if uv is None:
        raise InputError(
            "packages: a wheelhouse for a uv.lock needs uv on the controller. Start the run with bin/site, which has "
            f"it; or install it: {sys.executable} -m pip install uv"
        )
    place.mkdir(mode=0o700, parents=True, exist_ok=True)
    # In a folder whose parents no other user can write to, since uv searches for workspaces up to the root.
    with tempfile.TemporaryDirectory(prefix=".uv-", dir=place) as home:
        environment = pip.base_environment(home) | {
            "UV_NO_CONFIG": "true",
            "UV_PYTHON_DOWNLOADS": "never",
            "UV_NO_CACHE": "1",
        }
        try:
            project = uv_lock.copy_project(folder, requirements, Path(home, "project"))
        except LockError as error:
            raise InputError(f"requirements: {error}") from None
        text = _run([uv, *uv_lock.EXPORT, "--project", str(project)], environment, "uv.lock cannot be read", home)
    try:
        return parse(text)
    except LockError as error:
        raise InputError(f"requirements: {requirements}, as `uv export` writes it: {error}") from None


def operators_pip() -> dict[str, str]:
    """The operator's pip settings by option, with pip's order of precedence.

    :raises InputError: if pip does not start
    """
    text = _run([*_pip(), "config", "list"], os.environ, "pip's settings cannot be read", "/")
    return pip.read_settings(text)


def _download(
    wanted: Sequence[list[str]], locks: Sequence[Lock], tags: Mapping[str, Any], index: str, house: Path
) -> None:
    house.parent.mkdir(mode=0o700, parents=True, exist_ok=True)
    for old in house.parent.glob(".new-*"):
        # Left by a killed run; it may contain an index's login.
        if old.stat().st_mtime < time.time() - 2 * PATIENCE:
            shutil.rmtree(old, ignore_errors=True)
    settings = operators_pip()
    options = pip.where(locks, index, settings)
    with tempfile.TemporaryDirectory(prefix=".new-", dir=house.parent) as temporary:
        folder = Path(temporary, "wheels")
        folder.mkdir()
        lock = Path(temporary, "lock.txt")
        environment = pip.environment(temporary, settings)
        command = [*_pip(), "download", "--quiet", "--no-deps", "--require-hashes", "--only-binary", ":all:"]
        command += ["--implementation", "cp", "--python-version", tags["python"], "--dest", str(folder)]
        command += [f"--platform={platform}" for platform in tags["platforms"]]
        # One lock at a time: conflicts between them are reported on the host, as without a wheelhouse.
        for lines in filter(None, wanted):
            lock.touch(0o600)
            lock.write_text("\n".join([*options, *lines]) + "\n", encoding="utf-8")
            _run([*command, "--requirement", str(lock)], environment, "the wheels cannot be collected", temporary)
        shutil.rmtree(house, ignore_errors=True)
        folder.rename(house)


def _pip() -> list[str]:
    """Start pip by its path, since Python's module search depends on HOME and the environment."""
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
    """Whether a wheelhouse has exactly one wheel for each package of the lock."""
    files = list(house.glob("*.whl"))
    return len(files) == count and all(_digests(file) & hashes for file in files)


def _digests(file: Path) -> set[tuple[str, ...]]:
    content = file.read_bytes()
    return {(kind, hashlib.new(kind, content).hexdigest()) for kind in STRONG}
