"""The source in a git repository: find the commit, fetch it, and write its files as they were committed.

git's own checkout is not used: filters, line endings and attributes would make it differ between controllers.
"""

from __future__ import annotations

import difflib
import io
import os
import re
import shlex
import signal
import subprocess
from collections.abc import Iterable, Iterator
from dataclasses import dataclass
from pathlib import Path, PurePosixPath
from urllib.parse import urljoin, urlsplit

from release_inputs import InputError
from release_inputs.once import locked, name_of
from release_inputs.tree import Item, safe_name, write
from release_inputs.words import clean_url, is_url, last_lines, login, masked

# Seconds that one command may take, and that a server may take to be reached.
PATIENCE, CONNECT = 900, 20
COMMIT = re.compile(r"[0-9a-f]{40}")
SHORT_COMMIT = re.compile(r"[0-9a-f]{7,39}")
LFS = b"version https://git-lfs.github.com/spec/"
# How far back the time of a file's last change is looked for.
HISTORY = 10_000
SUBMODULES_DEEP = 5
# What would lead git to another repository than the one that is meant (it stands there when a hook starts a run), or
# make it tell more than an error's words.
NOT_INHERITED = re.compile(
    r"GIT_(DIR|WORK_TREE|INDEX_FILE|OBJECT_DIRECTORY|ALTERNATE_OBJECT_DIRECTORIES|COMMON_DIR|NAMESPACE|PREFIX"
    r"|QUARANTINE_PATH|TRACE\w*|CURL_VERBOSE|ASKPASS)|SSH_ASKPASS"
)
# Gives git the login of a URL for its own host alone, and keeps it out of arguments, which anyone can list with `ps`.
HELPER = '!f() { test "$1" = get && printf "username=%s\\npassword=%s\\n" "$SITES_GIT_USER" "$SITES_GIT_PASSWORD"; }; f'


@dataclass(frozen=True)
class Repository:
    """One repository, and the folder that keeps what was fetched of it.

    :param url: as the page gives it, login and all
    :param key: an SSH key that alone is offered, or None for whatever the operator's ssh offers
    :param cache: folder on the controller in which every repository has its own
    """

    url: str
    key: Path | None
    cache: Path

    @property
    def folder(self) -> Path:
        # Whoever changes a password does not want to fetch everything again.
        return self.cache / "git" / name_of(clean_url(self.url))

    @property
    def is_local(self) -> bool:
        return self.url.startswith("file:")

    def environment(self) -> dict[str, str]:
        """What git finds: the operator's own settings, no way to ask a question, and the login for this host."""
        values = {name: value for name, value in os.environ.items() if not NOT_INHERITED.fullmatch(name)}
        ssh = values.get("GIT_SSH_COMMAND", "ssh")
        ssh += f" -o BatchMode=yes -o ConnectTimeout={CONNECT} -o ServerAliveInterval=15"
        # Never a host that this machine does not know: the code that comes from there will run on every host.
        ssh += " -o StrictHostKeyChecking=yes"
        if self.key:
            ssh += f" -o IdentitiesOnly=yes -i {shlex.quote(str(self.key))}"
        values |= {
            "GIT_SSH_COMMAND": ssh,
            "GIT_TERMINAL_PROMPT": "0",
            "GIT_ASKPASS": "/bin/false",
            # `ext::` would run commands.
            "GIT_ALLOW_PROTOCOL": "file:git:http:https:ssh",
            "LC_ALL": "C.UTF-8",
        }
        settings = [("http.lowSpeedLimit", "100"), ("http.lowSpeedTime", "60")]
        # What git tidies up, it tidies up while we hold the lock.
        settings += [("gc.autoDetach", "false"), ("maintenance.autoDetach", "false")]
        user, password = login(self.url)
        if user or password:
            # The empty one takes away the operator's helpers, which would write the login down.
            host = f"credential.{urlsplit(clean_url(self.url))._replace(path='').geturl()}.helper"
            settings += [(host, ""), (host, HELPER)]
            values |= {"SITES_GIT_USER": user, "SITES_GIT_PASSWORD": password}
        first = int(values.get("GIT_CONFIG_COUNT") or 0)
        values["GIT_CONFIG_COUNT"] = str(first + len(settings))
        for number, (name, value) in enumerate(settings, first):
            values |= {f"GIT_CONFIG_KEY_{number}": name, f"GIT_CONFIG_VALUE_{number}": value}
        return values

    def git(self, *arguments: str, check: bool = True) -> bytes | None:
        """What git prints; None if it fails and that is an answer (``check=False``).

        :raises InputError: with git's words and a remedy
        """
        command = ["git", f"--git-dir={self.folder / 'repository'}", *arguments]
        try:
            started = subprocess.Popen(
                command,
                cwd="/",
                env=self.environment(),
                stdin=subprocess.DEVNULL,
                stdout=subprocess.PIPE,
                stderr=subprocess.PIPE,
                start_new_session=True,
            )
        except FileNotFoundError:
            raise InputError("source.git: there is no git on the controller; install it: apt install git") from None
        with started:
            try:
                out, errors = started.communicate(timeout=PATIENCE)
            except BaseException as error:
                # With its children: ssh, or what speaks HTTP.
                os.killpg(started.pid, signal.SIGKILL)
                if isinstance(error, subprocess.TimeoutExpired):
                    raise InputError(
                        f"source.git: {clean_url(self.url)} took longer than {PATIENCE // 60} minutes"
                    ) from None
                raise
        if started.returncode == 0:
            return out
        if not check:
            return None
        raise InputError(explain(errors.decode(errors="replace"), self.url))

    # --- Which commit -------------------------------------------------------------------------------------------------

    def commit_of(self, version: str) -> str:
        """The full hash of the commit that a tag, a branch or a commit means now; it is in the cache afterwards.

        A full hash that was fetched before needs no network.
        """
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
        """Make the repository, and take away what keeps git from going on where a killed run stopped."""
        repository = self.folder / "repository"
        if not all((repository / name).exists() for name in ("HEAD", "config", "objects", "refs")):
            self.git("init", "--quiet", "--bare")
        # Nobody else is at work here: that is what our own lock says.
        for stale in repository.rglob("*.lock"):
            stale.unlink(missing_ok=True)

    def _remote_refs(self) -> dict[str, str]:
        """Branches and tags → commits, as the repository has them now."""
        listed = (self.git("ls-remote", "--heads", "--tags", "--", self.address) or b"").decode(errors="replace")
        refs: dict[str, str] = {}
        for line in sorted(listed.splitlines(), key=lambda line: line.endswith("^{}")):
            commit, _, name = line.partition("\t")
            # A tag with a message is an object of its own; with ^{} stands the commit that it means.
            refs[name.removesuffix("^{}")] = commit
        return refs

    def _need(self, commit: str) -> None:
        """Fetch a commit with its history, unless it is here."""
        if self._has(commit):
            return
        # By its hash: what a name means may have changed since it was asked. Older servers give names alone.
        if self._fetch(f"+{commit}:refs/fetched/{commit}", check=False) is None:
            self._fetch_all()
        if not self._has(commit):
            raise InputError(
                f"source.version: {clean_url(self.url)} has no commit {commit} on any branch or tag; push it, or name "
                "another one"
            )

    def _fetch_all(self) -> None:
        # A branch `a` may have made way for `a/b`, and the two cannot lie side by side.
        self._fetch("+refs/heads/*:refs/all/heads/*", "+refs/tags/*:refs/all/tags/*", prune=True)

    def _fetch(self, *refs: str, check: bool = True, prune: bool = False) -> bytes | None:
        options = ["--quiet", "--no-tags", "--no-write-fetch-head", *(["--prune"] if prune else [])]
        return self.git("fetch", *options, "--", self.address, *refs, check=check)

    def _has(self, commit: str) -> bool:
        """Whether a commit is here with all that belongs to it: git writes a ref only when a fetch is whole."""
        return bool(self.git("for-each-ref", "--count=1", "--contains", commit, check=False))

    @property
    def address(self) -> str:
        """The URL without its login, which git gets from the helper; ssh needs the user, and takes no password."""
        user = urlsplit(self.url).username if self.url.startswith("ssh:") else ""
        return clean_url(self.url).replace("://", f"://{user}@", 1) if user else clean_url(self.url)

    # --- Its files ----------------------------------------------------------------------------------------------------

    def write(self, commit: str, folder: Path, subfolder: str = "", depth: int = 0) -> None:
        """Write the files of a commit, or of one folder of it, and of its submodules.

        :raises InputError: if there is no such folder, or a submodule cannot be had
        """
        entries = self._entries(commit)
        prefix = f"{subfolder.strip('/')}/" if subfolder else ""
        submodules = {path: name for path, (mode, name) in entries.items() if mode == "160000"}
        # The app itself may be a submodule, or lie in one.
        for path, inner in submodules.items():
            if prefix.startswith(f"{path}/"):
                self._submodule(commit, path).write_at(inner, folder, prefix[len(path) + 1 : -1], depth + 1)
                return
        wanted = {path: entry for path, entry in entries.items() if path.startswith(prefix)}
        if not wanted:
            there = sorted({path.split("/")[0] for path in entries if "/" in path})
            raise InputError(f"source.subfolder: is not in this commit, which has {', '.join(there) or 'no folders'}")
        write(self._items(commit, wanted, prefix), folder)
        for path, inner in submodules.items():
            if path.startswith(prefix):
                self._submodule(commit, path).write_at(inner, folder / path[len(prefix) :], "", depth + 1)

    def write_at(self, commit: str, folder: Path, subfolder: str, depth: int) -> None:
        """As :meth:`write`, for a submodule: its commit is not yet here."""
        if depth > SUBMODULES_DEEP:
            raise InputError(f"source.git: submodules lie in submodules, more than {SUBMODULES_DEEP} deep")
        self.commit_of(commit)
        folder.mkdir(parents=True, exist_ok=True)
        self.write(commit, folder, subfolder, depth)

    def _entries(self, commit: str) -> dict[str, tuple[str, str]]:
        """Path → mode and name of the object."""
        listed = (self.git("ls-tree", "-r", "-z", "--full-tree", commit) or b"").decode(errors="surrogateescape")
        found = {}
        for entry in filter(None, listed.split("\0")):
            words, _, path = entry.partition("\t")
            mode, _kind, name = words.split()
            safe_name(path)
            found[path] = (mode, name)
        for path in found:
            # git itself makes no such tree; one made by hand leads a submodule's files through a link.
            if any(str(parent) in found for parent in PurePosixPath(path).parents):
                raise InputError(f"source.git: {path} lies below something that is no folder; nothing of it was used")
        return found

    def _items(self, commit: str, entries: dict[str, tuple[str, str]], prefix: str) -> Iterator[Item]:
        times = self._times(commit, {path for path, (mode, _) in entries.items() if mode.startswith("100")})
        for path, mode, content in self._contents(entries):
            name = path[len(prefix) :]
            if mode == "120000":
                yield Item(name, "link", target=os.fsdecode(content))
                continue
            if content.startswith(LFS) and len(content) < 1024:
                raise InputError(f"source.git: {path} lies in Git LFS, which is not fetched; commit the file itself")
            yield Item(name, "file", times[path], mode == "100755", content=io.BytesIO(content))

    def _contents(self, entries: dict[str, tuple[str, str]]) -> Iterator[tuple[str, str, bytes]]:
        """Path, mode and bytes of each file and link."""
        command = ["git", f"--git-dir={self.folder / 'repository'}", "cat-file", "--batch"]
        with subprocess.Popen(
            command, cwd="/", env=self.environment(), stdin=subprocess.PIPE, stdout=subprocess.PIPE
        ) as reader:
            assert reader.stdin and reader.stdout  # noqa: S101 - for type checkers: both are pipes
            for path, (mode, name) in entries.items():
                if mode == "160000":
                    continue
                reader.stdin.write(f"{name}\n".encode())
                reader.stdin.flush()
                head = reader.stdout.readline().split()
                if len(head) != 3:
                    raise InputError(f"source.git: the cache {self.folder} is damaged; remove it, and run again")
                content = reader.stdout.read(int(head[2]))
                reader.stdout.read(1)
                yield path, mode, content
            reader.stdin.close()

    def _times(self, commit: str, paths: set[str]) -> dict[str, int]:
        """Path → seconds of the commit that last changed it on the way to this one.

        The same on every controller, and a file that a release does not change keeps its ETag in browsers' caches.
        """
        limits = ("--first-parent", "--diff-merges=first-parent", "--no-renames", f"--max-count={HISTORY}")
        printed = self.git("log", *limits, "--name-only", "-z", "--format=%x01%ct%x02", commit, "--") or b""
        times: dict[str, int] = {}
        when, first = 0, False
        for part in printed.split(b"\0"):
            if head := re.fullmatch(rb"\x01(\d+)\x02", part):
                when, first = int(head[1]), True
            else:
                # A line's end stands before a commit's first name.
                path = os.fsdecode(part[1:] if first else part)
                first = False
                if path in paths:
                    times.setdefault(path, when)
        return {path: times.get(path, when) for path in paths}

    # --- Submodules ---------------------------------------------------------------------------------------------------

    def _submodule(self, commit: str, path: str) -> Repository:
        """The repository of the submodule at a path."""
        listed = self.git("config", "--blob", f"{commit}:.gitmodules", "--list", "-z", check=False) or b""
        settings = dict(entry.partition("\n")[::2] for entry in listed.decode(errors="replace").split("\0"))
        names = [key[len("submodule.") : -len(".path")] for key, value in settings.items()
                 if key.startswith("submodule.") and key.endswith(".path") and value == path]  # fmt: skip
        url = settings.get(f"submodule.{names[0]}.url", "") if names else ""
        if not url:
            raise InputError(f"source.git: .gitmodules does not say where the submodule {path} lies; add it and commit")
        url = self._beside(url)
        # What a repository elsewhere says must not take files of this machine into a release.
        if not usable(url) or (url.startswith("file:") and not self.is_local):
            raise InputError(f"source.git: the submodule {path} has no URL that leads to a server")
        return Repository(url, self.key, self.cache)

    def _beside(self, url: str) -> str:
        """A submodule's URL: one that begins with ./ or ../ is relative to this repository's."""
        if url.startswith(("./", "../")):
            if is_url(self.url):
                base = self.url.rstrip("/") + "/"
                parts = urlsplit(base)
                return parts._replace(path=urljoin(parts.path, url)).geturl()
            host, _, path = self.url.partition(":")
            return f"{host}:{os.path.normpath(f'{path}/{url}')}"
        own, other = urlsplit(clean_url(self.url)), urlsplit(clean_url(url))
        if is_url(url) and url == clean_url(url) and (own.scheme, own.netloc) == (other.scheme, other.netloc):
            # The same server: the same login.
            return other._replace(netloc=urlsplit(self.url).netloc).geturl()
        return url


def usable(url: str) -> bool:
    """Whether git may be given this as a repository: a URL, or ``user@host:path``."""
    # A line's end in a login would be the next line of what git's helper answers.
    if re.search(r"\s|[\0-\x1f]|%0[0ad]", url, re.IGNORECASE) or url.startswith("-"):
        return False
    if is_url(url):
        parts = urlsplit(url)
        host = (parts.netloc.rpartition("@")[2] or "").lstrip("[")
        return parts.scheme in ("file", "git", "http", "https", "ssh") and not host.startswith("-") and bool(parts.path)
    return re.fullmatch(r"([\w.+-]+@)?[A-Za-z0-9\[][\w.:\[\]-]*:(?!:).+", url) is not None


def near(version: str, refs: Iterable[str]) -> str:
    """The names that may have been meant."""
    names = sorted({name.split("/", 2)[2] for name in refs})
    bare = version.lower().removeprefix("v")
    # `v1.4` for `1.4`, or another case, is nearer than difflib finds.
    closest = [name for name in names if name.lower().removeprefix("v") == bare]
    closest += [name for name in difflib.get_close_matches(version, names, n=5, cutoff=0.5) if name not in closest]
    if closest:
        return f"the nearest are {', '.join(closest[:5])}"
    more = f" and {len(names) - 5} more" if len(names) > 5 else ""
    return f"it has {', '.join(names[-5:])}{more}" if names else "it is empty"


def explain(errors: str, url: str) -> str:
    """Turn what git said into what an operator can do about it."""
    said = last_lines(masked(errors, url))
    low, words = errors.lower(), clean_url(url)
    for clues, remedy in (
        (
            ("host key verification failed", "no matching host key", "remote host identification has changed"),
            "this machine does not know that host's key, and will not take code from a stranger. Compare the "
            "fingerprint with the one that the host's owner publishes, then: ssh-keyscan HOST >> ~/.ssh/known_hosts",
        ),
        (
            ("unprotected private key",),
            "ssh does not use a key that others can read: chmod 600 it",
        ),
        (
            ("permission denied (",),
            "the host refuses the key. Give the key's public half access there (a deploy key), and name the key as "
            "source.key; a key with a passphrase has to be in ssh-agent, without source.key",
        ),
        (
            ("could not read username", "could not read password", "authentication failed", "error: 401", "error: 403"),
            "it wants another login. Put it into the URL (https://USER:TOKEN@…), in a vault file",
        ),
        (
            ("not found", "does not appear to be a git repository", "does not exist"),
            "there is no repository, or none that this login may see; correct source.git",
        ),
        (
            ("certificate", "ssl"),
            "this machine does not trust its certificate. Add the authority to /usr/local/share/ca-certificates, then: "
            "update-ca-certificates",
        ),
        (("dubious ownership",), "the repository belongs to another user of this machine; see git's words"),
        (("no space left",), "the disk is full; free some space, then run again"),
    ):
        if any(clue in low for clue in clues):
            return f"source.git: {words}: {remedy}. git says:\n{said}"
    return f"source.git: {words} cannot be reached; check the URL and the network of this machine. git says:\n{said}"
