"""Reads the files of a commit: names, contents and times."""

from __future__ import annotations

import io
import os
import re
import subprocess
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path, PurePosixPath
from typing import Protocol

from ansible_collections.wsgi.sites.plugins.plugin_utils.sources import InputError, limits
from ansible_collections.wsgi.sites.plugins.plugin_utils.sources.git_process import explain
from ansible_collections.wsgi.sites.plugins.plugin_utils.sources.limits import Bounds
from ansible_collections.wsgi.sites.plugins.plugin_utils.sources.tree import Item, safe_name

LFS = b"version https://git-lfs.github.com/spec/"
# The number of commits that are searched for a file's last change.
HISTORY = 10_000


class Git(Protocol):
    """A fetched repository."""

    url: str

    @property
    def folder(self) -> Path: ...

    def environment(self) -> dict[str, str]: ...

    def run(self, arguments: tuple[str, ...], cut: bool = False) -> tuple[int, bytes, bytes]: ...


@dataclass(frozen=True)
class Entry:
    """An entry of a commit's tree."""

    mode: str
    name: str
    size: int


class Content(io.RawIOBase):
    """The bytes of one object in a stream of many."""

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


def entries(repository: Git, commit: str) -> dict[str, Entry]:
    """The files, links and submodules of a commit by path."""
    status, listed, errors = repository.run(("ls-tree", "-r", "-l", "-z", "--full-tree", commit))
    if status:
        raise InputError(explain(errors.decode(errors="replace"), repository.url))
    found: dict[str, Entry] = {}
    for entry in filter(None, listed.decode(errors="surrogateescape").split("\0")):
        words, _, path = entry.partition("\t")
        mode, _kind, name, size = words.split()
        # git creates no such name, which some file systems treat as .git.
        if any(part.lower() in (".git", "git~1") for part in safe_name(path)):
            raise InputError(f"source.git: {path!r} would be a repository's own folder; nothing of it was used")
        if path == ".gitmodules" and not mode.startswith("100"):
            raise InputError("source.git: .gitmodules is a link; nothing of it was used")
        found[path] = Entry(mode, name, int(size) if size.isdigit() else 0)
        if len(found) > limits.FILES:
            Bounds().count(len(found))
    for path in found:
        # git creates no such tree; a crafted one could lead a submodule's files through a link.
        if any(str(parent) in found for parent in PurePosixPath(path).parents):
            raise InputError(f"source.git: {path} lies below something that is no folder; nothing of it was used")
    return found


def items(repository: Git, commit: str, wanted: dict[str, Entry], prefix: str) -> Iterator[Item]:
    """The files and links to write, with paths relative to the prefix."""
    times = _times(repository, commit, {path for path, entry in wanted.items() if entry.mode.startswith("100")})
    for path, entry, content in _contents(repository, wanted):
        name = path[len(prefix) :]
        if entry.mode == "120000":
            yield Item(name, "link", target=os.fsdecode(content.read(limits.TARGET + 1)))
            continue
        beginning = content.read(len(LFS))
        if beginning == LFS and content.left < 1024:
            raise InputError(f"source.git: {path} lies in Git LFS, which is not fetched; commit the file itself")
        content.before = beginning
        yield Item(name, "file", times[path], entry.mode == "100755", content=content)


def _contents(repository: Git, wanted: dict[str, Entry]) -> Iterator[tuple[str, Entry, Content]]:
    """Path, entry and bytes of each file and link; the bytes have to be read before the next one comes."""
    command = ["git", f"--git-dir={repository.folder / 'repository'}", "cat-file", "--batch"]
    with subprocess.Popen(
        command, cwd="/", env=repository.environment(), stdin=subprocess.PIPE, stdout=subprocess.PIPE
    ) as reader:
        try:
            for path, entry in wanted.items():
                if entry.mode == "160000":
                    continue
                reader.stdin.write(f"{entry.name}\n".encode())
                reader.stdin.flush()
                head = reader.stdout.readline().split()
                if len(head) != 3:
                    raise InputError(f"source.git: the cache {repository.folder} is damaged; remove it, and run again")
                content = Content(reader.stdout, int(head[2]))
                yield path, entry, content
                while content.read(limits.BLOCK):
                    pass
                reader.stdout.read(1)
            reader.stdin.close()
        except BaseException:
            reader.kill()
            raise


def _times(repository: Git, commit: str, paths: set[str]) -> dict[str, int]:
    """Path → seconds of the commit that last changed it on the way to this one.

    The same on every controller, and a file that a release does not change keeps its ETag in browsers' caches.
    """
    range_options = ("--first-parent", "--diff-merges=first-parent", "--no-renames", f"--max-count={HISTORY}")
    asked = ("log", *range_options, "--name-only", "-z", "--format=%x01%ct%x02", commit, "--")
    status, printed, errors = repository.run(asked, cut=True)
    if status:
        raise InputError(explain(errors.decode(errors="replace"), repository.url))
    times: dict[str, int] = {}
    when, first = 0, False
    for part in printed.split(b"\0"):
        if head := re.fullmatch(rb"\x01(\d+)\x02", part):
            when, first = int(head[1]), True
        else:
            # A commit's first name follows a newline.
            path = os.fsdecode(part[1:] if first else part)
            first = False
            if path in paths:
                times.setdefault(path, when)
    return {path: times.get(path, when) for path in paths}
