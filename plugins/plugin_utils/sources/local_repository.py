"""Checks a local repository for objects outside its folder.

git follows references to objects elsewhere (alternates). A repository of another user could so add another site's
files to a release.
"""

from __future__ import annotations

import os
from collections.abc import Iterator
from pathlib import Path

from ansible_collections.wsgi.sites.plugins.plugin_utils.sources import InputError

# As git itself: where it looks for a repository, how far alternates lead, and what it reads of a file with a path.
SUFFIXES = ("/.git", "", ".git/.git", ".git")
ALTERNATES_DEEP, LONGEST = 5, 65536


def check_repository(place: Path, holder: Path) -> None:
    """Refuse a repository that takes objects from outside the folder that holds it.

    :raises InputError: with the reference, its target and the remedy
    """
    found = next((path for suffix in SUFFIXES if (path := Path(f"{place}{suffix}")).exists() and _is_git(path)), None)
    if found is None:
        return  # git reports this itself
    allowed = [Path(os.path.realpath(holder))]
    common = _common(found, allowed)
    if common is None:
        raise InputError(f"source.git: {found} leads out of {allowed[0]}; name the repository itself")
    for path in _sources(common, allowed, 0):
        if not _below(path, allowed):
            raise InputError(
                f"source.git: {place} takes its objects from {path}, out of {allowed[0]}; make it whole: git -C "
                f"{place} repack -a -d, then remove objects/info/alternates from it"
            )


def _is_git(path: Path) -> bool:
    return path.is_file() if path.name == ".git" and not path.is_dir() else (path / "objects").is_dir()


def _below(path: Path, allowed: list[Path]) -> bool:
    real = Path(os.path.realpath(path))
    return any(folder in (real, *real.parents) for folder in allowed)


def _common(found: Path, allowed: list[Path]) -> Path | None:
    """The folder with the objects; None if a file leads to one that knows nothing of it."""
    admin = found
    if found.is_file():
        admin = Path(os.path.normpath(found.parent / _line(found).removeprefix("gitdir:").strip()))
        # A work tree of its own (`git worktree`) may lie anywhere: its repository says so itself.
        back = _line(admin / "gitdir")
        if not _below(admin, allowed) and (not back or os.path.realpath(back) != os.path.realpath(found)):
            return None
    common = Path(os.path.normpath(admin / _line(admin / "commondir"))) if (admin / "commondir").is_file() else admin
    if found.is_file() and common in admin.parents:
        allowed.append(Path(os.path.realpath(common)))
    return common


def _sources(repository: Path, allowed: list[Path], depth: int) -> Iterator[Path]:
    """All that is no part of a repository's own folder: links within it, and its alternates, with theirs."""
    yield repository
    objects = repository / "objects"
    yield objects
    for folder, folders, files in os.walk(objects):
        yield from (path for name in (*folders, *files) if (path := Path(folder, name)).is_symlink())
    for line in _text(objects / "info/alternates").splitlines():
        if line and not line.startswith("#") and depth < ALTERNATES_DEEP:
            other = Path(os.path.normpath(objects / line.strip('"')))
            yield other
            if _below(other, allowed):
                yield from _sources(other.parent, allowed, depth + 1)


def _text(path: Path) -> str:
    try:
        with path.open(encoding="utf-8", errors="surrogateescape") as stream:
            return stream.read(LONGEST)
    except OSError:
        return ""


def _line(path: Path) -> str:
    return _text(path).strip()
