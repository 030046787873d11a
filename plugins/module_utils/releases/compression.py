"""Precompressed copies of the files that nginx serves, made at build time."""

from __future__ import annotations

import filecmp
import gzip
import os
import subprocess
import zlib
from collections.abc import Callable, Iterable, Iterator, Mapping
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass
from pathlib import Path

from ansible_collections.wsgi.sites.plugins.module_utils.releases import public_files
from ansible_collections.wsgi.sites.plugins.module_utils.releases.errors import BuildError
from ansible_collections.wsgi.sites.plugins.module_utils.releases.store import own
from ansible_collections.wsgi.sites.plugins.module_utils.system import trees

# Compressible file types. nginx compresses only some of these on the fly, and no fonts.
PACKABLE_WORDS = """
atom bmp css csv eot geojson htm html ico ics js json map md mjs otf rss svg ttf txt vtt wasm webmanifest xml xsl
"""
PACKABLE = frozenset(PACKABLE_WORDS.split())
# A smaller file fits into one packet anyway; the same as nginx's gzip_min_length.
LEAST = 1024
# Larger files take much memory and time to compress, and are rarely part of a web page.
MOST = 32 << 20
PATIENCE = 600
PIECE = 1 << 20


def gzipped(path: Path) -> bytes:
    """Compress by gzip at the highest level, without name and time, so that the result is reproducible."""
    return gzip.compress(path.read_bytes(), 9, mtime=0)


def brotlied(path: Path) -> bytes:
    """Compress by Debian's program `brotli`, which the system's Python has no module for."""
    command = ["brotli", "--best", "--stdout", str(path)]
    try:
        return subprocess.run(command, capture_output=True, check=True, timeout=PATIENCE).stdout
    except FileNotFoundError:
        raise BuildError("brotli is not installed; run the whole site.yml once (its role `host`)") from None
    except subprocess.SubprocessError as error:
        raise BuildError(f"{path.name} was not compressed: {error}. Set `nginx_brotli: false` if it recurs") from error


def holds_gzip(packed: Path, path: Path) -> bool:
    """Whether a gzip file contains exactly the other file. Read only up to a difference, since it may be a zip bomb."""
    try:
        if not packed.stat().st_size:  # Python accepts an empty file as gzip, browsers do not
            return False
        with gzip.open(packed) as ours, path.open("rb") as other:
            while True:
                piece = ours.read(PIECE)
                if piece != other.read(PIECE):
                    return False
                if not piece:
                    return True
    except (OSError, EOFError, zlib.error):
        return False


def holds_brotli(packed: Path, path: Path) -> bool:
    """The same for a brotli file."""
    if not packed.is_file():
        return False
    command = ["brotli", "--decompress", "--stdout", str(packed)]
    with (
        path.open("rb") as other,
        subprocess.Popen(command, stdout=subprocess.PIPE, stderr=subprocess.DEVNULL, bufsize=PIECE) as process,
        process.stdout as ours,  # type: ignore[union-attr]
    ):
        while piece := ours.read(PIECE):
            if piece != other.read(len(piece)):
                process.kill()
                return False
        return not other.read(1) and process.wait() == 0


@dataclass(frozen=True)
class Format:
    """A compression format: the suffix that nginx looks for, the compressor, and the check of an existing copy."""

    suffix: str
    pack: Callable[[Path], bytes]
    holds: Callable[[Path, Path], bool]


FORMATS = {"gzip": Format(".gz", gzipped, holds_gzip), "brotli": Format(".br", brotlied, holds_brotli)}


def served_folders(release: Path, public: Iterable[str]) -> list[Path]:
    """The outermost folders of a release that nginx serves, without links and without paths outside the release."""
    inside = [Path(os.path.realpath(release / part)) for part in ("app", "packages")]
    folders: set[Path] = set()
    for name in public:
        folder = Path(os.path.realpath(release / name))
        if any(folder == top or top in folder.parents for top in inside) and folder.is_dir():
            folders.add(folder)
    return sorted(each for each in folders if not folders & set(each.parents))


def served_files(folders: Iterable[Path]) -> Iterator[Path]:
    """Their files, without hidden files, which nginx refuses, and without links."""
    for top in folders:
        for folder, directories, names in trees.walk(top):
            directories[:] = sorted(name for name in directories if not name.startswith("."))
            for name in sorted(names):
                path = Path(folder, name)
                if not name.startswith(".") and path.is_file() and not path.is_symlink():
                    yield path


class Compressor:
    """Compresses the files of one release.

    :param before: an unchanged earlier release, whose compressed copies of unchanged files are reused
    :param manifest: ``release.json`` of that one
    """

    def __init__(
        self, release: Path, ways: Iterable[str], gid: int, before: Path | None = None, manifest: Mapping | None = None
    ) -> None:
        self.release, self.gid = Path(os.path.realpath(release)), gid
        self.before = Path(os.path.realpath(before)) if before else None
        self.ways = [FORMATS[name] for name in ways]
        self.suffixes = tuple(way.suffix for way in self.ways)
        # Outside the public folders of that release, a compressed file may be an unchecked one of the source.
        manifest = manifest or {}
        self.known_ways = {
            FORMATS[name].suffix for name in manifest.get("packed", {}).get("ways", ()) if name in FORMATS
        }
        self.known = served_folders(self.before, public_files.folders(manifest) or []) if self.before else []

    def run(self, public: Iterable[str]) -> int:
        """Write a compressed copy beside each file that it makes smaller; returns the number of compressions."""
        if not self.ways:
            return 0
        served = served_files(served_folders(self.release, public))
        files = [path for path in served if not path.name.endswith(self.suffixes)]
        # zlib and brotli run outside the GIL.
        with ThreadPoolExecutor(len(os.sched_getaffinity(0))) as threads:
            return sum(threads.map(self.pack, files))

    def pack(self, path: Path) -> int:
        """Compress one file in every format; returns the number of compressions."""
        done, smallest = 0, path.stat().st_size
        fits = LEAST <= smallest <= MOST and path.suffix.lower().lstrip(".") in PACKABLE
        same = self.unchanged(path)
        for way in self.ways:
            place = path.with_name(path.name + way.suffix)
            brought = os.path.lexists(place)
            # nginx would serve a copy from the source instead of the file, so its content must match.
            if place.is_dir() or (brought and way.holds(place, path)):
                continue
            if not (brought or fits):
                continue
            if same and not brought and way.suffix in self.known_ways:
                # A missing copy was not smaller then, and would not be now.
                self.take(same.with_name(same.name + way.suffix), path, place)
            else:
                packed = way.pack(path)
                done += 1
                if brought or len(packed) < smallest:
                    self.place(path, place, packed)
            if place.exists():
                smallest = min(smallest, place.stat().st_size)
        return done

    def unchanged(self, path: Path) -> Path | None:
        """The same file in the earlier release, if it was compressed there."""
        if self.before is None:
            return None
        old = self.before / path.relative_to(self.release)
        if not set(self.known) & set(old.parents) or old.is_symlink() or not old.is_file():
            return None
        # Files of uv's cache are shared by hard links.
        return old if os.path.samefile(old, path) or filecmp.cmp(old, path, shallow=False) else None

    def take(self, taken: Path, path: Path, place: Path) -> None:
        """Link an earlier compressed copy; copy it if its time differs from its file's present time."""
        if not taken.is_file():
            return
        if taken.is_symlink() or taken.stat().st_mtime != int(path.stat().st_mtime):
            self.place(path, place, taken.read_bytes())
        else:
            place.hardlink_to(taken)

    def place(self, path: Path, place: Path, packed: bytes) -> None:
        """Write it as a new file, since an existing one may share its inode with uv's cache."""
        place.unlink(missing_ok=True)
        place.write_bytes(packed)
        # nginx derives ETag and Last-Modified from the time, which must be the same on all hosts.
        moment = int(path.stat().st_mtime)
        os.utime(place, (moment, moment))
        own(place, self.gid, 0o644)
