"""The fingerprint of a release: the inputs that it was made from, and whether its files are unchanged."""

from __future__ import annotations

import hashlib
import json
import os
import stat
from collections.abc import Mapping
from pathlib import Path

from ansible_collections.wsgi.sites.plugins.module_utils.system import trees

FILE = ".fingerprint"
COMPLETE = ".complete"
# The parts, in the order in which a reason lists them.
WORDS = {
    "code": "code",
    "requirements": "requirements",
    "config": "server config",
    "environment": "environment",
}


def tree_digest(release: Path) -> str:
    """Digest of all files of a release but the venv: names, contents, owners and modes."""
    digest = hashlib.sha256()
    for path in _walk(release, skip={release / "venv", release / FILE, release / COMPLETE}):
        status = path.lstat()
        line = [str(path.relative_to(release)), status.st_mode, status.st_uid, status.st_gid]
        if stat.S_ISLNK(status.st_mode):
            line.append(str(path.readlink()))
        elif stat.S_ISREG(status.st_mode):
            line.append(hashlib.sha256(path.read_bytes()).hexdigest())
        digest.update(os.fsencode(repr(line)))
    return digest.hexdigest()


def venv_digest(venv: Path) -> str:
    """Digest of a venv by names, sizes, times and modes.

    Without contents, since each run would read thousands of files. An edit in place changes the time, also of a file
    that is a hard link into uv's cache.
    """
    digest = hashlib.sha256()
    for path in _walk(venv):
        status = path.lstat()
        line = [str(path.relative_to(venv)), status.st_mode, status.st_uid]
        if stat.S_ISLNK(status.st_mode):
            line.append(str(path.readlink()))
        elif stat.S_ISREG(status.st_mode):
            line += [status.st_size, status.st_mtime_ns]
        digest.update(os.fsencode(repr(line)))
    return digest.hexdigest()


def _walk(top: Path, skip: set[Path] | None = None) -> list[Path]:
    """Every path under ``top``, folders too, in a fixed order; links are not followed."""
    found: list[Path] = []
    for folder, directories, files in trees.walk(top):
        here = Path(folder)
        directories[:] = [name for name in directories if not skip or here / name not in skip]
        found += [here / name for name in directories + files if not skip or here / name not in skip]
    return sorted(found)


def record(release: Path, parts: Mapping[str, str]) -> str:
    """The content of ``.fingerprint`` for a complete release."""
    return json.dumps({"parts": dict(parts), "tree": tree_digest(release), "venv": venv_digest(release / "venv")})


def read(release: Path) -> dict:
    """Read ``.fingerprint``; empty if the release is incomplete or the file is damaged."""
    if not (release / COMPLETE).is_file():
        return {}
    try:
        found = json.loads((release / FILE).read_text(encoding="utf-8"))
    except (OSError, ValueError):
        return {}
    return found if isinstance(found, dict) and isinstance(found.get("parts"), dict) else {}


def difference(wanted: Mapping[str, str], found: Mapping[str, str]) -> str:
    """The differing parts as text, such as ``code and environment changed``; empty if none differs."""
    changed = [word for part, word in WORDS.items() if wanted.get(part) != found.get(part)]
    reasons = []
    if changed:
        reasons.append(" and ".join(filter(None, [", ".join(changed[:-1]), changed[-1]])) + " changed")
    if wanted.get("python") != found.get("python"):
        reasons.append(f"the host's Python is now {wanted.get('python')} (was {found.get('python')})")
    return "; ".join(reasons)


def damage(release: Path) -> str:
    """What was changed in a complete release since its build: ``files``, ``packages`` or an empty text."""
    found = read(release)
    if not found:
        return "files"
    if found.get("venv") != venv_digest(release / "venv"):
        return "packages"
    return "" if found.get("tree") == tree_digest(release) else "files"
