"""The folder of a site's certificates, and the link to the pair that nginx uses."""

from __future__ import annotations

import hashlib
import os
import shutil
import stat
from collections.abc import Callable, Iterable, Mapping
from dataclasses import dataclass
from pathlib import Path

FULLCHAIN, PRIVKEY = "fullchain.pem", "privkey.pem"

Note = Callable[[str], bool]


@dataclass(frozen=True)
class Folder:
    """``/etc/SITE``: nginx names files below ``tls`` and no others, so that a pair is exchanged by one rename."""

    site: str
    etc: Path = Path("/etc")

    @property
    def link(self) -> Path:
        """The link that nginx's configuration names."""
        return self.etc / self.site / "tls"

    @property
    def certificates(self) -> Path:
        """All pairs of the site, each in its own folder; for root only."""
        return self.etc / self.site / "certificates"

    @property
    def new(self) -> Path:
        """The temporary folder of the next pair."""
        return self.certificates / ".new"

    @property
    def used(self) -> Path | None:
        """The folder of the pair that nginx uses, or None."""
        return Path(os.path.normpath(self.link.parent / os.readlink(self.link))) if self.link.is_symlink() else None

    def make_room(self) -> Path:
        """Create an empty folder for the next pair; leftovers of an interrupted run are removed."""
        if self.new.exists():
            shutil.rmtree(self.new)
        self.certificates.mkdir(mode=0o700, parents=True, exist_ok=True)
        self.certificates.chmod(0o700)
        self.new.mkdir(mode=0o700)
        return self.new

    def named(self, kind: str, files: Mapping[str, bytes]) -> Path:
        """The folder of a pair, named by a hash of its content."""
        return self.certificates / f"{kind}-{hashlib.sha256(files[FULLCHAIN]).hexdigest()[:12]}"

    @staticmethod
    def holds(folder: Path, files: Mapping[str, bytes]) -> bool:
        """Whether the folder has exactly these files, with the right owner and mode."""
        return all(is_right(folder / name, content) for name, content in files.items())

    def place(self, kind: str, files: Mapping[str, bytes], note: Note) -> None:
        """Install a pair in its own folder, and point nginx's link to it.

        :param note: records a change and returns whether to apply it (not in check mode)
        """
        target = self.named(kind, files)
        if not target.exists():
            if note(f"put a certificate into {target}"):
                if not self.new.exists() or {name: read(self.new / name) for name in files} != files:
                    self.make_room()
                for name, content in files.items():
                    write(self.new / name, content)
                self.new.rename(target)
        else:
            for name, content in files.items():
                if not is_right(target / name, content) and note(f"correct {target / name}"):
                    write(target / name, content)
        if self.used != target and note(f"point {self.link} to {target.name}"):
            temporary = self.link.with_name(".tls.new")
            temporary.unlink(missing_ok=True)
            temporary.symlink_to(target.relative_to(self.link.parent))
            temporary.rename(self.link)

    def spare(self, wanted: bool) -> list[Path]:
        """Unused pairs.

        :param wanted: whether the site has a certificate at all; if not, every pair is unused
        """
        used = self.used if wanted else None
        pairs = sorted(self.certificates.iterdir()) if self.certificates.is_dir() else []
        spare = [path for path in pairs if path != used]
        if used is None or used.parent != self.certificates:
            spare += [self.certificates] if self.certificates.is_dir() else []
        if not wanted and self.link.is_symlink():
            spare.insert(0, self.link)
        return spare


def remove(paths: Iterable[Path], note: Note) -> None:
    """Remove files, links and whole folders."""
    for path in paths:
        if note(f"remove {path}"):
            if path.is_dir() and not path.is_symlink():
                shutil.rmtree(path)
            else:
                path.unlink()


def read(path: Path) -> bytes | None:
    """A file's content; None if there is none."""
    try:
        return path.read_bytes()
    except OSError:
        return None


def is_right(path: Path, content: bytes) -> bool:
    """Whether a file has this content, and only root can read it."""
    if read(path) != content:
        return False
    info = path.stat()
    return stat.S_IMODE(info.st_mode) == 0o600 and info.st_uid == os.geteuid()


def write(path: Path, content: bytes) -> None:
    """Write a file atomically, readable by root only from its first byte on."""
    temporary = path.with_name(f".{path.name}.new")
    temporary.unlink(missing_ok=True)
    descriptor = os.open(temporary, os.O_WRONLY | os.O_CREAT | os.O_EXCL | os.O_NOFOLLOW, 0o600)
    with open(descriptor, "wb") as stream:
        stream.write(content)
        stream.flush()
        os.fsync(stream.fileno())
    os.replace(temporary, path)
