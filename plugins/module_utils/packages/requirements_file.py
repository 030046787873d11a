"""Parser of requirements files with hashes: packages, allowed options, and included files.

Other options are refused, since some make pip install from elsewhere, run code or read files. Errors quote no line,
since the path may lead to an unrelated file with secrets.
"""

from __future__ import annotations

import os
import re
import shlex
from collections.abc import Callable, Iterator
from pathlib import PurePosixPath

from ansible_collections.wsgi.sites.plugins.module_utils.packages.lock import Lock, LockError
from ansible_collections.wsgi.sites.plugins.module_utils.packages.lock_text import VARIABLE, decode
from ansible_collections.wsgi.sites.plugins.module_utils.packages.package_line import OPTION, checked_url, parse_package
from ansible_collections.wsgi.sites.plugins.module_utils.packages.urls import HOST

# Maximum number of lines in one error, and of included files.
NAMED, INCLUDED = 3, 20
# Options that name an index, in each spelling.
INDEX_OPTIONS = {
    "-i": "index_url", "--index-url": "index_url", "--extra-index-url": "extra_index_urls", "-f": "find_links",
    "--find-links": "find_links", "--trusted-host": "trusted_hosts",
}  # fmt: skip
# Options that are redundant here, and their only allowed value.
DEFAULTS = {"--require-hashes": None, "--prefer-binary": None, "--pre": None, "--only-binary": ":all:"}
INCLUDE, CONSTRAINTS = ("-r", "--requirement"), ("-c", "--constraint")
ALLOWED = sorted({*INDEX_OPTIONS, *DEFAULTS, *INCLUDE, "--no-index"})

# Returns the content of a file of the source by its path.
Opener = Callable[[str], bytes]


def parse(content: str | bytes) -> Lock:
    """Parse a lock that consists of one text.

    :raises LockError: with the first lines that are wrong
    """
    reader = Reader(None)
    reader.read("", content)
    return reader.result()


class Reader:
    """Reads a requirements file and those that it includes into one lock."""

    def __init__(self, opener: Opener | None) -> None:
        self.opener, self.lock = opener, Lock()
        self.files: dict[str, bytes] = {}
        self.problems: list[str] = []
        # The file of the first problem.
        self.faulty = ""

    def result(self) -> Lock:
        """The whole lock.

        :raises LockError: with the first lines that are wrong
        """
        if not self.problems:
            return self.lock
        more = f"; and {len(self.problems) - NAMED} more" if len(self.problems) > NAMED else ""
        raise LockError("; ".join(self.problems[:NAMED]) + more)

    def open(self, name: str) -> None:
        """Read a file of the source."""
        if self.opener is None:
            raise LockError("includes a file, and there is none beside this lock; copy its lines into this one")
        self.files[name] = self.opener(name)
        try:
            self.read(name, self.files[name])
        except LockError as error:
            raise LockError(f"{name} {error}") from None

    def read(self, name: str, content: str | bytes) -> None:
        """Add the lines of one file.

        :param name: the file's path in the source; empty for a text by itself
        """
        text = decode(content) if isinstance(content, bytes) else content.removeprefix("\ufeff")
        for number, line in logical_lines(text):
            try:
                self._line(name, line)
            except LockError as error:
                self.faulty = self.faulty or name
                self.problems.append(f"{name}, line {number} {error}" if name else f"line {number} {error}")

    def _line(self, name: str, line: str) -> None:
        if VARIABLE in line:
            raise LockError("names a variable (${…}), which would be expanded from the environment; write its value")
        if "\\" in line:
            raise LockError("has a backslash in its middle; lock again")
        if line.startswith("-"):
            self._option(name, *split_option(line))
        else:
            self.lock.packages.append(parse_package(line))

    def _option(self, file: str, name: str, values: list[str]) -> None:
        if name in CONSTRAINTS:
            raise LockError(f"has constraints ({name}), and a lock pins every version itself; remove the line")
        if name not in ALLOWED:
            shown = OPTION.match(name)
            raise LockError(
                f"has the option {shown[0] if shown else 'of a name'} that a lock cannot have; remove it. Allowed are "
                f"{', '.join(ALLOWED)}"
            )
        if name in INCLUDE or name in INDEX_OPTIONS:
            if len(values) != 1:
                raise LockError(f"must have {name}, one value and nothing else; give every option a line of its own")
            if name in INCLUDE:
                self._include(file, values[0])
            else:
                add_index(self.lock, name, values[0])
        elif values != ([] if not DEFAULTS.get(name) else [DEFAULTS[name]]):
            words = f"{name} {DEFAULTS.get(name) or ''}".rstrip()
            raise LockError(f"must have {words} and nothing else; give every option a line of its own")
        elif name == "--no-index":
            self.lock.no_index = True

    def _include(self, file: str, value: str) -> None:
        """Read an included file of the same source, relative to the including file."""
        path = PurePosixPath(value)
        name = os.path.normpath(PurePosixPath(file).parent / path)
        if path.is_absolute() or name.startswith("..") or "://" in value or value.startswith("~"):
            raise LockError("includes a file that is not in the source; put it into the source, or copy its lines")
        if name in self.files:
            return
        if len(self.files) > INCLUDED:
            raise LockError(f"includes more than {INCLUDED} files; lock into one file")
        try:
            self.open(name)
        except LockError as error:
            raise LockError(f"includes another file: {error}") from None


def split_option(line: str) -> tuple[str, list[str]]:
    """Split a line into option and values by shell rules."""
    try:
        words = shlex.split(line)
    except ValueError:
        raise LockError("has a quote that does not end; lock again") from None
    name, given, value = words[0].partition("=")
    return name, [value, *words[1:]] if given else words[1:]


def add_index(lock: Lock, name: str, value: str) -> None:
    """Add an index, or a trusted host."""
    key = INDEX_OPTIONS[name]
    if key == "trusted_hosts":
        if not HOST.match(value):
            raise LockError(f"names no host after {name}; give a name, or name:port")
        lock.trusted_hosts.append(value)
        return
    url = checked_url(value, name)
    if key == "index_url":
        lock.index_url = url
    elif url not in getattr(lock, key):
        getattr(lock, key).append(url)


def logical_lines(text: str) -> Iterator[tuple[int, str]]:
    """The logical lines, without comments and with continuation lines joined, each with its first line number."""
    parts: list[str] = []
    first = 0
    for number, line in enumerate(re.split(r"\r\n|\n|\r", text), start=1):
        first = first if parts else number
        words = re.sub(r"(?:^|\s)#.*", "", line)
        goes_on = words.endswith("\\")
        parts.append(words[:-1] if goes_on else words)
        if goes_on:
            continue
        if whole := " ".join(parts).strip():
            yield first, whole
        parts = []
    if whole := " ".join(parts).strip():
        yield first, whole
