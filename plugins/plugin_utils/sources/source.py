"""Provides a site's source as a folder on the controller, the same for every host of a run."""

from __future__ import annotations

import os
import re
import shutil
from collections.abc import Mapping
from pathlib import Path
from typing import Any

from ansible_collections.wsgi.sites.plugins.plugin_utils.sources import InputError, archive_fetch, archive_unpack
from ansible_collections.wsgi.sites.plugins.plugin_utils.sources.cache import name_of, once, private
from ansible_collections.wsgi.sites.plugins.plugin_utils.sources.git import COMMIT, Repository
from ansible_collections.wsgi.sites.plugins.plugin_utils.sources.git_urls import usable
from ansible_collections.wsgi.sites.plugins.plugin_utils.sources.urls import clean_url

KINDS = ("path", "git", "archive")


def source_folder(source: object, project: Path, run: Path, cache: Path) -> tuple[Path, str]:
    """Fetch the source; returns its folder on the controller, and a description without logins.

    A repository or an archive is fetched once for all hosts of a run, which all get the same commit, even if its branch
    moved meanwhile.

    :param source: the site's ``source``
    :param project: what paths are relative to
    :param run: a folder that belongs to this run alone
    :param cache: a folder that outlives runs
    :raises InputError: with the problem and the remedy
    """
    if not isinstance(source, Mapping) or not all(isinstance(value, str) for value in source.values()):
        raise InputError("source: must be {path: FOLDER}, {git: URL, version: …} or {archive: …, sha256: …}")
    given = {key: value for key, value in source.items() if value}
    kinds = [kind for kind in KINDS if kind in given]
    if len(kinds) != 1:
        raise InputError(f"source: give exactly one of path, git and archive; there are {', '.join(kinds) or 'none'}")
    if kinds == ["path"]:
        folder = Path(os.path.normpath(project / Path(given["path"]).expanduser()))
        if not folder.is_dir():
            raise InputError(f"source: there is no folder {folder} on the controller; correct source.path")
        return folder, f"folder {given['path']}"
    private(cache)
    make = _from_git if kinds == ["git"] else _from_archive
    name = name_of(given)
    words = once(run / "sources", name, lambda: make(given, project, run / "sources" / name, cache))
    return run / "sources" / name, words


def _from_git(source: Mapping[str, Any], project: Path, folder: Path, cache: Path) -> str:
    url, version = source["git"], source.get("version", "")
    if not usable(url):
        raise InputError("source.git: give a URL (https, ssh, file), or USER@HOST:PATH")
    if not version or version.startswith("-"):
        raise InputError("source.version: give the tag, branch or commit")
    key = None
    if source.get("key"):
        key = Path(os.path.normpath(project / Path(source["key"]).expanduser()))
        if not key.is_file():
            raise InputError(f"source.key: there is no file {key} on the controller; put the deploy key there")
        if key.stat().st_mode & 0o077:
            raise InputError(f"source.key: others can read it, so ssh will not use it: chmod 600 {key}")
    if re.match(r"(http|git)://", url, re.IGNORECASE) and not COMMIT.fullmatch(version):
        raise InputError(
            f"source.version: {clean_url(url)} is fetched over an unprotected connection; give the full "
            "hash of a commit, or use https or ssh"
        )
    repository = Repository(url, key, cache)
    commit = repository.commit_of(version)
    _empty(folder)
    repository.write(commit, folder, source.get("subfolder", ""))
    named = "" if COMMIT.fullmatch(version) else f" {version}"
    return f"git {clean_url(url)}{named} ({commit}){_below(source)}"


def _from_archive(source: Mapping[str, Any], project: Path, folder: Path, cache: Path) -> str:
    if not source.get("sha256"):
        raise InputError("source.sha256: is missing; give what `sha256sum` says of the archive")
    with archive_fetch.fetch(source["archive"], source["sha256"], project, cache) as opened:
        _empty(folder)
        archive_unpack.unpack(opened, folder, source.get("subfolder", ""))
    return f"archive {clean_url(source['archive'])} (sha256 {source['sha256'].lower()}){_below(source)}"


def _empty(folder: Path) -> None:
    """Create an empty folder, removing leftovers of a killed run."""
    shutil.rmtree(folder, ignore_errors=True)
    folder.mkdir(mode=0o700)


def _below(source: Mapping[str, Any]) -> str:
    return f", folder {source['subfolder']}" if source.get("subfolder") else ""
