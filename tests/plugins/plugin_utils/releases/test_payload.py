"""The payload of a release: which files it packs, reproducibly and without following links."""

from __future__ import annotations

import contextlib
import io
import os
import shutil
import socket
import tarfile
from pathlib import Path

import pytest
from releases import code, packed

from ansible_collections.wsgi.sites.plugins.plugin_utils.releases import source_files
from ansible_collections.wsgi.sites.plugins.plugin_utils.releases.payload import pack
from ansible_collections.wsgi.sites.plugins.plugin_utils.sources import InputError, limits


def test_a_source_packs_to_the_same_bytes_in_any_folder(source: Path, tmp_path: Path) -> None:
    copy = tmp_path / "elsewhere"
    shutil.copytree(source, copy, symlinks=True)
    assert packed(copy) == packed(source)


def test_the_payload_does_not_depend_on_the_time(source: Path) -> None:
    assert packed(source)[4:8] == b"\0\0\0\0", "the time in gzip's header"


def test_files_that_are_not_code_are_not_packed(source: Path) -> None:
    names = {entry.name for entry in source_files.collect(source)}
    assert names == {
        "css", "requirements.txt", "run", "shop", "shop/instance", "shop/instance/code.py",
        "static", "static/style.css", "wsgi.py",
    }  # fmt: skip


def test_the_code_hash_follows_content_path_and_executable_bit_but_not_time(source: Path) -> None:
    seen = [code(source)]
    os.utime(source / "wsgi.py", (0, 0))
    assert code(source) == seen[-1]
    (source / "requirements.txt").write_text("# another lock\n", encoding="utf-8")
    assert code(source) == seen[-1], "the lock is a separate part"
    (source / "run").chmod(0o644)
    seen.append(code(source))
    (source / "wsgi.py").write_text("app = None\n", encoding="utf-8")
    seen.append(code(source))
    (source / "wsgi.py").rename(source / "other.py")
    seen.append(code(source))
    (source / "css").unlink()
    (source / "css").symlink_to("shop")
    seen.append(code(source))
    assert len(set(seen)) == len(seen)


def test_files_keep_their_time_and_belong_to_root(source: Path) -> None:
    os.utime(source / "static/style.css", (1_000_000_000, 1_000_000_000))
    with tarfile.open(fileobj=io.BytesIO(packed(source))) as tar:
        assert tar.getmember("app/static/style.css").mtime == 1_000_000_000
        assert tar.getmember("app/run").mode & 0o100
        assert not tar.getmember("app/wsgi.py").mode & 0o100
        assert {(member.uid, member.gid) for member in tar} == {(0, 0)}


@pytest.mark.parametrize("target", ["/etc/passwd", "../outside", "static/../../outside"])
def test_a_link_out_of_the_source_is_refused(source: Path, target: str) -> None:
    (source.parent / "outside").write_text("secret", encoding="utf-8")
    (source / "bad").symlink_to(target)
    with pytest.raises(InputError, match="the link bad leads out of the source"):
        source_files.collect(source)


def test_a_special_file_is_refused(source: Path) -> None:
    os.mkfifo(source / "pipe")
    with pytest.raises(InputError, match="pipe in the source is neither"):
        source_files.collect(source)


def test_a_file_that_changes_during_packing_is_an_error(source: Path) -> None:
    entries = source_files.collect(source)
    (source / "wsgi.py").write_text("x" * (source / "wsgi.py").stat().st_size, encoding="utf-8")
    with pytest.raises(InputError, match="changed while it was packed"):
        pack(io.BytesIO(), entries, {}, b"")


def exchange(path: Path, kind: str) -> None:
    """Put something else in a file's place, as somebody who can write to the source does."""
    secret = path.parents[2] / "secret"
    secret.write_bytes(path.read_bytes())
    if kind == "a folder above":
        path.parent.rename(path.parents[2] / "moved")
        path.parent.symlink_to(path.parents[2] / "moved")
        return
    path.unlink()
    if kind == "link":
        path.symlink_to(secret)
    elif kind == "fifo":
        os.mkfifo(path)
    elif kind == "folder":
        path.mkdir()
    elif kind == "socket":
        with socket.socket(socket.AF_UNIX) as made, contextlib.chdir(path.parent):
            made.bind(path.name)


EXCHANGED = pytest.mark.parametrize("kind", ["link", "fifo", "folder", "socket", "nothing", "a folder above"])


@EXCHANGED
def test_a_file_replaced_before_packing_is_not_read(source: Path, kind: str) -> None:
    entries = source_files.collect(source)
    exchange(source / "static/style.css", kind)
    with pytest.raises(InputError, match=r"static/style\.css changed while it was packed|static changed"):
        pack(io.BytesIO(), entries, {}, b"")


@EXCHANGED
def test_a_file_replaced_after_listing_is_not_read(source: Path, monkeypatch, kind: str) -> None:
    real = limits.open_below

    def late(top: Path, name: str) -> int:
        if name == "static/style.css":
            exchange(source / name, kind)
        return real(top, name)

    monkeypatch.setattr(limits, "open_below", late)
    with pytest.raises(InputError, match="changed while it was packed"):
        source_files.collect(source)


def test_a_folder_replaced_by_a_link_after_listing_is_not_entered(source: Path, monkeypatch) -> None:
    (source.parent / "secrets").mkdir()
    (source.parent / "secrets/key").write_text("secret", encoding="utf-8")
    real = limits.open_folder

    def late(top: Path, name: str) -> int:
        if name == "static":
            (source / name).rename(source.parent / "moved")
            (source / name).symlink_to(source.parent / "secrets")
        return real(top, name)

    monkeypatch.setattr(limits, "open_folder", late)
    with pytest.raises(InputError, match="static changed while it was packed"):
        source_files.collect(source)


def test_a_growing_file_is_not_packed_endlessly(source: Path) -> None:
    entries = source_files.collect(source)
    with (source / "wsgi.py").open("ab") as file:
        file.truncate(1 << 40)
    target = io.BytesIO()
    with pytest.raises(InputError, match=r"wsgi\.py changed while it was packed"):
        pack(target, entries, {}, b"")
    assert len(target.getvalue()) < 1 << 20


def test_a_local_source_has_the_limits_of_a_fetched_one(source: Path, monkeypatch) -> None:
    (source / "sparse").touch()
    os.truncate(source / "sparse", limits.BYTES + 1)
    with pytest.raises(InputError, match="its files are more than"):
        source_files.collect(source)
    (source / "sparse").unlink()
    monkeypatch.setattr(limits, "FILES", 5)
    with pytest.raises(InputError, match="more than 5 files and folders"):
        source_files.collect(source)


def test_a_source_of_too_deeply_nested_folders_is_refused(source: Path) -> None:
    (source / "/".join(["d"] * 70)).mkdir(parents=True)
    with pytest.raises(InputError, match="more than 64 folders deep; shorten it"):
        source_files.collect(source)


@pytest.mark.parametrize(("links", "refused"), [
    ({"a": "deep/er/../x"}, ""), ({"a": "b/../x", "b": "deep/er"}, ""), ({"a": "a"}, ""), ({"a": "none/x"}, ""),
    ({"a": "b/../x", "b": "."}, "a"), ({"deep/er/b": "../..", "a": "deep/er/b/../x"}, "a"),
    ({"deep/er/a": "../../.."}, "a"), ({"a": "deep/../.."}, "a"), ({"a": "none/../../x"}, "a"),
])  # fmt: skip
def test_a_link_is_resolved_through_the_packed_links(source: Path, links: dict, refused: str) -> None:
    (source / "deep/er").mkdir(parents=True)
    for name, target in links.items():
        (source / name).symlink_to(target)
    if refused:
        with pytest.raises(InputError, match=rf"the link (\S+/)?{refused} leads out of the source"):
            source_files.collect(source)
    else:
        assert set(links) <= {entry.name for entry in source_files.collect(source)}


def test_a_source_may_itself_be_a_link(source: Path) -> None:
    (source.parent / "current").symlink_to(source)
    assert packed(source.parent / "current") == packed(source)
