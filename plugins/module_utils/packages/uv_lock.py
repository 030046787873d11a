"""Safe export of uv.lock: refuse projects that lead ``uv export`` out of the source, and copy the files that it reads.

uv reads the project's own settings despite its options: sources, indexes, workspace members.
"""

from __future__ import annotations

import os
import tomllib
from collections.abc import Iterable, Iterator, Mapping
from pathlib import Path, PurePosixPath
from typing import Any

from ansible_collections.wsgi.sites.plugins.module_utils.packages.lock import LockError
from ansible_collections.wsgi.sites.plugins.module_utils.packages.lock_text import VARIABLE, read_bytes, read_text
from ansible_collections.wsgi.sites.plugins.module_utils.packages.package_line import normalize

NAME = "uv.lock"
# Only converts: resolves, fetches and runs nothing.
EXPORT = (
    "export", "--frozen", "--offline", "--no-dev", "--no-emit-project", "--no-header", "--no-annotate",
    "--format", "requirements-txt",
)  # fmt: skip


def names_in(content: bytes) -> set[str]:
    """The packages of a uv.lock by their normalized names."""
    lock = _toml(content.decode("utf-8", errors="replace"), NAME)
    return {normalize(str(package.get("name"))) for package in _tables(lock.get("package"))}


def check_project(folder: Path, requirements: str) -> list[str]:
    """Refuse a uv.lock or pyproject.toml that leads ``uv export`` out of the source.

    :param folder: the source's top
    :param requirements: the path of uv.lock below it
    :returns: the files that uv reads, relative to the source: uv.lock and every pyproject.toml
    """
    requirements = os.path.normpath(requirements)
    place = PurePosixPath(requirements).parent
    text = read_text(folder / requirements, requirements)
    lock = _toml(text, requirements)
    _no_variables(lock, text, requirements)
    for package in _tables(lock.get("package")):
        for kind, where in _mapping(package.get("source")).items():
            if kind in ("path", "directory", "editable", "virtual"):
                _inside(place, where, f"{requirements}: a package's source")
    found = sorted(_pyprojects(folder, place))
    for pyproject in found:
        _check_pyproject(folder, pyproject)
    return [requirements, *map(str, found)]


def copy_project(folder: Path, requirements: str, into: Path) -> Path:
    """Copy the files that ``uv export`` reads into an otherwise empty folder.

    :returns: the folder of uv.lock's copy
    :raises LockError: see :func:`check_project`
    """
    for name in check_project(folder, requirements):
        copy = into / name
        copy.parent.mkdir(mode=0o700, parents=True, exist_ok=True)
        copy.write_bytes(read_bytes(folder / name))
    return (into / os.path.normpath(requirements)).parent


def _pyprojects(folder: Path, place: PurePosixPath) -> set[PurePosixPath]:
    """The pyproject.toml beside the lock, those above it, and those of workspace members."""
    found = {parent / "pyproject.toml" for parent in (place, *place.parents)}
    found = {path for path in found if (folder / path).is_file()}
    for path in sorted(found):
        settings = _uv_settings(_toml(read_text(folder / path, str(path)), str(path)))
        for member in _texts(_mapping(settings.get("workspace")).get("members")):
            _inside(path.parent, member, f"{path}: tool.uv.workspace.members")
            matches = (folder / path.parent).glob(f"{member.rstrip('/')}/pyproject.toml")
            found |= {PurePosixPath(match.relative_to(folder).as_posix()) for match in matches}
    return found


def _check_pyproject(folder: Path, path: PurePosixPath) -> None:
    text = read_text(folder / path, str(path))
    content = _toml(text, str(path))
    settings = _uv_settings(content)
    _no_variables([content.get("project"), content.get("dependency-groups"), settings], text, str(path))
    workspace = _mapping(settings.get("workspace"))
    for key in ("members", "exclude"):
        for value in _texts(workspace.get(key)):
            _inside(path.parent, value, f"{path}: tool.uv.workspace.{key}")
    for name, sources in _mapping(settings.get("sources")).items():
        for source in sources if isinstance(sources, list) else [sources]:
            if "path" in _mapping(source):
                _inside(path.parent, source["path"], f"{path}: tool.uv.sources.{name}")
    for index in _tables(settings.get("index")):
        if "://" not in str(index.get("url")):
            _inside(path.parent, index.get("url"), f"{path}: tool.uv.index")


def _inside(place: PurePosixPath, value: object, where: str) -> None:
    """Refuse a path that leads out of the source."""
    steps: list[str] = []
    path = PurePosixPath(value) if isinstance(value, str) else PurePosixPath("/")
    for step in [*place.parts, *path.parts]:
        if step != "..":
            steps.append(step)
        elif steps:
            steps.pop()
        else:
            raise LockError(f"{where} leads out of the source; put it into the source, or take it from an index")
    if path.is_absolute() or "\\" in str(value) or str(value).startswith(("~", "file:")):
        raise LockError(f"{where} leads out of the source; put it into the source, or take it from an index")


def _no_variables(value: object, text: str, name: str) -> None:
    if any(VARIABLE in words for words in _all_texts(value)):
        number = next((at for at, line in enumerate(text.splitlines(), start=1) if VARIABLE in line), 0)
        raise LockError(
            f"{name}, line {number} names a variable (${{…}}), which would be expanded from the environment; write "
            "its value"
        )


def _all_texts(value: object) -> Iterator[str]:
    waiting = [value]
    while waiting:
        one = waiting.pop()
        if isinstance(one, str):
            yield one
        elif isinstance(one, Mapping):
            waiting += [*one.keys(), *one.values()]
        elif isinstance(one, list):
            waiting += one


def _toml(text: str, name: str) -> dict[str, Any]:
    try:
        return tomllib.loads(text)
    except (ValueError, RecursionError):
        raise LockError(f"{name} is not a valid TOML file; make it again with: uv lock") from None


def _uv_settings(content: Mapping[str, Any]) -> Mapping[str, Any]:
    return _mapping(_mapping(content.get("tool")).get("uv"))


def _mapping(value: object) -> Mapping[str, Any]:
    return value if isinstance(value, Mapping) else {}


def _tables(value: object) -> list[Mapping[str, Any]]:
    return [one for one in value if isinstance(one, Mapping)] if isinstance(value, list) else []


def _texts(value: object) -> Iterable[str]:
    return [one for one in value if isinstance(one, str)] if isinstance(value, list) else []
