"""The public files of a slot: those of its release, and hashed files of the previous release.

``slots/SLOT/public/`` contains hard links with the paths of the release (``app/static/…``), so that nginx reads one
folder and releases stay unchanged. A page that a client loaded before a switch, restart or rollback still finds files
with a content hash in their name; files with other names are replaced at once.
"""

from __future__ import annotations

import os
import re
import shutil
from collections.abc import Iterable, Iterator, Mapping
from pathlib import Path, PurePosixPath

from ansible_collections.wsgi.sites.plugins.module_utils.site.paths import Layout, replace_link
from ansible_collections.wsgi.sites.plugins.module_utils.system import trees

# Suffixes of compressed copies, which follow their file.
COMPRESSED = (".gz", ".br")


def folders(manifest: Mapping) -> list[str] | None:
    """The folders that nginx reads, relative to the release, from its ``release.json``; None if that has no such key.

    Releases from before 1.0.0 list aliases and error pages instead.
    """
    if isinstance(manifest.get("public"), list):
        return manifest["public"]
    compressed = manifest.get("packed")
    aliases = compressed.get("aliases") if isinstance(compressed, Mapping) else None
    return None if aliases is None else sorted({str(PurePosixPath(target)) for target in aliases.values()})


def publish(site: Layout, slot: str, check_mode: bool = False) -> bool:
    """Link files of the slot's release that its public folder lacks; returns whether it lacked any."""
    release, public = site.release_in(slot) or "", site.public(slot)
    found = files(site.release(release), folders(site.manifest(release)) or [])
    places = [(path, public / folder / name) for path, folder, name in found]
    missing = [(path, place) for path, place in places if not _is_there(path, place)]
    needed = bool(missing) or not public.is_dir()
    if needed and not check_mode:
        trees.make_folder(public)
        for path, place in missing:
            _link(path, place)
    return needed


def carry_over(site: Layout, slot: str) -> None:
    """Link hashed files of the live release that the slot's release lacks; for a restart, those of the live slot."""
    live = site.live_slot()
    if live is None or live == slot:
        return
    own, before = site.release_in(slot) or "", site.release_in(live) or ""
    if not site.public(live).is_dir():
        before = (site.before_in(live) or "") if before == own else before
        if before:  # Before 1.0.0, nginx's configuration finds these files by this link.
            replace_link(site.slot(slot) / "before", f"../../releases/{before}")
    # A slot's other files were carried over from an earlier release.
    top, hashed = (
        (site.public(live), r"(?s:.*)") if before == own else (site.release(before), _hashed(site, before, own))
    )
    for path, folder, name in files(top, folders(site.manifest(own)) or []):
        original = next((name.removesuffix(suffix) for suffix in COMPRESSED if name.endswith(suffix)), name)
        wanted = re.fullmatch(hashed, original) or re.fullmatch(hashed, name)
        if wanted and not os.path.lexists(site.release(own) / folder / original):
            _carry(path, site.public(slot) / folder / name, site.public(slot))


def _hashed(site: Layout, *releases: str) -> str:
    """The pattern of hashed names from the first release that has one; an empty one matches nothing."""
    patterns = (site.manifest(release).get("hashed_names") for release in releases)
    return next((pattern for pattern in patterns if pattern is not None), "") or r"(?!)"


def files(top: Path, names: Iterable[str]) -> Iterator[tuple[Path, str, str]]:
    """The files and links of the public folders, each with its folder and its name below it.

    Without hidden files, folders outside of code and packages, links that lead out of the public folders, and links to
    another public folder.
    """
    parts = [os.path.realpath(top / part) for part in ("app", "packages")]
    starts = {name: os.path.realpath(top / name) for name in names}
    starts = {name: start for name, start in starts.items() if any(_below(start, part) for part in parts)}
    for folder, start in starts.items():
        for directory, directories, plain in trees.walk(start):
            linked = [name for name in directories if os.path.islink(os.path.join(directory, name))]
            directories[:] = [name for name in directories if not name.startswith(".")]
            for path in (Path(directory, name) for name in linked + plain if not name.startswith(".")):
                name, end = os.path.relpath(path, start), os.path.realpath(path)
                if path.is_symlink():
                    is_public = any(_below(end, door) for door in starts.values())
                    wanted = is_public and not any(_below(other, f"{folder}/{name}") for other in starts)
                else:
                    wanted = path.is_file()
                if wanted:
                    yield path, folder, name


def _below(path: str, top: str) -> bool:
    return path == top or path.startswith(top + os.sep)


def _is_there(path: Path, place: Path) -> bool:
    """Whether the place has exactly this file, or the same link or folder."""
    if path.is_symlink() or not place.is_file():
        return os.path.lexists(place)
    here, there = path.stat(), place.stat()
    return os.path.samestat(here, there) or (here.st_size, here.st_mtime_ns) == (there.st_size, there.st_mtime_ns)


def _carry(path: Path, place: Path, public: Path) -> None:
    """Link a file of another release if its name is free, and no link on the path leads out of the folder."""
    free = not os.path.lexists(place) and all(
        parent.is_dir() or not os.path.lexists(parent) for parent in place.parents
    )
    if free and path.is_file() and not path.is_symlink() and _below(os.path.realpath(place), os.path.realpath(public)):
        _link(path, place)


def _link(path: Path, place: Path) -> None:
    """Make a hard link, or a copy where that fails (another filesystem, or too many links)."""
    trees.make_folder(place.parent)
    new = place.with_name(f".{place.name}.new")
    new.unlink(missing_ok=True)
    try:
        os.link(path, new, follow_symlinks=False)
    except OSError:
        shutil.copy2(path, new, follow_symlinks=False)
    os.replace(new, place)
