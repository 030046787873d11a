"""A parsed lock: its packages with their hashes, and its package indexes.

A lock comes from the author of the site's code. Its text never reaches pip or uv: every line is parsed into values,
every value is checked, and :meth:`Lock.text` writes a new file.
"""

from __future__ import annotations

from collections.abc import Iterable
from dataclasses import dataclass, field

from ansible_collections.wsgi.sites.plugins.module_utils.packages.urls import safe_url


class LockError(ValueError):
    """A file that is not a usable lock. The text has file, line, problem and remedy, and quotes no line."""


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
    """The packages and their indexes."""

    packages: list[Package] = field(default_factory=list)
    index_url: str = ""
    extra_index_urls: list[str] = field(default_factory=list)
    find_links: list[str] = field(default_factory=list)
    trusted_hosts: list[str] = field(default_factory=list)
    no_index: bool = False

    @property
    def names(self) -> set[str]:
        """The packages by their normalized names."""
        return {package.name for package in self.packages}

    def index_options(self, index: str = "") -> list[str]:
        """The options that name the indexes, in normal form.

        :param index: the operator's index, which replaces the lock's
        """
        index = safe_url(index) or self.index_url
        lines = [f"--index-url {index}"] if index else []
        lines += ["--no-index"] if self.no_index else []
        lines += [f"--extra-index-url {url}" for url in self.extra_index_urls]
        lines += [f"--find-links {url}" for url in self.find_links]
        return lines + [f"--trusted-host {host}" for host in self.trusted_hosts]

    def text(self, options: Iterable[str] | None = None) -> str:
        """The whole lock in normal form, one line each. URLs keep their logins, so only its owner may read the file.

        :param options: lines that replace the lock's own options
        """
        options = self.index_options() if options is None else options
        return "".join(f"{line}\n" for line in (*options, *(package.line for package in self.packages)))
