"""Files that nginx serves, packed once at build time, so that it packs none while it answers."""

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

# What gets smaller. nginx packs only some of these itself, and none of the fonts.
PACKABLE_WORDS = """
atom bmp css csv eot geojson htm html ico ics js json map md mjs otf rss svg ttf txt vtt wasm webmanifest xml xsl
"""
PACKABLE = frozenset(PACKABLE_WORDS.split())
# Below this a packet is a packet; as nginx's own gzip_min_length.
LEAST = 1024
# Above it, packing takes memory and many seconds, for what is hardly a part of a page.
MOST = 32 << 20
PATIENCE = 600
PIECE = 1 << 20


def gzipped(path: Path) -> bytes:
    """As small as zlib makes it; neither a name nor a time in it."""
    return gzip.compress(path.read_bytes(), 9, mtime=0)


def brotlied(path: Path) -> bytes:
    """By Debian's `brotli`: the system's Python has none."""
    command = ["brotli", "--best", "--stdout", str(path)]
    try:
        return subprocess.run(command, capture_output=True, check=True, timeout=PATIENCE).stdout
    except FileNotFoundError:
        raise BuildError("brotli is not there; run the whole site.yml once, its role `host` installs it") from None
    except subprocess.SubprocessError as error:
        raise BuildError(f"{path.name} was not packed: {error}. Leave `nginx_brotli` off if this goes on") from error


def holds_gzip(packed: Path, path: Path) -> bool:
    """Whether a file is exactly the other one, packed. It is read only as far as they agree: it may be a bomb."""
    try:
        if not packed.stat().st_size:  # to Python that is an empty file packed, to browsers it is none
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
    """The same, unpacked by `brotli`."""
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
class Way:
    """A way of packing: the suffix that nginx looks for, how to pack, and whether something is packed rightly."""

    suffix: str
    pack: Callable[[Path], bytes]
    holds: Callable[[Path, Path], bool]


WAYS = {"gzip": Way(".gz", gzipped, holds_gzip), "brotli": Way(".br", brotlied, holds_brotli)}


def served_folders(release: Path, public: Iterable[str]) -> list[Path]:
    """The folders of a release, without their links, that nginx serves; none inside of another, nothing elsewhere."""
    inside = [Path(os.path.realpath(release / part)) for part in ("app", "packages")]
    folders: set[Path] = set()
    for name in public:
        folder = Path(os.path.realpath(release / name))
        if any(folder == top or top in folder.parents for top in inside) and folder.is_dir():
            folders.add(folder)
    return sorted(each for each in folders if not folders & set(each.parents))


def served_files(folders: Iterable[Path]) -> Iterator[Path]:
    """Their files, without hidden ones, which nginx refuses, and links, which lead to another."""
    for top in folders:
        for folder, directories, names in trees.walk(top):
            directories[:] = sorted(name for name in directories if not name.startswith("."))
            for name in sorted(names):
                path = Path(folder, name)
                if not name.startswith(".") and path.is_file() and not path.is_symlink():
                    yield path


class Packing:
    """Packs the files of one release.

    :param before: an earlier release, as it was built, whose packed files are taken over where nothing has changed
    :param manifest: ``release.json`` of that one
    """

    def __init__(
        self, release: Path, ways: Iterable[str], gid: int, before: Path | None = None, manifest: Mapping | None = None
    ) -> None:
        self.release, self.gid = Path(os.path.realpath(release)), gid
        self.before = Path(os.path.realpath(before)) if before else None
        self.ways = [WAYS[name] for name in ways]
        self.suffixes = tuple(way.suffix for way in self.ways)
        # Elsewhere in that release, a compressed file may be an unchecked one of the source.
        manifest = manifest or {}
        self.known_ways = {WAYS[name].suffix for name in manifest.get("packed", {}).get("ways", ()) if name in WAYS}
        self.known = served_folders(self.before, public_files.folders(manifest) or []) if self.before else []

    def run(self, public: Iterable[str]) -> int:
        """Lay a packed copy beside each file that gets smaller by it; how many had to be packed."""
        if not self.ways:
            return 0
        served = served_files(served_folders(self.release, public))
        files = [path for path in served if not path.name.endswith(self.suffixes)]
        # zlib and brotli work outside of Python's lock.
        with ThreadPoolExecutor(len(os.sched_getaffinity(0))) as threads:
            return sum(threads.map(self.pack, files))

    def pack(self, path: Path) -> int:
        """One file, in every way; how often it was really packed."""
        done, smallest = 0, path.stat().st_size
        fits = LEAST <= smallest <= MOST and path.suffix.lower().lstrip(".") in PACKABLE
        same = self.unchanged(path)
        for way in self.ways:
            place = path.with_name(path.name + way.suffix)
            brought = os.path.lexists(place)
            # nginx would take it for the file: it must be, whatever the source says. Then it may be packed better.
            if place.is_dir() or (brought and way.holds(place, path)):
                continue
            if not (brought or fits):
                continue
            if same and not brought and way.suffix in self.known_ways:
                # What is not there did not get smaller then, and would not now.
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
        """The same file in the release before, if it was packed there."""
        if self.before is None:
            return None
        old = self.before / path.relative_to(self.release)
        if not set(self.known) & set(old.parents) or old.is_symlink() or not old.is_file():
            return None
        # One of uv's cache is one and the same.
        return old if os.path.samefile(old, path) or filecmp.cmp(old, path, shallow=False) else None

    def take(self, taken: Path, path: Path, place: Path) -> None:
        """Link what was packed before; copy it if it would have another time than its file has now."""
        if not taken.is_file():
            return
        if taken.is_symlink() or taken.stat().st_mtime != int(path.stat().st_mtime):
            self.place(path, place, taken.read_bytes())
        else:
            place.hardlink_to(taken)

    def place(self, path: Path, place: Path, packed: bytes) -> None:
        """Write it as a new file: what lay there may be one and the same with a file of uv's cache."""
        place.unlink(missing_ok=True)
        place.write_bytes(packed)
        # nginx makes ETag and Last-Modified of it: all hosts must agree.
        moment = int(path.stat().st_mtime)
        os.utime(place, (moment, moment))
        own(place, self.gid, 0o644)
