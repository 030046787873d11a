"""The source in a git repository: find the commit, fetch it, and write its files as they were committed.

git's own checkout is not used: filters, line endings and attributes would make it differ between controllers.
"""

from __future__ import annotations

import contextlib
import difflib
import hashlib
import io
import os
import pwd
import re
import resource
import selectors
import shlex
import signal
import subprocess
import time
from collections.abc import Iterable, Iterator
from dataclasses import dataclass, field
from functools import cached_property
from pathlib import Path, PurePosixPath
from urllib.parse import unquote, urlsplit

from ansible_collections.wsgi.sites.plugins.plugin_utils.sources import InputError, limits
from ansible_collections.wsgi.sites.plugins.plugin_utils.sources.cache import discard, locked, name_of, secret_name
from ansible_collections.wsgi.sites.plugins.plugin_utils.sources.limits import Bounds
from ansible_collections.wsgi.sites.plugins.plugin_utils.sources.local_repository import check_repository
from ansible_collections.wsgi.sites.plugins.plugin_utils.sources.tree import Item, safe_name, write
from ansible_collections.wsgi.sites.plugins.plugin_utils.sources.urls import (
    clean_url,
    is_url,
    last_lines,
    login,
    masked,
)

# Seconds that one command may take, and that a server may take to be reached.
PATIENCE, CONNECT = 900, 20
COMMIT = re.compile(r"[0-9a-f]{40}|[0-9a-f]{64}")
SHORT_COMMIT = re.compile(r"[0-9a-f]{7,39}")
LFS = b"version https://git-lfs.github.com/spec/"
# How far back the time of a file's last change is looked for.
HISTORY = 10_000
SUBMODULES_DEEP = 5
# The bytes that one fetch may bring, that git may list, and that it may tell of a failure.
PACK, LISTED, TOLD = 4 << 30, 256 << 20, 64 << 10
# Logins for one URL whose caches stay, those that were used last.
KEEP = 10
# All that git gets of this process's environment: no settings of the operator's, no other repository, no helper that
# knows logins. HOME is not among them: there lie ~/.netrc and ~/.gitconfig.
INHERITED = (
    "PATH", "TMPDIR", "USER", "LOGNAME", "SUDO_UID", "http_proxy", "https_proxy", "HTTPS_PROXY", "all_proxy",
    "ALL_PROXY", "no_proxy", "NO_PROXY", "GIT_SSL_CAINFO", "GIT_SSL_CAPATH", "GIT_PROXY_SSL_CAINFO", "SSL_CERT_FILE",
    "SSL_CERT_DIR",
)  # fmt: skip
# What only ssh is told.
FOR_SSH = ("SSH_AUTH_SOCK", "GIT_SSH_COMMAND")
# What of the operator's ssh settings leads to a host, and shows it no key.
WAYS = (
    "hostname", "port", "proxycommand", "hostkeyalias", "userknownhostsfile", "globalknownhostsfile",
    "knownhostscommand", "hostkeyalgorithms", "kexalgorithms", "ciphers", "macs", "pubkeyacceptedalgorithms",
    "addressfamily", "bindaddress",
)  # fmt: skip
SETTINGS = """\
[core]
\thooksPath = /dev/null
\tfsmonitor = false
[gc]
\tautoDetach = false
[maintenance]
\tautoDetach = false
[fetch]
\tunpackLimit = 1
\trecurseSubmodules = false
[http]
\tlowSpeedLimit = 100
\tlowSpeedTime = 60
\tfollowRedirects = initial
"""
# Gives git the login of a URL for its own host alone, and keeps it out of arguments, which anyone can list with `ps`.
HELPER = '!f() { test "$1" = get && printf "username=%s\\npassword=%s\\n" "$SITES_GIT_USER" "$SITES_GIT_PASSWORD"; }; f'


@dataclass(frozen=True)
class Repository:
    """One repository, and the folder that keeps what was fetched of it with one login or key.

    Whoever has another login finds nothing there: that somebody could read a commit says nothing about anybody else.

    :param url: as the page gives it, login and all
    :param key: an SSH key that alone is offered, or None for whatever the operator's ssh offers
    :param cache: folder on the controller in which every repository has its own
    :param holder: the folder of this machine that a repository in it, and its submodules, must not lead out of
    :param used: what the source has used up of its bounds
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
        """Whatever decides what the server shows."""
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
        """What git finds: no settings but ours, no way to ask a question, and the login for this host."""
        values = {name: os.environ[name] for name in INHERITED if name in os.environ}
        scheme = urlsplit(self.url).scheme.lower() if is_url(self.url) else "ssh"
        if scheme == "ssh":
            values |= {name: os.environ[name] for name in FOR_SSH if name in os.environ}
            values["GIT_SSH_COMMAND"] = self._ssh(values.get("GIT_SSH_COMMAND", "ssh"))
        values |= {
            "HOME": "/nonexistent",
            "XDG_CONFIG_HOME": "/nonexistent",
            "GIT_CONFIG_NOSYSTEM": "1",
            "GIT_CONFIG_GLOBAL": str(self.folder / "settings"),
            "GIT_ATTR_NOSYSTEM": "1",
            # A repository of this machine must not have git fetch what it lacks from elsewhere.
            "GIT_NO_LAZY_FETCH": "1",
            "GIT_NO_REPLACE_OBJECTS": "1",
            "GIT_TERMINAL_PROMPT": "0",
            "GIT_ASKPASS": "/bin/false",
            # No `ext::`, which would run commands, and nothing that a redirect could lead to: not from https to http.
            "GIT_ALLOW_PROTOCOL": "http:https" if scheme == "http" else scheme,
            "LC_ALL": "C.UTF-8",
        }
        user, password = login(self.url)
        if (user or password) and scheme in ("http", "https"):
            host = f"credential.{urlsplit(clean_url(self.url))._replace(path='').geturl()}.helper"
            values |= {"GIT_CONFIG_COUNT": "1", "GIT_CONFIG_KEY_0": host, "GIT_CONFIG_VALUE_0": HELPER}
            values |= {"SITES_GIT_USER": user, "SITES_GIT_PASSWORD": password}
        return values

    def _ssh(self, command: str) -> str:
        """The command for ssh. With a key of the site's, no other one is shown, whatever the operator's settings."""
        if self.key:
            command = shlex.join(["ssh", "-F", "none", *self._way()])
            command += f" -o IdentitiesOnly=yes -i {shlex.quote(str(self.key))}"
        command += f" -o BatchMode=yes -o ConnectTimeout={CONNECT} -o ServerAliveInterval=15"
        # Never a host that this machine does not know: the code that comes from there will run on every host.
        return command + " -o StrictHostKeyChecking=yes -o ForwardAgent=no -o ClearAllForwardings=yes"

    def _way(self) -> list[str]:
        """The way to the host as the operator's ssh settings have it: another name or port, a jump host."""
        user, host, port = ssh_target(self.url) or ("", "", "")
        asked = ["ssh", "-G", *(["-p", port] if port else []), *(["-l", user] if user else []), "--", host]
        try:
            done = subprocess.run(asked, stdin=subprocess.DEVNULL, capture_output=True, timeout=CONNECT, check=False)
        except (OSError, subprocess.TimeoutExpired):
            return []
        options = []
        for line in done.stdout.decode(errors="replace").splitlines():
            name, _, value = line.partition(" ")
            if name == "proxyjump" and value != "none":
                # ssh would lead the way with these settings; the jump host has its own, and its own keys.
                *first, last = value.split(",")
                last = last if is_url(last) else f"ssh://{last}"
                jump = shlex.join(["ssh", *(["-J", ",".join(first)] if first else []), "-W", "[%h]:%p", last])
                options += ["-o", f"proxycommand={jump}"]
            elif name in WAYS and value and value != "none":
                options += ["-o", f"{name}={value}"]
        return options

    def git(self, *arguments: str, check: bool = True) -> bytes | None:
        """What git prints; None if it fails and that is an answer (``check=False``).

        :raises InputError: with git's words and a remedy
        """
        status, out, errors = self._run(arguments)
        if status == 0:
            return out
        if not check:
            return None
        raise InputError(explain(errors.decode(errors="replace"), self.url))

    def _run(self, arguments: Iterable[str], cut: bool = False) -> tuple[int, bytes, bytes]:
        """Run git; its status, what it prints, and the end of what it says of a failure.

        :param cut: take the beginning of what is too long, which is else an error
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
                # A server may send without an end; what brings a pack has not even asked for it yet.
                with contextlib.suppress(OSError, ValueError, AttributeError):
                    resource.prlimit(started.pid, resource.RLIMIT_FSIZE, (PACK, PACK))
                out, errors, whole = listen(started, LISTED)
                if whole:
                    return started.wait(PATIENCE), out, errors
                os.killpg(started.pid, signal.SIGKILL)
            except BaseException as error:
                # With its children: ssh, or what speaks HTTP.
                with contextlib.suppress(ProcessLookupError):
                    os.killpg(started.pid, signal.SIGKILL)
                if isinstance(error, (subprocess.TimeoutExpired, TimeoutError)):
                    raise InputError(
                        f"source.git: {clean_url(self.url)} took longer than {PATIENCE // 60} minutes"
                    ) from None
                raise
        if cut:
            return 0, out, errors
        raise InputError(
            f"source.git: {clean_url(self.url)} lists more than {LISTED >> 20} MB of names; leave out what the app "
            "does not need"
        )

    # --- Which commit -------------------------------------------------------------------------------------------------

    def commit_of(self, version: str) -> str:
        """The full hash of the commit that a tag, a branch or a commit means now; it is in the cache afterwards.

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
        """Make the repository, and take away what keeps git from going on where a killed run stopped."""
        os.utime(self.folder)
        others = self.folder.parent.glob(f"{self.folder.name.partition('-')[0]}*")
        # One without a login in its name is of an earlier layout, in which all logins shared what was fetched.
        discard((path for path in others if "-" in path.name), KEEP)
        discard((path for path in self.folder.parent.iterdir() if re.fullmatch(r"[0-9a-f]{32}", path.name)), 0)
        settings = SETTINGS + "".join(f"[safe]\n\tdirectory = {quoted(one)}\n" for one in self._safe_folders())
        (self.folder / "settings").write_text(settings, encoding="utf-8")
        repository = self.folder / "repository"
        if not all((repository / name).exists() for name in ("HEAD", "config", "objects", "refs")):
            self.git("init", "--quiet", "--bare", "--template=")
        # Nobody else is at work here: that is what our own lock says.
        for stale in repository.rglob("*.lock"):
            stale.unlink(missing_ok=True)

    def _safe_folders(self) -> list[str]:
        """The folders of other users that the operator has told git to trust; all that is taken of his settings."""
        if not self.is_local:
            return []
        command = ["git", "config", "--get-all", "-z", "safe.directory"]
        try:
            said = subprocess.run(command, cwd="/", capture_output=True, timeout=CONNECT, check=False).stdout
        except (OSError, subprocess.TimeoutExpired):
            return []
        return [one for one in said.decode(errors="surrogateescape").split("\0") if one and "\n" not in one]

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
        submodules = {path: entry.name for path, entry in entries.items() if entry.mode == "160000"}
        # The app itself may be a submodule, or lie in one.
        for path, inner in submodules.items():
            if prefix.startswith(f"{path}/"):
                self._submodule(commit, path).write_at(inner, folder, prefix[len(path) + 1 : -1], depth + 1)
                return
        wanted = {path: entry for path, entry in entries.items() if path.startswith(prefix)}
        if not wanted:
            there = sorted({path.split("/")[0] for path in entries if "/" in path})
            raise InputError(f"source.subfolder: is not in this commit, which has {', '.join(there) or 'no folders'}")
        self.used.room(sum(entry.size for entry in wanted.values()))
        write(self._items(commit, wanted, prefix), folder, self.used)
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

    def _entries(self, commit: str) -> dict[str, Entry]:
        """Path → what git has there."""
        status, listed, errors = self._run(("ls-tree", "-r", "-l", "-z", "--full-tree", commit))
        if status:
            raise InputError(explain(errors.decode(errors="replace"), self.url))
        found: dict[str, Entry] = {}
        for entry in filter(None, listed.decode(errors="surrogateescape").split("\0")):
            words, _, path = entry.partition("\t")
            mode, _kind, name, size = words.split()
            # git itself makes no such name: its own folder, as some file systems write it.
            if any(part.lower() in (".git", "git~1") for part in safe_name(path)):
                raise InputError(f"source.git: {path!r} would be a repository's own folder; nothing of it was used")
            if path == ".gitmodules" and not mode.startswith("100"):
                raise InputError("source.git: .gitmodules is a link; nothing of it was used")
            found[path] = Entry(mode, name, int(size) if size.isdigit() else 0)
            if len(found) > limits.FILES:
                Bounds().count(len(found))
        for path in found:
            # git itself makes no such tree; one made by hand leads a submodule's files through a link.
            if any(str(parent) in found for parent in PurePosixPath(path).parents):
                raise InputError(f"source.git: {path} lies below something that is no folder; nothing of it was used")
        return found

    def _items(self, commit: str, entries: dict[str, Entry], prefix: str) -> Iterator[Item]:
        times = self._times(commit, {path for path, entry in entries.items() if entry.mode.startswith("100")})
        for path, entry, content in self._contents(entries):
            name = path[len(prefix) :]
            if entry.mode == "120000":
                yield Item(name, "link", target=os.fsdecode(content.read(limits.TARGET + 1)))
                continue
            beginning = content.read(len(LFS))
            if beginning == LFS and content.left < 1024:
                raise InputError(f"source.git: {path} lies in Git LFS, which is not fetched; commit the file itself")
            content.before = beginning
            yield Item(name, "file", times[path], entry.mode == "100755", content=content)

    def _contents(self, entries: dict[str, Entry]) -> Iterator[tuple[str, Entry, Content]]:
        """Path, entry and bytes of each file and link; the bytes have to be read before the next one comes."""
        command = ["git", f"--git-dir={self.folder / 'repository'}", "cat-file", "--batch"]
        with subprocess.Popen(
            command, cwd="/", env=self.environment(), stdin=subprocess.PIPE, stdout=subprocess.PIPE
        ) as reader:
            assert reader.stdin and reader.stdout  # noqa: S101 - for type checkers: both are pipes
            try:
                for path, entry in entries.items():
                    if entry.mode == "160000":
                        continue
                    reader.stdin.write(f"{entry.name}\n".encode())
                    reader.stdin.flush()
                    head = reader.stdout.readline().split()
                    if len(head) != 3:
                        raise InputError(f"source.git: the cache {self.folder} is damaged; remove it, and run again")
                    content = Content(reader.stdout, int(head[2]))
                    yield path, entry, content
                    while content.read(limits.BLOCK):
                        pass
                    reader.stdout.read(1)
                reader.stdin.close()
            except BaseException:
                reader.kill()
                raise

    def _times(self, commit: str, paths: set[str]) -> dict[str, int]:
        """Path → seconds of the commit that last changed it on the way to this one.

        The same on every controller, and a file that a release does not change keeps its ETag in browsers' caches.
        """
        range_options = ("--first-parent", "--diff-merges=first-parent", "--no-renames", f"--max-count={HISTORY}")
        asked = ("log", *range_options, "--name-only", "-z", "--format=%x01%ct%x02", commit, "--")
        status, printed, errors = self._run(asked, cut=True)
        if status:
            raise InputError(explain(errors.decode(errors="replace"), self.url))
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
        """The repository of the submodule at a path, with this site's own login or key, or with none."""
        listed = self.git("config", "--no-includes", "--blob", f"{commit}:.gitmodules", "--list", "-z", check=False)
        settings = dict(entry.partition("\n")[::2] for entry in (listed or b"").decode(errors="replace").split("\0"))
        names = [key[len("submodule.") : -len(".path")] for key, value in settings.items()
                 if key.startswith("submodule.") and key.endswith(".path") and value == path]  # fmt: skip
        url = settings.get(f"submodule.{names[0]}.url", "") if names else ""
        if not url:
            raise InputError(f"source.git: .gitmodules does not say where the submodule {path} lies; add it and commit")
        if names[0].startswith("-") or path.startswith("-") or ".." in PurePosixPath(names[0]).parts:
            raise InputError(f"source.git: the submodule {path!r} has a name that git would not take; rename it")
        whole = self._beside(url)
        relative = url.startswith(("./", "../"))
        # What a repository says must not take files of this machine into a release.
        if not usable(whole) or (whole.startswith("file:") and not (relative and self.is_local)):
            raise InputError(
                f"source.git: the submodule {path} has no URL that leads to a server; give it one, or, in a repository "
                "of this machine, one that begins with ./ or ../"
            )
        if whole.startswith("file:"):
            return Repository(whole, None, self.cache, self._held(path, whole), self.used)
        return Repository(whole, self._key_for(path, whole), self.cache, None, self.used)

    def _held(self, path: str, url: str) -> Path:
        """The folder that holds the site's repository, and this one too: the operator has put them side by side."""
        holder = Path(os.path.realpath(self.holder or self.place.parent))
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

    def _key_for(self, path: str, url: str) -> Path | None:
        """The key that a submodule is asked for with: the site's own, at its own host; nobody else's."""
        target = ssh_target(url)
        if target is None:
            return None
        own = ssh_target(self.url) or ("", urlsplit(self.url).hostname or "", "")
        if target[1] != own[1] or (ssh_target(self.url) and target[2] != own[2]):
            raise InputError(
                f"source.git: the submodule {path} lies on another host, which this site's key is not shown; give it "
                "an https URL"
            )
        if self.key is None:
            raise InputError(
                f"source.key: is needed for the submodule {path}, since git would fetch it with your own keys, "
                "whatever they open; name a key that may read both repositories"
            )
        return self.key

    def _beside(self, url: str) -> str:
        """A submodule's URL: one that begins with ./ or ../ is relative to this repository's, by git's rules."""
        if url.startswith(("./", "../")):
            if is_url(self.url):
                parts = urlsplit(self.url)
                return parts._replace(path=joined(parts.path, url)).geturl()
            host, path = SCP.fullmatch(self.url).groups()  # type: ignore[union-attr] # usable() has seen to that
            return f"{host}:{joined(path, url)}"
        own, other = urlsplit(clean_url(self.url)), urlsplit(clean_url(url))
        if is_url(url) and url == clean_url(url) and (own.scheme, own.netloc) == (other.scheme, other.netloc):
            # The same server: the same login.
            return other._replace(netloc=urlsplit(self.url).netloc).geturl()
        return url


@dataclass(frozen=True)
class Entry:
    """What a commit has at a path."""

    mode: str
    name: str
    size: int


class Content(io.RawIOBase):
    """The bytes of one object out of a stream of many."""

    def __init__(self, stream: io.BufferedReader, size: int) -> None:
        self.stream, self.left, self.before = stream, size, b""

    def readable(self) -> bool:
        return True

    def read(self, size: int = -1) -> bytes:
        if self.before:
            before, self.before = self.before, b""
            return before
        data = self.stream.read(self.left if size < 0 else min(size, self.left))
        if not data and self.left and size:
            raise InputError("source.git: git ended while its files were read; run again")
        self.left -= len(data)
        return data


def listen(started: subprocess.Popen[bytes], limit: int) -> tuple[bytes, bytes, bool]:
    """What a program prints, the end of its errors, and whether that is all: it is not, where it prints too much.

    :raises TimeoutError: if it takes too long
    """
    deadline = time.monotonic() + PATIENCE
    out, errors = bytearray(), bytearray()
    with selectors.DefaultSelector() as ready:
        for stream in (started.stdout, started.stderr):
            ready.register(stream, selectors.EVENT_READ)  # type: ignore[arg-type]
        while ready.get_map():
            if (left := deadline - time.monotonic()) <= 0:
                raise TimeoutError
            for key, _ in ready.select(left):
                data = os.read(key.fd, 65536)
                if not data:
                    ready.unregister(key.fileobj)
                elif key.fileobj is started.stderr:
                    errors += data
                    del errors[:-TOLD]
                else:
                    out += data
                    if len(out) > limit:
                        del out[limit:]
                        return bytes(out), bytes(errors), False
    return bytes(out), bytes(errors), True


def quoted(value: str) -> str:
    """A value as git's settings write it."""
    return '"' + value.replace("\\", "\\\\").replace('"', '\\"') + '"'


def homes() -> set[Path]:
    """The home of whoever runs this, also of one who has become root to do so."""
    found = {os.environ.get("HOME", "/")}
    for user in (os.geteuid(), int(os.environ.get("SUDO_UID") or os.geteuid())):
        with contextlib.suppress(KeyError):
            found.add(pwd.getpwuid(user).pw_dir)
    return {Path(os.path.realpath(home)) for home in found} | {Path("/")}


SCP = re.compile(r"((?:[^@/:\s]+@)?(?:\[[0-9A-Fa-f:.]+\]|[^:/\s\[]+)):(.*)")


def ssh_target(url: str) -> tuple[str, str, str] | None:
    """User, host and port of a URL that ssh gets; None for any other."""
    if is_url(url):
        parts = urlsplit(url)
        if parts.scheme.lower() != "ssh":
            return None
        return unquote(parts.username or ""), parts.hostname or "", str(parts.port or "")
    found = SCP.fullmatch(url)
    if not found:
        return None
    user, _, host = found[1].rpartition("@")
    return user, host.strip("[]").lower(), ""


def joined(base: str, url: str) -> str:
    """A path beside another one, as git reads ./ and ../ at the beginning; nowhere else they may stand."""
    parts = base.rstrip("/").split("/")
    while url.startswith(("./", "../")):
        if url.startswith("../"):
            if not parts or parts == [""]:
                raise InputError("source.git: a submodule's URL leads out of its server; correct .gitmodules")
            parts.pop()
        url = url.partition("/")[2]
    names = url.rstrip("/").split("/")
    if any(unquote(name) in ("", ".", "..") or "/" in unquote(name) for name in names) or re.search(r"[?#\\]", url):
        raise InputError("source.git: a submodule's URL has .. or // within its path; correct .gitmodules")
    return "/".join([*parts, *names])


def usable(url: str) -> bool:
    """Whether git may be given this as a repository: a URL, or ``user@host:path``."""
    # A line's end in a login would be the next line of what git's helper answers.
    if re.search(r"\s|[\0-\x1f]|%0[0ad]", url, re.IGNORECASE) or url.startswith("-"):
        return False
    if is_url(url):
        try:
            parts = urlsplit(url)
            _ = parts.port
        except ValueError:
            return False
        host = (parts.netloc.rpartition("@")[2] or "").lstrip("[")
        if parts.scheme == "file" and host:
            return False
        # As git reads it: FILE:// is another one to it.
        known = url.partition("://")[0] in ("file", "git", "http", "https", "ssh")
        return known and bool(parts.path) and not host.startswith("-") and not parts.netloc.startswith("-")
    return re.fullmatch(r"([\w.+-]+@)?(\[[0-9A-Fa-f:.]+\]|[A-Za-z0-9][\w.-]*):(?![:-]|//).+", url) is not None


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
        (("early eof", "unexpected disconnect"), "the connection broke off; run again"),
        (
            ("signal 25", "file too large", "invalid index-pack output"),
            f"it is larger than {PACK >> 20} MB; take large files out of its history, or deploy an archive",
        ),
    ):
        if any(clue in low for clue in clues):
            return f"source.git: {words}: {remedy}. git says:\n{said}"
    return f"source.git: {words} cannot be reached; check the URL and the network of this machine. git says:\n{said}"
