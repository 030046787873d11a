"""Files that nginx serves are compressed once, without changing uv's cache."""

from __future__ import annotations

import gzip
import os
import shutil
import subprocess
from pathlib import Path

import pytest

from ansible_collections.wsgi.sites.plugins.module_utils.releases import compression
from ansible_collections.wsgi.sites.plugins.module_utils.releases.compression import Compressor

TEXT = b"body { color: #123456; }\n" * 200
PUBLIC = ["app/static", "packages/lib/static"]
GZIP = {"packed": {"ways": ["gzip"]}, "public": PUBLIC}
needs_brotli = pytest.mark.skipif(not shutil.which("brotli"), reason="needs Debian's brotli")


def make_release(folder: Path, files: dict[str, bytes], when: float = 1_000_000_000.5) -> Path:
    """A release with these files, and packages hard-linked to a cache."""
    for name in ("app/static", "venv/site/lib/static"):
        (folder / name).mkdir(parents=True)
    (folder / "packages").symlink_to("venv/site")
    for name, content in files.items():
        path = folder / name
        path.parent.mkdir(parents=True, exist_ok=True)
        path.write_bytes(content)
        os.utime(path, (when, when))
    return folder


def packs(release: Path, before: Path | None = None, known: dict | None = GZIP, ways: tuple = ("gzip",)) -> int:
    """Compress the release; the number of files that were compressed."""
    return Compressor(release, ways, os.getgid(), before, known).run(PUBLIC)


def copies(release: Path) -> set[str]:
    """The compressed copies."""
    return {str(path.relative_to(release)) for path in release.rglob("*") if path.suffix in (".gz", ".br")}


def test_served_files_that_shrink_are_compressed(tmp_path: Path) -> None:
    noise = os.urandom(5000)
    release = make_release(
        tmp_path / "one",
        {
            "app/static/style.css": TEXT,
            "app/static/deep/APP.JS": TEXT,
            "app/static/small.css": b"a" * 1023,
            "app/static/noise.js": noise,
            "app/static/photo.jpg": TEXT,
            "app/static/.hidden.css": TEXT,
            "app/static/.git/config.txt": TEXT,
            "app/code.css": TEXT,
            "venv/site/lib/static/lib.js": TEXT,
            "venv/site/lib/code.js": TEXT,
        },
    )
    (release / "app/static/link.css").symlink_to("style.css")
    assert packs(release) == 4, "one of them does not shrink"
    assert copies(release) == {
        "app/static/style.css.gz", "app/static/deep/APP.JS.gz", "venv/site/lib/static/lib.js.gz",
    }  # fmt: skip
    made = release / "app/static/style.css.gz"
    assert gzip.decompress(made.read_bytes()) == TEXT
    assert made.read_bytes()[4:8] == b"\0\0\0\0", "without a time, so that all hosts make the same bytes"
    assert (made.stat().st_mtime, made.stat().st_mode & 0o777) == (1_000_000_000, 0o644)


def test_nothing_outside_of_the_release_is_compressed(tmp_path: Path) -> None:
    release = make_release(tmp_path / "one", {})
    make_release(tmp_path / "elsewhere", {"app/static/style.css": TEXT})
    (release / "app/static").rmdir()
    (release / "app/static").symlink_to(tmp_path / "elsewhere/app/static")
    assert packs(release) == 0
    assert copies(tmp_path / "elsewhere") == set()


@pytest.mark.parametrize("name", ["style.css", "tiny.css", "photo.jpg", "noise.js"])
@pytest.mark.parametrize("stale", [gzip.compress(b"old"), gzip.compress(TEXT + b"more"), b"none at all", b""],
                         ids=["old", "longer", "no gzip", "empty"])  # fmt: skip
def test_a_stale_copy_in_the_source_is_never_served(tmp_path: Path, name: str, stale: bytes) -> None:
    content = {"tiny.css": b"a {}", "noise.js": os.urandom(5000)}.get(name, TEXT)
    release = make_release(tmp_path / "one", {f"app/static/{name}": content, f"app/static/{name}.gz": stale})
    packs(release)
    assert gzip.decompress((release / f"app/static/{name}.gz").read_bytes()) == content


def test_a_valid_or_lone_copy_in_the_source_is_kept(tmp_path: Path) -> None:
    files = {"style.css": TEXT, "style.css.gz": gzip.compress(TEXT, 1), "data.csv.gz": gzip.compress(TEXT)}
    release = make_release(tmp_path / "one", {f"app/static/{name}": content for name, content in files.items()})
    (release / "app/static/style.css.gz.gz").write_bytes(b"")
    assert packs(release) == 0
    assert {name: (release / "app/static" / name).read_bytes() for name in files} == files


def test_the_package_cache_is_never_written(tmp_path: Path) -> None:
    cache = make_release(tmp_path / "cache", {"lib.js": TEXT, "lib.js.gz": gzip.compress(b"stale")})
    release = make_release(tmp_path / "one", {})
    for name in ("lib.js", "lib.js.gz"):
        (release / "packages/lib/static" / name).hardlink_to(cache / name)
    seen = {path.name: (path.read_bytes(), path.stat().st_mode, path.stat().st_mtime) for path in cache.glob("lib*")}
    packs(release)
    assert gzip.decompress((release / "packages/lib/static/lib.js.gz").read_bytes()) == TEXT
    assert seen == {
        path.name: (path.read_bytes(), path.stat().st_mode, path.stat().st_mtime) for path in cache.glob("lib*")
    }


FILES = {"app/static/a.css": TEXT, "app/static/b.css": TEXT + b"b", "app/static/noise.js": os.urandom(5000)}


class TestTheNextRelease:
    """Copies of unchanged files are reused from the previous release."""

    @pytest.fixture
    def before(self, tmp_path: Path) -> Path:
        release = make_release(tmp_path / "one", {**FILES, "venv/site/lib/static/lib.js": TEXT})
        assert packs(release) == 4
        return release

    def test_only_changed_files_are_compressed(self, tmp_path: Path, before: Path) -> None:
        release = make_release(tmp_path / "two", {**FILES, "app/static/b.css": TEXT + b"c"})
        (release / "packages/lib/static/lib.js").hardlink_to(before / "packages/lib/static/lib.js")
        assert packs(release, before) == 1, "nor what did not shrink"
        assert copies(release) == copies(before)
        for name in ("app/static/a.css.gz", "packages/lib/static/lib.js.gz"):
            assert (release / name).samefile(before / name)
        assert gzip.decompress((release / "app/static/b.css.gz").read_bytes()) == TEXT + b"c"

    def test_a_copy_has_the_time_of_its_file(self, tmp_path: Path, before: Path) -> None:
        release = make_release(tmp_path / "two", FILES, when=1_100_000_000)
        assert packs(release, before) == 0
        name = "app/static/a.css.gz"
        assert (release / name).read_bytes() == (before / name).read_bytes()
        assert [(each / name).stat().st_mtime for each in (before, release)] == [1_000_000_000, 1_100_000_000]

    @pytest.mark.parametrize("known", [None, {}, {**GZIP, "public": ["app/other"]}])
    def test_an_unchecked_copy_of_the_previous_release_is_not_reused(
        self, tmp_path: Path, before: Path, known: dict
    ) -> None:
        (before / "app/static/a.css.gz").write_bytes(gzip.compress(b"brought, and stale"))
        release = make_release(tmp_path / "two", FILES)
        assert packs(release, before, known) == 3
        assert gzip.decompress((release / "app/static/a.css.gz").read_bytes()) == TEXT


@needs_brotli
def test_brotli_compresses_further(tmp_path: Path) -> None:
    files = {"style.css": TEXT, "stale.css": TEXT, "stale.css.br": b"stale", "right.css": TEXT}
    release = make_release(tmp_path / "one", {f"app/static/{name}": content for name, content in files.items()})
    subprocess.run(["brotli", "-1", release / "app/static/right.css"], check=True)
    right = (release / "app/static/right.css.br").read_bytes()
    assert packs(release, ways=("gzip", "brotli")) == 5
    for name in ("style", "stale"):
        made = release / f"app/static/{name}.css.br"
        assert subprocess.run(["brotli", "-dc", made], capture_output=True, check=True).stdout == TEXT
        assert made.stat().st_size < made.with_suffix(".gz").stat().st_size
    assert (release / "app/static/right.css.br").read_bytes() == right


def test_a_host_without_brotli_is_reported_with_the_remedy(tmp_path: Path, monkeypatch) -> None:
    monkeypatch.setenv("PATH", str(tmp_path))
    release = make_release(tmp_path / "one", {"app/static/style.css": TEXT})
    with pytest.raises(compression.BuildError, match=r"run the whole site\.yml"):
        packs(release, ways=("brotli",))
