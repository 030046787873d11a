"""The releases on a host: unpack one, set owners and modes, remove old and incomplete ones."""

from __future__ import annotations

import contextlib
import json
import os
import shutil
import stat
import tarfile
from collections.abc import Iterable
from datetime import datetime
from pathlib import Path, PurePosixPath

from ansible_collections.wsgi.sites.plugins.module_utils.releases import fingerprint, public_files
from ansible_collections.wsgi.sites.plugins.module_utils.releases.fingerprint import COMPLETE
from ansible_collections.wsgi.sites.plugins.module_utils.site.paths import SLOTS, Layout, write_file
from ansible_collections.wsgi.sites.plugins.module_utils.system import trees

# Maximum depth of nested folders in code and packages.
DEEPEST = 128
# Readable by root only, since an old release's values may be secrets that were changed since.
ENVIRONMENT_MODE = 0o600
MANIFEST_MODE = 0o640


class UnpackError(Exception):
    """The payload has an entry that is not allowed in a release."""


def unpack(payload: tarfile.TarFile, prefix: str, destination: Path) -> None:
    """Unpack the entries under ``prefix`` of the payload: folders, files, and links that stay inside.

    Not by ``tarfile``'s data filter, which Debian 12's Python lacks, so that all hosts behave alike.
    """
    top = Path(os.path.realpath(destination))
    times: list[tuple[Path, float]] = []
    links: list[Path] = []
    for member in payload:
        name = PurePosixPath(member.name)
        if not name.parts or name.parts[0] != prefix:
            continue
        if name.is_absolute() or ".." in name.parts:
            raise UnpackError(f"{member.name!r} leads out of the release")
        if len(name.parts) > DEEPEST:
            raise UnpackError(f"{str(name)[:80]}…: folders are nested more than {DEEPEST} deep")
        path = destination.joinpath(*name.parts[1:])
        # The resolved parent: a link unpacked before must not lead elsewhere.
        parent = Path(os.path.realpath(path.parent))
        if name.parts[1:] and parent != top and top not in parent.parents:
            raise UnpackError(f"{member.name!r} leads out of the release")
        if member.isdir():
            path.mkdir(mode=0o700, parents=True, exist_ok=True)
        elif member.isfile():
            stream = payload.extractfile(member)
            if stream is None:
                raise UnpackError(f"{member.name!r} cannot be read")
            descriptor = os.open(path, os.O_WRONLY | os.O_CREAT | os.O_EXCL | os.O_NOFOLLOW, 0o600)
            with stream, os.fdopen(descriptor, "wb") as target:
                shutil.copyfileobj(stream, target)
                os.fchmod(target.fileno(), 0o700 if member.mode & 0o100 else 0o600)
            # nginx derives ETags from a file's time and size, which must be the same on all hosts.
            times.append((path, member.mtime))
        elif member.issym():
            path.symlink_to(member.linkname)
            links.append(path)
        else:
            raise UnpackError(f"{member.name!r} is neither a file, a folder nor a link")
    # At the end, when all links that a link may lead through exist.
    for path in links:
        end = Path(os.path.realpath(path))
        if path.readlink().is_absolute() or (end != top and top not in end.parents):
            raise UnpackError(f"the link {path.relative_to(destination)} leads out of the release")
    for path, mtime in times:
        os.utime(path, (mtime, mtime))


def own(path: Path, gid: int, mode: int | None = None) -> None:
    """Set root and a group as owners; without effect in unit tests that are not root."""
    if os.geteuid() == 0:
        os.chown(path, 0, gid, follow_symlinks=False)
    if mode is not None:
        path.chmod(mode)


def set_modes(app: Path, gid: int, public: Iterable[str]) -> None:
    """Give the code to root and the site's group; only ``public`` folders (of aliases) are readable by nginx too.

    Other users can pass through folders to public ones below, but can neither list them nor read code.
    """
    top = os.path.realpath(app)
    doors = [os.path.realpath(app / name) for name in public]
    doors = [door for door in doors if door == top or door.startswith(top + os.sep)]

    def is_public(path: str) -> bool:
        return any(path == door or path.startswith(door + os.sep) for door in doors)

    for folder, directories, files in trees.walk(app):
        own(Path(folder), gid, 0o755 if is_public(os.path.realpath(folder)) else 0o751)
        for name in directories + files:
            path = Path(folder, name)
            status = path.lstat()
            if stat.S_ISLNK(status.st_mode):
                own(path, gid)
            elif stat.S_ISREG(status.st_mode):
                mode = 0o644 if is_public(os.path.realpath(path)) else 0o640
                if status.st_mode & 0o100:
                    mode |= (mode & 0o444) >> 2
                own(path, gid, mode)


def app_folders(public: Iterable[str]) -> list[str]:
    """The public folders of the code, relative to ``app/``."""
    paths = [PurePosixPath(folder) for folder in public]
    return [str(PurePosixPath(*path.parts[1:])) for path in paths if path.parts[:1] == ("app",)]


def release_mode(public: Iterable[str]) -> int:
    """The mode of a release's folder: root and the site; others can pass through if nginx serves parts of it."""
    served = {PurePosixPath(folder).parts[:1] for folder in public}
    return 0o751 if served & {("app",), ("packages",)} else 0o750


def public_package_folders(release: Path, public: Iterable[str]) -> list[str]:
    """The public folders of packages, without links."""
    top = os.path.realpath(release / "venv")
    folders = [folder for folder in public if PurePosixPath(folder).parts[:1] == ("packages",)]
    doors = [os.path.realpath(release / folder) for folder in folders]
    return [door for door in doors if door == top or door.startswith(top + os.sep)]


def venv_mode(release: Path, public: Iterable[str]) -> int:
    """The mode of the venv's folder."""
    return 0o751 if public_package_folders(release, public) else 0o750


def set_venv_modes(release: Path, gid: int, public: Iterable[str]) -> None:
    """Give the packages to root and the site's group; public folders are readable by nginx too.

    Files are hard links shared with uv's cache and other sites' packages, and readable by all; folders keep other users
    out. Files in folders above a public one are replaced by private copies.
    """
    top, doors = os.path.realpath(release / "venv"), public_package_folders(release, public)
    for folder, _, files in trees.walk(top):
        is_public = any(folder == door or folder.startswith(door + os.sep) for door in doors)
        leads = not is_public and any(door.startswith(folder + os.sep) for door in doors)
        if leads:
            for name in files:
                _part(Path(folder, name), gid)
        if folder != top:
            own(Path(folder), gid, 0o755 if is_public else 0o751 if leads else 0o750)
    # Last, since it marks the rest as done.
    own(Path(top), gid, venv_mode(release, public))


def _part(path: Path, gid: int) -> None:
    """Make a file readable by root and the site only, as a copy, without changing its other hard links."""
    info = path.lstat()
    if not stat.S_ISREG(info.st_mode):
        return
    if info.st_nlink > 1:
        copy = path.with_name(f".{path.name}.new")
        copy.unlink(missing_ok=True)
        descriptor = os.open(copy, os.O_WRONLY | os.O_CREAT | os.O_EXCL | os.O_NOFOLLOW, 0o600)
        with path.open("rb") as stream, os.fdopen(descriptor, "wb") as target:
            shutil.copyfileobj(stream, target)
        os.utime(copy, ns=(info.st_atime_ns, info.st_mtime_ns))
        os.replace(copy, path)
    own(path, gid, 0o750 if info.st_mode & 0o100 else 0o640)


def check_depth(folder: Path) -> None:
    """Refuse packages with too deeply nested folders."""
    top = len(folder.parts)
    for path, directories, _ in trees.walk(folder):
        if directories and len(Path(path).parts) - top >= DEEPEST:
            raise UnpackError(f"a package has folders that are nested more than {DEEPEST} deep; leave it out")


def correct_modes(layout: Layout, gid: int, check_mode: bool = False) -> list[str]:
    """Correct owners and modes of releases of older versions of the collection; returns the corrected ones."""
    wrong = [name for name in complete(layout) if not _modes_are_right(layout, name, gid)]
    for name in () if check_mode else wrong:
        _correct(layout, name, gid)
    return wrong


def _modes_are_right(layout: Layout, name: str, gid: int) -> bool:
    release, public = layout.release(name), public_files.folders(layout.manifest(name))
    wanted = {
        release: (gid, 0o751 if public is None else release_mode(public)),
        release / "release.json": (gid, MANIFEST_MODE),
        release / "environment": (0, ENVIRONMENT_MODE),
    }
    if public is not None:
        wanted[release / "venv"] = (gid, venv_mode(release, public))
    for path, right in wanted.items():
        try:
            info = path.lstat()
        except OSError:
            continue  # reported by the check of completeness
        if (info.st_gid, stat.S_IMODE(info.st_mode)) != right and not stat.S_ISLNK(info.st_mode):
            return False
    return True


def _correct(layout: Layout, name: str, gid: int) -> None:
    release, public = layout.release(name), public_files.folders(layout.manifest(name))
    found = fingerprint.read(release)
    try:
        damage = fingerprint.damage(release)
    except (OSError, KeyError):
        damage = "packages"
    if public is not None and (release / "venv").is_dir():
        set_venv_modes(release, gid, public)
    for file, group, mode in (("environment", 0, ENVIRONMENT_MODE), ("release.json", gid, MANIFEST_MODE)):
        with contextlib.suppress(FileNotFoundError):
            trees.own(release / file, 0, group, mode)
    # A release that was changed on the host must not get a new fingerprint.
    if found and damage != "packages":
        found["venv"] = fingerprint.venv_digest(release / "venv")
        if not damage:
            found["tree"] = fingerprint.tree_digest(release)
        write_file(release / fingerprint.FILE, json.dumps(found), 0o600)
    own(release, gid, 0o751 if public is None else release_mode(public))


def complete(layout: Layout) -> list[str]:
    """The IDs of complete releases, oldest first (an ID begins with its time)."""
    if not layout.releases.is_dir():
        return []
    return sorted(entry.name for entry in layout.releases.iterdir() if (entry / COMPLETE).is_file())


def in_use(layout: Layout) -> set[str]:
    """Releases that must stay: those in a slot, and the previous one."""
    try:
        previous = layout.previous.read_text(encoding="utf-8").strip()
    except OSError:
        previous = ""
    return {release for release in (previous, *map(layout.release_in, SLOTS)) if release}


def new_id(layout: Layout, code: str, now: datetime) -> str:
    """A new ID such as ``20261121T031500Z-1a2b3c4d``: the time and a hash of the code."""
    wanted = f"{now:%Y%m%dT%H%M%SZ}-{code[:8]}"
    number, release_id = 1, wanted
    while layout.release(release_id).exists():
        number += 1
        release_id = f"{wanted}-{number}"
    return release_id


def remove(release: Path) -> None:
    """Remove a release. Its mark goes first, so that an interrupted removal leaves an incomplete release."""
    (release / COMPLETE).unlink(missing_ok=True)
    trees.remove(release)


def remove_half_built(layout: Layout) -> list[str]:
    """Remove leftovers of an interrupted run, but never a release in a slot."""
    if not layout.releases.is_dir():
        return []
    keep = {*complete(layout), *in_use(layout)}
    gone = sorted(entry.name for entry in layout.releases.iterdir() if entry.is_dir() and entry.name not in keep)
    for name in gone:
        remove(layout.release(name))
    return gone


def prune(layout: Layout, keep: int, new: str) -> list[str]:
    """Remove the oldest releases beyond the ``keep`` newest; never the new one, one in a slot, or the previous one."""
    names = complete(layout)
    stay = {*names[-max(keep, 1) :], *in_use(layout), new}
    gone = [name for name in names if name not in stay]
    for name in gone:
        remove(layout.release(name))
    return gone
