"""The one reader of lock files: requirements files with hashes, for controller and hosts.

A lock comes from whoever wrote the site's code. Nothing of its text reaches pip or uv: each line is parsed into
values, each value is checked, and :meth:`Lock.text` writes them anew. What is not known here is refused, since an
option of pip's can install from elsewhere, run code, or read files. No error quotes a line: the file may be another.
"""

from __future__ import annotations

import codecs
import os
import re
import shlex
import tomllib
from collections.abc import Iterable, Iterator, Mapping
from dataclasses import dataclass, field
from pathlib import Path, PurePosixPath
from typing import Any
from urllib.parse import SplitResult, quote, unquote, urlsplit, urlunsplit

# More than any lock has; what is longer is something else.
MAX_BYTES = 16 * 1024 * 1024
NAMED = 3

IDENTIFIER = r"[A-Za-z0-9](?:[A-Za-z0-9._-]*[A-Za-z0-9])?"
EXTRAS = rf"\[\s*(?:{IDENTIFIER}(?:\s*,\s*{IDENTIFIER})*)?\s*\]"
HEAD = re.compile(rf"(?P<name>{IDENTIFIER})\s*(?P<extras>{EXTRAS})?\s*(?P<rest>(?:[=<>!~@;(].*)?)\Z")
PIN = re.compile(r"(?P<operator>===?)\s*(?P<version>[A-Za-z0-9][A-Za-z0-9.!+_-]*)\s*\Z")
HASH = re.compile(r"(?P<kind>[a-z0-9]+):(?P<digest>[0-9A-Fa-f]+)\Z")
STRONG = ("sha256", "sha384", "sha512")
# What a marker is made of; who evaluates it, sees to its grammar.
MARKER = re.compile(
    r"\s*(?:(?P<word>python_version|python_full_version|os_name|sys_platform|platform_release|platform_system"
    r"|platform_version|platform_machine|platform_python_implementation|implementation_name|implementation_version"
    r"|extra|and|or|not|in)\b|(?P<operator>===|[<>=!~]=|[<>()])"
    r"|(?P<text>'[\w .+*!~,:/#@()-]*'|\"[\w .+*!~,:/#@()-]*\"))",
    re.ASCII,
)
OPTION = re.compile(r"--?[A-Za-z][A-Za-z0-9-]*")
URL = re.compile(r"[A-Za-z0-9._~:/?#\[\]@!$&()*+,;=%-]+\Z")
NETLOC = re.compile(r"(?:[^@/]*@)?(?P<host>[A-Za-z0-9](?:[A-Za-z0-9._-]*)|\[[0-9A-Fa-f:.]+\])(?::(?P<port>\d{1,5}))?\Z")
HOST = re.compile(r"(?:[A-Za-z0-9][A-Za-z0-9._-]*|\[[0-9A-Fa-f:.]+\])(?::\d{1,5})?\Z")
EXPANDED = "${"

# Options that say where packages are, by each of their names.
WHERE = {
    "-i": "index_url", "--index-url": "index_url", "--extra-index-url": "extra_index_urls", "-f": "find_links",
    "--find-links": "find_links", "--trusted-host": "trusted_hosts",
}  # fmt: skip
# Options that ask for what is done anyway, and the only value that they may have.
DONE_ANYWAY = {"--require-hashes": None, "--prefer-binary": None, "--pre": None, "--only-binary": ":all:"}


class LockError(ValueError):
    """A lock that is none; the text says in which file and line, what is wrong, and what to do."""


@dataclass(frozen=True)
class Package:
    """One package of a lock."""

    name: str
    extras: tuple[str, ...]
    pin: str
    url: str
    marker: str
    hashes: tuple[str, ...]

    @property
    def requirement(self) -> str:
        """Name and version, or URL, without marker and hashes."""
        extras = f"[{','.join(self.extras)}]" if self.extras else ""
        return f"{self.name}{extras} @ {self.url}" if self.url else f"{self.name}{extras}{self.pin}"

    @property
    def line(self) -> str:
        """The package in normal form."""
        marker = f" ; {self.marker}" if self.marker else ""
        return " ".join([f"{self.requirement}{marker}", *(f"--hash={value}" for value in self.hashes)])


@dataclass
class Lock:
    """What a lock says: the packages, and where they are."""

    packages: list[Package] = field(default_factory=list)
    index_url: str = ""
    extra_index_urls: list[str] = field(default_factory=list)
    find_links: list[str] = field(default_factory=list)
    trusted_hosts: list[str] = field(default_factory=list)
    no_index: bool = False

    @property
    def names(self) -> set[str]:
        """The packages by their normal names."""
        return {package.name for package in self.packages}

    def where(self, index: str = "") -> list[str]:
        """The options that say where packages are, in normal form.

        :param index: the operator's own index, in place of the lock's
        """
        index = safe_url(index) or self.index_url
        lines = [f"--index-url {index}"] if index else []
        lines += ["--no-index"] if self.no_index else []
        lines += [f"--extra-index-url {url}" for url in self.extra_index_urls]
        lines += [f"--find-links {url}" for url in self.find_links]
        return lines + [f"--trusted-host {host}" for host in self.trusted_hosts]

    def text(self, options: Iterable[str] | None = None) -> str:
        """The whole of it in normal form, one line each. URLs keep their logins: for a file that no other user sees.

        :param options: what takes the place of the lock's own options
        """
        lines = [*(self.where() if options is None else options), *(package.line for package in self.packages)]
        return "".join(f"{line}\n" for line in lines)


def decode(content: bytes) -> str:
    """A lock's text. Windows writes it with a mark in front, or in UTF-16.

    :raises LockError: if it is no text
    """
    if len(content) > MAX_BYTES:
        raise LockError(f"is larger than {MAX_BYTES >> 20} MB, and so no lock; name the lock file")
    wide = content.startswith((codecs.BOM_UTF16_LE, codecs.BOM_UTF16_BE))
    try:
        return content.decode("utf-16" if wide else "utf-8-sig")
    except UnicodeDecodeError:
        raise LockError("is not written in UTF-8; save it in UTF-8") from None


def parse(content: str | bytes, *, partly: bool = False) -> Lock:
    """Read a lock.

    :param partly: leave out what is wrong, for who only wants to know what is there
    :raises LockError: with the first lines that are wrong
    """
    text = decode(content) if isinstance(content, bytes) else content.removeprefix("\ufeff")
    lock, problems = Lock(), []
    for number, line in _lines(text):
        try:
            _read(line, lock)
        except LockError as error:
            problems.append(f"line {number} {error}")
    if problems and not partly:
        more = f"; and {len(problems) - NAMED} more" if len(problems) > NAMED else ""
        raise LockError("; ".join(problems[:NAMED]) + more)
    return lock


def _lines(text: str) -> Iterator[tuple[int, str]]:
    """The logical lines with the number of their first line: no comments, continuation lines joined."""
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


def _read(line: str, lock: Lock) -> None:
    if EXPANDED in line:
        raise LockError("names a variable (${…}), which would be filled in from the environment; write its value")
    if "\\" in line:
        raise LockError("has a backslash in its middle; lock again")
    if line.startswith("-"):
        _option(line, lock)
    else:
        lock.packages.append(_package(line))


def _option(line: str, lock: Lock) -> None:
    try:
        words = shlex.split(line)
    except ValueError:
        raise LockError("has a quote that does not end; lock again") from None
    name, given, value = words[0].partition("=")
    values = [value, *words[1:]] if given else words[1:]
    if name not in {*WHERE, *DONE_ANYWAY, "--no-index"}:
        shown = OPTION.match(name)
        raise LockError(
            f"has the option {shown[0] if shown else 'of a name'} that no lock may have; take it out. Allowed are "
            f"{', '.join(sorted({*WHERE, *DONE_ANYWAY, '--no-index'}))}"
        )
    if name in WHERE:
        if len(values) != 1:
            raise LockError(f"must have {name}, one value and nothing else; give every option a line of its own")
        _where(WHERE[name], name, values[0], lock)
    elif name == "--no-index":
        _flag(name, values, None)
        lock.no_index = True
    else:
        _flag(name, values, DONE_ANYWAY[name])


def _where(key: str, name: str, value: str, lock: Lock) -> None:
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


def _flag(name: str, values: list[str], wanted: str | None) -> None:
    if values != ([] if wanted is None else [wanted]):
        words = name if wanted is None else f"{name} {wanted}"
        raise LockError(f"must have {words} and nothing else; give every option a line of its own")


def checked_url(value: str, what: str) -> str:
    """An http(s) URL that no reader takes for anything else.

    :raises LockError: for all others; the URL, which may hold a login, is not in its text
    """
    try:
        parts = urlsplit(value) if URL.match(value) else None
    except ValueError:
        parts = None
    if parts is None or parts.scheme.lower() not in ("http", "https") or not NETLOC.match(parts.netloc):
        raise LockError(f"has no http or https URL after {what}; folders and other kinds of URLs are not allowed there")
    return urlunsplit((parts.scheme.lower(), *parts[1:]))


def safe_url(url: str) -> str:
    """The operator's URL of an index: as given, and one word without variables for whoever reads it."""
    return quote(url.strip(), safe="%/:=&?~#+!$,;'@()*[]")


def _package(line: str) -> Package:
    # From the first option on; a URL and a marker have no word that begins with a dash.
    words, *rest = re.split(r"\s+(?=-)", line, maxsplit=1)
    head = HEAD.match(words.strip())
    if head is None:
        raise LockError("is neither a package nor an option that a lock may have; lock again, from an index")
    name = re.sub(r"[-_.]+", "-", head["name"]).lower()
    extras = {re.sub(r"[-_.]+", "-", extra).lower() for extra in re.findall(IDENTIFIER, head["extras"] or "")}
    pin, url, marker = _whence(head["name"], head["rest"])
    hashes = _hashes(head["name"], rest[0] if rest else "")
    if url:
        parts = urlsplit(url)
        hashes += tuple(part.replace("=", ":", 1) for part in parts.fragment.split("&") if part)
        url = _wheel(head["name"], parts)
    if not hashes:
        shown = f"{head['name']}{pin}" if pin else head["name"]
        raise LockError(f"has no hash for {shown}; lock with hashes" if pin or url else "pins no package; lock again")
    return Package(name, tuple(sorted(extras)), pin, url, marker, tuple(sorted(set(hashes))))


def _whence(name: str, rest: str) -> tuple[str, str, str]:
    """Version or URL, and the marker."""
    if rest.startswith("@"):
        where, _, marker = rest[1:].strip().partition(" ")
        marker = marker.strip()
        if marker and not marker.startswith(";"):
            raise LockError(f"has more than a URL after {name} @; lock again")
        return "", checked_url(where, f"{name} @"), _marker(name, marker[1:]) if marker else ""
    where, semicolon, marker = rest.partition(";")
    pin = PIN.match(where.strip())
    if pin is None:
        known = f" {name}" if where.strip() else ""
        raise LockError(f"does not pin{known} by ==VERSION; lock with exact versions and hashes")
    return pin["operator"] + pin["version"], "", _marker(name, marker) if semicolon else ""


def _marker(name: str, text: str) -> str:
    found, at, text = [], 0, text.strip()
    while at < len(text):
        part = MARKER.match(text, at)
        if part is None:
            raise LockError(f"has a marker of {name} that is not understood; lock again")
        found.append(part[0].strip())
        at = part.end()
    return " ".join(found)


def _hashes(name: str, text: str) -> tuple[str, ...]:
    found = []
    words = iter(text.split())
    for word in words:
        option, given, value = word.partition("=")
        if option != "--hash":
            shown = OPTION.match(option)
            words = shown[0] if shown else "more than hashes"
            raise LockError(f"has {words} after {name}; only --hash may stand there, take the rest out")
        found.append(_hash(name, value if given else next(words, "")))
    return tuple(found)


def _hash(name: str, value: str) -> str:
    parts = HASH.match(value)
    if parts is None or parts["kind"] not in STRONG:
        raise LockError(f"has a hash of {name} that is none of {', '.join(STRONG)}; lock again")
    return f"{parts['kind']}:{parts['digest'].lower()}"


def _wheel(name: str, parts: SplitResult) -> str:
    """A package's own URL, without the hash."""
    if not unquote(parts.path).endswith(".whl"):
        raise LockError(f"has {name} as a URL that is no wheel, and nothing is compiled on hosts; lock a wheel")
    for part in filter(None, parts.fragment.split("&")):
        _hash(name, part.replace("=", ":", 1))
    return urlunsplit((*parts[:4], ""))


# uv.lock


def check_project(folder: Path, requirements: str) -> list[str]:
    """Refuse a uv.lock, or a pyproject.toml beside it, by which ``uv export`` would leave the source.

    uv reads the project's own settings whatever it is told of configuration: sources, indexes, members of a workspace.

    :param folder: the source's top
    :param requirements: the path of uv.lock below it
    :returns: the files that uv reads, relative to the source: uv.lock and every pyproject.toml
    """
    requirements = os.path.normpath(requirements)
    place = PurePosixPath(requirements).parent
    text = _file(folder / requirements, requirements)
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
    """Copy what ``uv export`` reads into a folder of its own, where it finds nothing else.

    :returns: the folder of uv.lock's copy
    :raises LockError: see :func:`check_project`
    """
    for name in check_project(folder, requirements):
        copy = into / name
        copy.parent.mkdir(mode=0o700, parents=True, exist_ok=True)
        copy.write_bytes(read(folder / name))
    return (into / os.path.normpath(requirements)).parent


def _pyprojects(folder: Path, place: PurePosixPath) -> set[PurePosixPath]:
    """The pyproject.toml beside the lock, those above it, and those of a workspace's members."""
    found = {parent / "pyproject.toml" for parent in (place, *place.parents)}
    found = {path for path in found if (folder / path).is_file()}
    for path in sorted(found):
        settings = _uv_settings(_toml(_file(folder / path, str(path)), str(path)))
        for member in _texts(_mapping(settings.get("workspace")).get("members")):
            _inside(path.parent, member, f"{path}: tool.uv.workspace.members")
            matches = (folder / path.parent).glob(f"{member.rstrip('/')}/pyproject.toml")
            found |= {PurePosixPath(match.relative_to(folder).as_posix()) for match in matches}
    return found


def _check_pyproject(folder: Path, path: PurePosixPath) -> None:
    text = _file(folder / path, str(path))
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
    if any(EXPANDED in words for words in _all_texts(value)):
        number = next((at for at, line in enumerate(text.splitlines(), start=1) if EXPANDED in line), 0)
        raise LockError(
            f"{name}, line {number} names a variable (${{…}}), which would be filled in from the environment; write "
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


def read(path: Path) -> bytes:
    """The content of a lock, as much as one can have."""
    with path.open("rb") as stream:
        return stream.read(MAX_BYTES + 1)


def _file(path: Path, name: str) -> str:
    try:
        return decode(read(path))
    except LockError as error:
        raise LockError(f"{name} {error}") from None


def _toml(text: str, name: str) -> dict[str, Any]:
    try:
        return tomllib.loads(text)
    except (ValueError, RecursionError):
        raise LockError(f"{name} is no TOML file; make it again with: uv lock") from None


def _uv_settings(content: Mapping[str, Any]) -> Mapping[str, Any]:
    return _mapping(_mapping(content.get("tool")).get("uv"))


def _mapping(value: object) -> Mapping[str, Any]:
    return value if isinstance(value, Mapping) else {}


def _tables(value: object) -> list[Mapping[str, Any]]:
    return [one for one in value if isinstance(one, Mapping)] if isinstance(value, list) else []


def _texts(value: object) -> Iterable[str]:
    return [one for one in value if isinstance(one, str)] if isinstance(value, list) else []
