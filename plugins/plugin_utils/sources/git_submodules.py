"""The URL and key of a submodule: the site's own key is used only for its own host."""

from __future__ import annotations

import contextlib
import os
import pwd
from pathlib import Path, PurePosixPath
from typing import TYPE_CHECKING, NamedTuple
from urllib.parse import unquote, urlsplit

from ansible_collections.wsgi.sites.plugins.plugin_utils.sources import InputError
from ansible_collections.wsgi.sites.plugins.plugin_utils.sources.git_urls import relative_to, ssh_target, usable

if TYPE_CHECKING:
    from ansible_collections.wsgi.sites.plugins.plugin_utils.sources.git import Repository


class Location(NamedTuple):
    """URL, SSH key, and for a repository of this machine the folder that it must not lead out of."""

    url: str
    key: Path | None
    holder: Path | None


def submodule(repository: Repository, commit: str, path: str) -> Location:
    """The repository of the submodule at a path, with this site's login or key, or without any."""
    listed = repository.git("config", "--no-includes", "--blob", f"{commit}:.gitmodules", "--list", "-z", check=False)
    settings = dict(entry.partition("\n")[::2] for entry in (listed or b"").decode(errors="replace").split("\0"))
    names = [key[len("submodule.") : -len(".path")] for key, value in settings.items()
             if key.startswith("submodule.") and key.endswith(".path") and value == path]  # fmt: skip
    url = settings.get(f"submodule.{names[0]}.url", "") if names else ""
    if not url:
        raise InputError(f"source.git: .gitmodules does not say where the submodule {path} lies; add it and commit")
    if names[0].startswith("-") or path.startswith("-") or ".." in PurePosixPath(names[0]).parts:
        raise InputError(f"source.git: the submodule {path!r} has a name that git would not take; rename it")
    whole = relative_to(repository.url, url)
    relative = url.startswith(("./", "../"))
    # A repository must not be able to add local files of this machine to a release.
    if not usable(whole) or (whole.startswith("file:") and not (relative and repository.is_local)):
        raise InputError(
            f"source.git: the submodule {path} has no URL that leads to a server; give it one, or, in a repository "
            "of this machine, one that begins with ./ or ../"
        )
    if whole.startswith("file:"):
        return Location(whole, None, _holder(repository, path, whole))
    return Location(whole, _key_for(repository, path, whole), None)


def _holder(repository: Repository, path: str, url: str) -> Path:
    """The parent folder of the site's repository, which must contain the submodule's repository too."""
    holder = Path(os.path.realpath(repository.holder or repository.place.parent))
    place = Path(os.path.realpath(unquote(urlsplit(url).path)))
    if holder not in place.parents:
        raise InputError(f"source.git: the submodule {path} leads out of {holder}, which holds the repository")
    for home in homes():
        if holder == home or holder in home.parents:
            raise InputError(
                f"source.git: the submodule {path} would be taken out of {holder}, where more than this app lies; "
                "put the repository and its submodules into a folder of their own"
            )
    return holder


def _key_for(repository: Repository, path: str, url: str) -> Path | None:
    """The key for a submodule: the site's own, only for its own host."""
    target = ssh_target(url)
    if target is None:
        return None
    own = ssh_target(repository.url) or ("", urlsplit(repository.url).hostname or "", "")
    if target[1] != own[1] or (ssh_target(repository.url) and target[2] != own[2]):
        raise InputError(
            f"source.git: the submodule {path} lies on another host, which this site's key is not shown; give it "
            "an https URL"
        )
    if repository.key is None:
        raise InputError(
            f"source.key: is needed for the submodule {path}, since git would fetch it with your own keys, "
            "whatever they open; name a key that may read both repositories"
        )
    return repository.key


def homes() -> set[Path]:
    """The home folder of the operator, also under sudo."""
    found = {os.environ.get("HOME", "/")}
    for user in (os.geteuid(), int(os.environ.get("SUDO_UID") or os.geteuid())):
        with contextlib.suppress(KeyError):
            found.add(pwd.getpwuid(user).pw_dir)
    return {Path(os.path.realpath(home)) for home in found} | {Path("/")}
