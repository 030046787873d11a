"""A source in a git repository: resolves the commit, fetches it, and writes its files as committed.

git's checkout is not used, since filters, line endings and attributes would make it differ between controllers.
"""

from __future__ import annotations

import difflib
import hashlib
import os
import re
from collections.abc import Iterable
from dataclasses import dataclass, field
from functools import cached_property
from pathlib import Path
from urllib.parse import unquote, urlsplit

from ansible_collections.wsgi.sites.plugins.plugin_utils.sources import InputError, git_objects
from ansible_collections.wsgi.sites.plugins.plugin_utils.sources.cache import discard, locked, name_of, secret_name
from ansible_collections.wsgi.sites.plugins.plugin_utils.sources.git_environment import environment, settings
from ansible_collections.wsgi.sites.plugins.plugin_utils.sources.git_process import explain, run
from ansible_collections.wsgi.sites.plugins.plugin_utils.sources.git_submodules import submodule
from ansible_collections.wsgi.sites.plugins.plugin_utils.sources.git_urls import address
from ansible_collections.wsgi.sites.plugins.plugin_utils.sources.limits import Bounds
from ansible_collections.wsgi.sites.plugins.plugin_utils.sources.local_repository import check_repository
from ansible_collections.wsgi.sites.plugins.plugin_utils.sources.tree import write
from ansible_collections.wsgi.sites.plugins.plugin_utils.sources.urls import clean_url, is_url, login

COMMIT = re.compile(r"[0-9a-f]{40}|[0-9a-f]{64}")
SHORT_COMMIT = re.compile(r"[0-9a-f]{7,39}")
SUBMODULES_DEEP = 5
# The number of caches per URL that stay, the most recently used ones.
KEEP = 10


@dataclass(frozen=True)
class Repository:
    """One repository, and its cache folder for one login or key.

    Each login has its own cache, since another login may have no access to a cached commit.

    :param url: as in the site config, with its login
    :param key: the only SSH key to offer, or None for the operator's own keys
    :param cache: folder on the controller in which every repository has its own
    :param holder: the folder of this machine that a repository in it, and its submodules, must not lead out of
    :param used: the source's usage of its limits so far
    """

    url: str
    key: Path | None
    cache: Path
    holder: Path | None = None
    used: Bounds = field(default_factory=Bounds, compare=False)

    @cached_property
    def folder(self) -> Path:
        place = self.cache / "git"
        return place / f"{name_of(clean_url(self.url))}-{secret_name(self.cache, self._credentials)}"

    @property
    def _credentials(self) -> list[str]:
        """The credentials, which determine what the server allows."""
        key = hashlib.sha256(self.key.read_bytes()).hexdigest() if self.key else ""
        parts = urlsplit(self.url) if is_url(self.url) else urlsplit("")
        return [part for part in (*login(self.url), parts.query, key) if part]

    @property
    def is_local(self) -> bool:
        return self.url.startswith("file:")

    @property
    def place(self) -> Path:
        """Where a repository of this machine lies."""
        return Path(os.path.normpath(unquote(urlsplit(self.url).path)))

    def environment(self) -> dict[str, str]:
        """The whole environment of git."""
        return environment(self.url, self.key, self.folder / "settings")

    def git(self, *arguments: str, check: bool = True) -> bytes | None:
        """Run git and return its output; None if it fails with ``check=False``.

        :raises InputError: with git's message and a remedy
        """
        status, out, errors = self.run(arguments)
        if status == 0:
            return out
        if not check:
            return None
        raise InputError(explain(errors.decode(errors="replace"), self.url))

    def run(self, arguments: Iterable[str], cut: bool = False) -> tuple[int, bytes, bytes]:
        """Run git: see :func:`git_process.run`."""
        return run(arguments, self.folder / "repository", self.environment(), self.url, cut)

    # --- Which commit -------------------------------------------------------------------------------------------------

    def commit_of(self, version: str) -> str:
        """Resolve a tag, branch or commit to a full hash, and fetch the commit to the cache.

        A full hash that was fetched before needs no network.
        """
        if self.is_local:
            check_repository(self.place, self.holder or self.place.parent)
        with locked(self.folder / "lock"):
            self._prepare()
            if COMMIT.fullmatch(version):
                self._need(version)
                return version
            refs = self._remote_refs()
            for name in (f"refs/tags/{version}", f"refs/heads/{version}"):
                if name in refs:
                    self._need(refs[name])
                    return refs[name]
            if SHORT_COMMIT.fullmatch(version):
                self._fetch_all()
                found = self.git("rev-parse", "--verify", "--quiet", f"{version}^{{commit}}", check=False)
                if found:
                    return found.decode().strip()
        raise InputError(
            f"source.version: {clean_url(self.url)} has no such tag, branch or commit; {near(version, refs)}"
        )

    def _prepare(self) -> None:
        """Create the repository, and remove locks of a killed run that block git."""
        os.utime(self.folder)
        others = self.folder.parent.glob(f"{self.folder.name.partition('-')[0]}*")
        # A folder without a login in its name is of an earlier layout with one cache for all logins.
        discard((path for path in others if "-" in path.name), KEEP)
        discard((path for path in self.folder.parent.iterdir() if re.fullmatch(r"[0-9a-f]{32}", path.name)), 0)
        (self.folder / "settings").write_text(settings(self.is_local), encoding="utf-8")
        repository = self.folder / "repository"
        if not all((repository / name).exists() for name in ("HEAD", "config", "objects", "refs")):
            self.git("init", "--quiet", "--bare", "--template=")
        # No other process works here, because of our own lock.
        for stale in repository.rglob("*.lock"):
            stale.unlink(missing_ok=True)

    def _remote_refs(self) -> dict[str, str]:
        """The repository's present branches and tags → commits."""
        listed = (self.git("ls-remote", "--heads", "--tags", "--", address(self.url)) or b"").decode(errors="replace")
        refs: dict[str, str] = {}
        for line in sorted(listed.splitlines(), key=lambda line: line.endswith("^{}")):
            commit, _, name = line.partition("\t")
            # An annotated tag is a separate object; the entry with ^{} has its commit.
            refs[name.removesuffix("^{}")] = commit
        return refs

    def _need(self, commit: str) -> None:
        """Fetch a commit with its history, unless it is here."""
        if self._has(commit):
            return
        # By its hash, since a name may have moved meanwhile. Older servers support only names.
        if self._fetch(f"+{commit}:refs/fetched/{commit}", check=False) is None:
            self._fetch_all()
        if not self._has(commit):
            raise InputError(
                f"source.version: {clean_url(self.url)} has no commit {commit} on any branch or tag; push it, or name "
                "another one"
            )

    def _fetch_all(self) -> None:
        # A branch `a` may have been replaced by `a/b`, and both cannot exist together.
        self._fetch("+refs/heads/*:refs/all/heads/*", "+refs/tags/*:refs/all/tags/*", prune=True)

    def _fetch(self, *refs: str, check: bool = True, prune: bool = False) -> bytes | None:
        options = ["--quiet", "--no-tags", "--no-write-fetch-head", *(["--prune"] if prune else [])]
        return self.git("fetch", *options, "--", address(self.url), *refs, check=check)

    def _has(self, commit: str) -> bool:
        """Whether a commit is completely in the cache: git writes a ref only after a complete fetch."""
        return bool(self.git("for-each-ref", "--count=1", "--contains", commit, check=False))

    # --- Its files ----------------------------------------------------------------------------------------------------

    def write(self, commit: str, folder: Path, subfolder: str = "", depth: int = 0) -> None:
        """Write the files of a commit, or of one folder of it, and of its submodules.

        :raises InputError: if there is no such folder, or a submodule is not available
        """
        entries = git_objects.entries(self, commit)
        prefix = f"{subfolder.strip('/')}/" if subfolder else ""
        submodules = {path: entry.name for path, entry in entries.items() if entry.mode == "160000"}
        # The app itself may be a submodule, or be in one.
        for path, inner in submodules.items():
            if prefix.startswith(f"{path}/"):
                self._submodule(commit, path).write_at(inner, folder, prefix[len(path) + 1 : -1], depth + 1)
                return
        wanted = {path: entry for path, entry in entries.items() if path.startswith(prefix)}
        if not wanted:
            there = sorted({path.split("/")[0] for path in entries if "/" in path})
            raise InputError(f"source.subfolder: is not in this commit, which has {', '.join(there) or 'no folders'}")
        self.used.room(sum(entry.size for entry in wanted.values()))
        write(git_objects.items(self, commit, wanted, prefix), folder, self.used)
        for path, inner in submodules.items():
            if path.startswith(prefix):
                self._submodule(commit, path).write_at(inner, folder / path[len(prefix) :], "", depth + 1)

    def write_at(self, commit: str, folder: Path, subfolder: str, depth: int) -> None:
        """As :meth:`write`, for a submodule: its commit is not yet here."""
        if depth > SUBMODULES_DEEP:
            raise InputError(f"source.git: submodules lie in submodules, more than {SUBMODULES_DEEP} deep")
        self.used.submodule()
        self.commit_of(commit)
        folder.mkdir(parents=True, exist_ok=True)
        self.write(commit, folder, subfolder, depth)

    def _submodule(self, commit: str, path: str) -> Repository:
        """The repository of the submodule at a path."""
        url, key, holder = submodule(self, commit, path)
        return Repository(url, key, self.cache, holder, self.used)


def near(version: str, refs: Iterable[str]) -> str:
    """Similar existing names, as a hint."""
    names = sorted({name.split("/", 2)[2] for name in refs})
    bare = version.lower().removeprefix("v")
    # `v1.4` for `1.4`, or another case, ranks before difflib's matches.
    closest = [name for name in names if name.lower().removeprefix("v") == bare]
    closest += [name for name in difflib.get_close_matches(version, names, n=5, cutoff=0.5) if name not in closest]
    if closest:
        return f"the nearest are {', '.join(closest[:5])}"
    more = f" and {len(names) - 5} more" if len(names) > 5 else ""
    return f"it has {', '.join(names[-5:])}{more}" if names else "it is empty"
