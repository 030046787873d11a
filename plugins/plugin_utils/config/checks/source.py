"""The source of a site, and the lock in it."""

from __future__ import annotations

from pathlib import Path
from typing import Any

from ansible_collections.wsgi.sites.plugins.module_utils.packages import lockfile
from ansible_collections.wsgi.sites.plugins.plugin_utils.config.reading import BROKEN, Reading
from ansible_collections.wsgi.sites.plugins.plugin_utils.config.rules.paths import inside
from ansible_collections.wsgi.sites.plugins.plugin_utils.config.rules.source import needs_commit
from ansible_collections.wsgi.sites.plugins.plugin_utils.places import PROJECT

# The kinds of sources; and keys for one kind only: which kind, and the remedy if the key is required.
SOURCES = ("path", "git", "archive")
SOURCE_PARTS = {
    "version": ("git", "give the tag, branch or commit that is to be live"),
    "key": ("git", ""),
    "sha256": ("archive", "give what `sha256sum` says of the archive"),
}


def check_source(config: Reading, name: str, site: dict[str, Any]) -> None:
    """There is one source, with the keys of its kind."""
    source = site["source"]
    if any(value is BROKEN for value in source.values()):
        return
    given = [kind for kind in SOURCES if source.get(kind)]
    if not given:
        config.report(f"{name}.source", "is missing; give one of path (such as app), git or archive")
        return
    if len(given) > 1:
        config.report(f"{name}.source", f'has {" and ".join(given)}; give one of them, and set the other to: ""')
        return
    for key, (kind, needed) in SOURCE_PARTS.items():
        if kind in given and needed and not source.get(key):
            config.report(f"{name}.source.{key}", f"is missing; {needed}")
        elif kind not in given and source.get(key):
            config.report(f"{name}.source.{key}", f"belongs to a source of {kind}; leave it out")
    if given == ["git"] and source.get("version") and needs_commit(source["git"], source["version"]):
        config.report(
            f"{name}.source.version",
            "must be the full hash of a commit, since source.git comes over http or git, where a man in the middle "
            "can change the meaning of a name; give all its digits, or use https or ssh",
        )
    if given == ["path"]:
        if source.get("subfolder"):
            config.report(f"{name}.source.subfolder", "belongs to git or archive; name the folder in path")
        check_folder(config, name, site, PROJECT / Path(str(source["path"])).expanduser())
    for key in ("key", "archive"):
        path = str(source.get(key) or "")
        if path and "://" not in path and not (PROJECT / Path(path).expanduser()).is_file():
            config.report(f"{name}.source.{key}", "is no file on this machine; it is relative to the project's root")


def check_folder(config: Reading, name: str, site: dict[str, Any], folder: Path) -> None:
    """A source folder is there, holds no inventory, and has a usable lock."""
    if not folder.is_dir():
        config.report(f"{name}.source.path", "is no folder on this machine; it is relative to the project's root")
        return
    inventory = config.variables.get("inventory_dir")
    if inventory and Path(inventory).resolve().is_relative_to(folder.resolve()):
        config.report(f"{name}.source.path", "holds your inventory with its secrets; give the app's own folder")
    if not isinstance(site["requirements"], str) or inside(site["requirements"]):
        return
    try:
        lockfile.load(folder, site["requirements"])
    except lockfile.LockError as error:
        config.report(f"{name}.requirements", str(error))
