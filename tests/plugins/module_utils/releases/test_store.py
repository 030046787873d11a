"""Releases on the disk: unpacking, modes, removal and IDs."""

from __future__ import annotations

import io
import json
import os
import subprocess
import tarfile
from pathlib import Path

import pytest
from releases import NOW, PARTS, code, make_release, packed, passable

from ansible_collections.wsgi.sites.plugins.module_utils.releases import (
    fingerprint,
    store,
)
from ansible_collections.wsgi.sites.plugins.module_utils.site import paths
from ansible_collections.wsgi.sites.plugins.module_utils.system import trees


def archive(*members: tuple[str, bytes, bytes]) -> tarfile.TarFile:
    """A tar of (name, type, content or link) members."""
    target = io.BytesIO()
    with tarfile.open(fileobj=target, mode="w") as tar:
        for name, kind, content in members:
            member = tarfile.TarInfo(name)
            member.type = kind
            if kind == tarfile.REGTYPE:
                member.size = len(content)
            else:
                member.linkname = content.decode()
            tar.addfile(member, io.BytesIO(content))
    target.seek(0)
    return tarfile.open(fileobj=target)


def test_a_source_unpacks_unchanged(source: Path, tmp_path: Path) -> None:
    destination = tmp_path / "app"
    destination.mkdir()
    os.utime(source / "static/style.css", (1_000_000_000, 1_000_000_000))
    with tarfile.open(fileobj=io.BytesIO(packed(source))) as tar:
        store.unpack(tar, "app", destination)
    assert code(destination) == code(source)
    assert (destination / "static/style.css").stat().st_mtime == 1_000_000_000
    assert not (destination / "settings.json").exists()


@pytest.mark.parametrize("members", [
    [("app/../../evil", tarfile.REGTYPE, b"x")],
    [("app/out", tarfile.SYMTYPE, b"/etc"), ("app/out/evil", tarfile.REGTYPE, b"x")],
    [("app/out", tarfile.SYMTYPE, b"../..")],
    # The names look harmless, but `x/s` is `app/`, so that `l` is two folders above it.
    [("app/x", tarfile.DIRTYPE, b""), ("app/x/s", tarfile.SYMTYPE, b".."), ("app/l", tarfile.SYMTYPE, b"x/s/../..")],
    [("app/x", tarfile.DIRTYPE, b""), ("app/x/s", tarfile.SYMTYPE, b".."), ("app/l", tarfile.SYMTYPE, b"x/s/../.."),
     ("app/l/evil", tarfile.REGTYPE, b"x")],
    [("app/in", tarfile.SYMTYPE, b"."), ("app/in/in/../../evil", tarfile.REGTYPE, b"x")],
    [("app/hard", tarfile.LNKTYPE, b"/etc/passwd")],
    [("app/device", tarfile.CHRTYPE, b"")],
    [("app/pipe", tarfile.FIFOTYPE, b"")],
])  # fmt: skip
def test_nothing_is_unpacked_outside_the_release(tmp_path: Path, members: list) -> None:
    destination = tmp_path / "release" / "app"
    destination.mkdir(parents=True)
    with pytest.raises(store.UnpackError):
        store.unpack(archive(*members), "app", destination)
    assert not list(tmp_path.rglob("evil"))


def test_only_public_folders_are_readable_for_everyone(source: Path) -> None:
    store.set_modes(source, os.getgid(), store.app_folders(["app/static"]))
    modes = {
        name: (source / name).stat().st_mode & 0o777
        for name in ("", "wsgi.py", "run", "shop", "static", "static/style.css")
    }
    assert modes == {
        "": 0o751, "wsgi.py": 0o640, "run": 0o750, "shop": 0o751, "static": 0o755, "static/style.css": 0o644,
    }  # fmt: skip


@pytest.mark.skipif(os.geteuid() != 0, reason="only root can become somebody else")
def test_packages_are_readable_by_the_site_and_public_ones_by_nginx(tmp_path: Path) -> None:
    """As three who come by: the site, nginx's worker, and another site, who knows every name."""
    passable(tmp_path)
    release, cache = tmp_path / "release", tmp_path / "cache"
    packages = release / "venv/lib/python3.11/site-packages"
    served, code, own, hidden = (
        packages / name for name in ("shop/static/css/a.css", "shop/secret.py", "six.py", "other/code.py")
    )
    for path in (served, code, own, hidden, release / "venv/pyvenv.cfg"):
        path.parent.mkdir(parents=True, exist_ok=True)
        cached = cache / path.name
        cached.parent.mkdir(exist_ok=True)
        cached.write_text("x")
        path.hardlink_to(cached)
    (packages.parent.parent / "link").symlink_to("nowhere")
    (release / "packages").symlink_to("venv/lib/python3.11/site-packages")
    before = fingerprint.venv_digest(release / "venv")
    public = ["packages/shop/static"]

    def readers(group: int, *files: Path) -> list[bool]:
        code = "import os, sys; print([os.access(each, os.R_OK) for each in sys.argv[1:]])"
        done = subprocess.run(
            ["/usr/bin/python3", "-I", "-c", code, *map(str, files)],
            user=61236, group=group, extra_groups=[], capture_output=True, text=True, check=True, cwd="/",
        )  # fmt: skip
        return json.loads(done.stdout.lower())

    site, stranger = 61240, 61241
    files = (release / "packages/shop/static/css/a.css", code, own, hidden, release / "venv/pyvenv.cfg")
    store.own(release, site, store.release_mode(public))
    store.set_venv_modes(release, site, public)
    assert readers(site, *files) == [True] * 5
    assert readers(stranger, *files) == [True, False, False, False, False]
    assert (cache / "six.py").stat().st_mode & 0o777 == 0o644, "the cache is shared with other sites"
    assert os.path.samefile(served, cache / "a.css"), "served files remain hard links to the cache"
    assert fingerprint.venv_digest(release / "venv") != before
    after = fingerprint.venv_digest(release / "venv")
    store.set_venv_modes(release, site, public)
    assert fingerprint.venv_digest(release / "venv") == after

    store.own(release, site, store.release_mode([]))
    store.set_venv_modes(release, site, [])
    assert readers(site, *files) == [True] * 5
    assert readers(stranger, *files, release) == [False] * 6


def test_thousands_of_nested_folders_are_refused_and_removed(site: paths.Layout, tmp_path: Path) -> None:
    deep = "app/" + "/".join("d" * 129)
    with pytest.raises(store.UnpackError, match="more than 128 deep"):
        store.unpack(archive((deep, tarfile.DIRTYPE, b"")), "app", tmp_path / "app")
    half_built = site.release("A")
    (half_built / "venv").mkdir(parents=True)
    handle = os.open(half_built / "venv", os.O_RDONLY)
    for _ in range(1100):
        os.mkdir("d", dir_fd=handle)
        below = os.open("d", os.O_RDONLY, dir_fd=handle)
        os.close(handle)
        handle = below
    os.close(handle)
    with pytest.raises(store.UnpackError, match="more than 128 deep"):
        store.check_depth(half_built / "venv")
    assert fingerprint.tree_digest(half_built) and fingerprint.venv_digest(half_built / "venv")
    assert store.remove_half_built(site) == ["A"]
    assert list(site.releases.iterdir()) == []


def test_a_release_that_cannot_be_removed_is_reported(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(trees, "RM", "/bin/false")
    with pytest.raises(OSError, match="cannot be removed completely") as error:
        trees.remove(tmp_path)
    assert error.value.filename == str(tmp_path)


def test_half_built_releases_are_removed_but_never_one_in_a_slot(site: paths.Layout) -> None:
    make_release(site, "A", PARTS, "blue", complete=False)
    make_release(site, "B", PARTS)
    make_release(site, "C", PARTS, complete=False)
    assert store.complete(site) == ["B"]
    assert store.remove_half_built(site) == ["C"]
    assert sorted(path.name for path in site.releases.iterdir()) == ["A", "B"]


def test_pruning_keeps_the_newest_the_live_and_the_previous(site: paths.Layout) -> None:
    for name in "BCDEFG":
        make_release(site, name, PARTS)
    make_release(site, "A", PARTS, "blue")
    site.previous.write_text("C\n", encoding="utf-8")
    assert store.prune(site, 2, new="G") == ["B", "D", "E"]
    assert store.complete(site) == ["A", "C", "F", "G"]


def test_an_id_is_never_taken_twice(site: paths.Layout) -> None:
    assert store.new_id(site, "1a2b3c4d5e", NOW) == "20261121T031500Z-1a2b3c4d"
    site.release("20261121T031500Z-1a2b3c4d").mkdir(parents=True)
    assert store.new_id(site, "1a2b3c4d5e", NOW) == "20261121T031500Z-1a2b3c4d-2"
