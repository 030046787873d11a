"""Archives as sources: unpacking, downloads and limits."""

from __future__ import annotations

import contextlib
import gzip
import hashlib
import lzma
import os
import socket
import stat
import subprocess
import tarfile
import threading
import zipfile
from pathlib import Path

import pytest
from repositories import CANARY, WHEN, listing, member, tarball

from ansible_collections.wsgi.sites.plugins.plugin_utils.releases.source_files import collect
from ansible_collections.wsgi.sites.plugins.plugin_utils.sources import (
    InputError,
    archive_fetch,
    archive_streams,
    archive_unpack,
    limits,
    tree,
)

FOLDER, LINK, HARD = tarfile.DIRTYPE, tarfile.SYMTYPE, tarfile.LNKTYPE


@pytest.mark.parametrize("suffix", [".tar.gz", ".tar.xz"])
def test_a_tarball_is_unpacked_without_its_top_folder(tmp_path: Path, fetch, suffix: str) -> None:
    source = tarball(
        tmp_path / f"a{suffix}", (member("shop-1.0/", FOLDER), b""), (member("shop-1.0/wsgi.py"), b"app = 1\n"),
        (member("./shop-1.0/bin/run", mode=0o4755), b"#!\n"), (member("shop-1.0/link", LINK, "wsgi.py"), b""),
        (member("shop-1.0/same", HARD, "shop-1.0/wsgi.py"), b""),
    )  # fmt: skip
    folder, said = fetch(**source)
    assert said == f"archive {tmp_path}/a{suffix} (sha256 {source['sha256']})"
    assert listing(folder) == {
        "wsgi.py": (b"app = 1\n", WHEN, False), "bin/run": (b"#!\n", WHEN, True), "link": "wsgi.py",
        "same": (b"app = 1\n", WHEN, False),
    }  # fmt: skip
    assert not (folder / "bin/run").stat().st_mode & stat.S_ISUID


def test_an_archive_without_a_top_folder_is_kept_and_a_subfolder_selected(tmp_path: Path, fetch) -> None:
    source = tarball(
        tmp_path / "a.tar.gz", (member("wsgi.py"), b""), (member("shop/x.py"), b"x"), (member("docs/y"), b"")
    )
    assert sorted(listing(fetch(**source)[0])) == ["docs/y", "shop/x.py", "wsgi.py"]
    assert listing(fetch(**source, subfolder="shop")[0]) == {"x.py": (b"x", WHEN, False)}
    with pytest.raises(InputError, match="is not in the archive, which has docs, shop"):
        fetch(**source, subfolder="none")


def test_a_zip_is_unpacked(tmp_path: Path, fetch) -> None:
    with zipfile.ZipFile(tmp_path / "a.zip", "w") as made:
        info = zipfile.ZipInfo("top/run", (2026, 1, 2, 3, 4, 6))
        info.external_attr = 0o100755 << 16
        made.writestr(info, "#!\n")
        info = zipfile.ZipInfo("top/link")
        info.external_attr = 0o120777 << 16
        made.writestr(info, "run")
    folder, _ = fetch(archive="a.zip", sha256=archive_fetch.digest(tmp_path / "a.zip").upper())
    assert listing(folder) == {"run": (b"#!\n", 1767323046, True), "link": "run"}


@pytest.mark.parametrize("bad", [
    member("../evil"), member("/evil"), member("a/../../evil"), member("a/dev", tarfile.CHRTYPE),
    member("a/pipe", tarfile.FIFOTYPE), member("a/hard", HARD, "../../etc/passwd"),
    member("a/hard", HARD, "/etc/passwd"),
    member("a/hard", HARD, "a/none"), member("a/x"),
], ids=lambda made: f"{made.name}-{made.type!r}")  # fmt: skip
def test_a_member_outside_of_the_archive_is_refused(tmp_path: Path, fetch, bad: tarfile.TarInfo) -> None:
    source = tarball(tmp_path / "a.tar.gz", (member("a/x"), b"1"), (member("b"), b""), (bad, b""))
    with pytest.raises(InputError, match="source: "):
        fetch(**source)
    assert not [path for path in tmp_path.rglob("*") if path.name in ("evil", "dev", "pipe")]


def test_no_file_is_written_through_a_link(tmp_path: Path, fetch) -> None:
    (tmp_path / "outside").mkdir()
    source = tarball(
        tmp_path / "a.tar.gz", (member("x", LINK, str(tmp_path / "outside")), b""), (member("x/evil"), b"")
    )
    with pytest.raises(InputError, match="is there twice"):
        fetch(**source)
    assert not list((tmp_path / "outside").iterdir())


def test_a_link_out_of_an_archive_is_refused_when_it_is_packed(tmp_path: Path, fetch) -> None:
    folder, _ = fetch(**tarball(tmp_path / "a.tar.gz", (member("a"), b""), (member("bad", LINK, "/etc/passwd"), b"")))
    with pytest.raises(InputError, match="the link bad leads out of the source"):
        collect(folder)


def test_an_archive_with_another_hash_is_refused_before_it_is_opened(tmp_path: Path, fetch, monkeypatch) -> None:
    source = tarball(tmp_path / "a.tar.gz", (member("a"), b""))
    monkeypatch.setattr(archive_unpack, "unpack", lambda *_: pytest.fail("opened"))
    with pytest.raises(InputError, match=rf"source\.sha256: .*its hash is {source['sha256']}"):
        fetch(archive=source["archive"], sha256="0" * 64)


def test_a_missing_and_a_broken_archive_are_reported(tmp_path: Path, fetch) -> None:
    with pytest.raises(InputError, match=r"source\.archive: there is no file .*none\.zip"):
        fetch(archive="none.zip", sha256="0" * 64)
    for content, says in ((b"hello world", "is neither a .tar.gz"), (b"\x1f\x8b\x08broken", "cannot be unpacked")):
        (tmp_path / "bad").write_bytes(content)
        with pytest.raises(InputError, match=says):
            fetch(archive="bad", sha256=hashlib.sha256(content).hexdigest())


def test_an_archive_is_downloaded_once_and_its_login_never_shown(tmp_path: Path, fetch, server, monkeypatch) -> None:
    host, handler = server
    for variable in ("http_proxy", "HTTP_PROXY", "all_proxy", "ALL_PROXY"):
        monkeypatch.delenv(variable, raising=False)
    source = tarball(tmp_path / "served/a.tar.gz", (member("wsgi.py"), b"app = 1\n"))
    url = f"http://me:{CANARY}%2F%40@{host}/a.tar.gz?token={CANARY}"
    folder, said = fetch(archive=url, sha256=source["sha256"])
    assert (folder / "wsgi.py").read_text() == "app = 1\n"
    assert said == f"archive http://{host}/a.tar.gz (sha256 {source['sha256']})"
    count = len(handler.seen)
    fetch(archive=url, sha256=source["sha256"], run="later")
    assert len(handler.seen) == count, "kept under its hash"
    kept = tmp_path / "cache/archives" / source["sha256"]
    kept.write_bytes(b"damaged")
    assert fetch(archive=url, sha256=source["sha256"], run="damaged")[0].is_dir()
    monkeypatch.setattr(archive_fetch, "KEEP", 1)
    (kept.parent / ("0" * 64)).touch()
    os.utime(kept.parent / ("0" * 64), (0, 0))
    kept.unlink()
    fetch(archive=url, sha256=source["sha256"], run="again")
    assert [path for path in kept.parent.iterdir() if not path.suffix] == [kept], "old ones are removed"
    for wrong, says in (
        (url.replace("a.tar.gz", "b.tar.gz"), "answers 404"),
        (url.replace("me:", "you:"), "answers 401"),
        (url.replace(host, "127.0.0.1:9"), "cannot be fetched"),
        (url, "source.sha256"),
    ):
        with pytest.raises(InputError, match=says) as error:
            fetch(archive=wrong, sha256="1" * 64)
        assert CANARY not in str(error.value)


@pytest.mark.parametrize("date", [(1980, 0, 0, 0, 0, 0), (2107, 15, 31, 31, 63, 58), (1980, 1, 0, 0, 0, 0)])
def test_a_zip_with_an_invalid_date_is_unpacked(tmp_path: Path, fetch, date: tuple) -> None:
    with zipfile.ZipFile(tmp_path / "a.zip", "w") as made:
        made.writestr(zipfile.ZipInfo("wsgi.py", date), "app = 1\n")
    folder, _ = fetch(archive="a.zip", sha256=archive_fetch.digest(tmp_path / "a.zip"))
    assert 315446400 <= listing(folder)["wsgi.py"][1] < 2**32


@pytest.mark.parametrize("when", [-1e300, 1e300, float("inf"), float("nan"), -5])
def test_a_tarball_with_an_invalid_time_is_unpacked(tmp_path: Path, fetch, when: float) -> None:
    made = member("wsgi.py")
    made.pax_headers = {"mtime": str(when)}
    folder, _ = fetch(**tarball(tmp_path / "a.tar.gz", (made, b"app = 1\n")))
    assert listing(folder)["wsgi.py"][1] in (0, 2**32 - 1)


def test_a_slow_download_times_out(tmp_path: Path, fetch, monkeypatch) -> None:
    def drip() -> None:
        peer, _ = listener.accept()
        with peer, contextlib.suppress(OSError):
            peer.recv(65536)
            peer.sendall(b"HTTP/1.1 200 OK\r\nContent-Length: 100000\r\n\r\n")
            while not over.wait(0.05):
                peer.sendall(b"x")

    for variable in ("http_proxy", "HTTP_PROXY", "all_proxy", "ALL_PROXY"):
        monkeypatch.delenv(variable, raising=False)
    monkeypatch.setattr(archive_fetch, "PATIENCE", 1)
    over = threading.Event()
    with socket.create_server(("127.0.0.1", 0)) as listener:
        thread = threading.Thread(target=drip)
        thread.start()
        try:
            with pytest.raises(InputError, match="did not come within"):
                fetch(archive=f"http://127.0.0.1:{listener.getsockname()[1]}/a.tar.gz", sha256="1" * 64)
        finally:
            over.set()
            thread.join()


def packed(path: Path, content: bytes) -> dict[str, str]:
    path.write_bytes(content)
    return {"archive": str(path), "sha256": hashlib.sha256(content).hexdigest()}


def test_a_decompression_bomb_is_refused_before_it_is_written(tmp_path: Path, fetch, monkeypatch) -> None:
    monkeypatch.setattr(archive_unpack, "ANYWAY", 1 << 20)
    monkeypatch.setattr(tree, "write", lambda *_: pytest.fail("written"))
    monkeypatch.setattr(archive_unpack, "write", lambda *_: pytest.fail("written"))
    zeros = b"\0" * (8 << 20)
    sources = [
        tarball(tmp_path / f"a{suffix}", (member("a/x"), zeros)) for suffix in (".tar.gz", ".tar.xz")
    ]  # fmt: skip
    with zipfile.ZipFile(tmp_path / "a.zip", "w", zipfile.ZIP_DEFLATED) as made:
        made.writestr("a/x", zeros)
    sources.append({"archive": "a.zip", "sha256": archive_fetch.digest(tmp_path / "a.zip")})
    # A header with a size of a petabyte, without content.
    huge = member("a/x")
    huge.size = 1 << 50
    sources.append(packed(tmp_path / "b.tar.gz", gzip.compress(huge.tobuf(tarfile.GNU_FORMAT) + b"\0" * 1024)))
    for number, source in enumerate(sources):
        with pytest.raises(InputError, match="unpacks to more than 1 MB, which is more than 200 times"):
            fetch(**source, run=f"run{number}")


@pytest.mark.parametrize("kind", [tarfile.XHDTYPE, tarfile.XGLTYPE, tarfile.GNUTYPE_LONGNAME, tarfile.GNUTYPE_LONGLINK])
def test_an_oversized_member_name_is_not_kept_in_memory(tmp_path: Path, fetch, monkeypatch, kind: bytes) -> None:
    monkeypatch.setattr(archive_streams, "AT_ONCE", 1 << 20)
    head = member("x", kind)
    head.size = 8 << 20
    source = packed(tmp_path / "a.tar.gz", gzip.compress(head.tobuf(tarfile.USTAR_FORMAT) + b"x" * head.size))
    with pytest.raises(InputError, match="a name of many megabytes"):
        fetch(**source)


def test_an_oversized_zip_directory_is_not_kept_in_memory(tmp_path: Path, fetch, monkeypatch) -> None:
    monkeypatch.setattr(archive_streams, "AT_ONCE", 70_000)
    with zipfile.ZipFile(tmp_path / "a.zip", "w") as made:
        for number in range(2000):
            made.writestr(f"a/{number}", "")
    with pytest.raises(InputError, match="a list or a name of many megabytes"):
        fetch(archive="a.zip", sha256=archive_fetch.digest(tmp_path / "a.zip"))


def test_xz_has_a_memory_limit(tmp_path: Path, fetch) -> None:
    filters = [{"id": lzma.FILTER_LZMA2, "preset": 0, "dict_size": 512 << 20}]
    head = member("x").tobuf(tarfile.USTAR_FORMAT) + b"\0" * 1024
    tame = [{"id": lzma.FILTER_LZMA2, "preset": 0, "dict_size": 128 << 20}]
    assert fetch(**packed(tmp_path / "b.tar.xz", lzma.compress(head, filters=tame)), run="tame")[0].is_dir()
    with pytest.raises(InputError, match=r"xz wants more than 256 MB .*smaller dictionary"):
        fetch(**packed(tmp_path / "a.tar.xz", lzma.compress(head, filters=filters)))


def test_an_archive_of_too_many_or_too_deep_files_is_refused(tmp_path: Path, fetch, monkeypatch) -> None:
    deep, long = "/".join(["d"] * (limits.DEEP + 1)), "/".join(["n" * 200] * 6)
    for number, name in enumerate((deep, long, "n" * 256, "a/" + "ü" * 200)):
        with pytest.raises(InputError, match="shorten it"):
            fetch(**tarball(tmp_path / f"{number}.tar.gz", (member(name), b"")), run=f"run{number}")
    monkeypatch.setattr(limits, "FILES", 3)
    many = tarball(tmp_path / "many.tar.gz", *((member(f"a/{number}"), b"") for number in range(4)))
    with pytest.raises(InputError, match="more than 3 files and folders"):
        fetch(**many)
    folders = tarball(tmp_path / "folders.tar.gz", (member("a/b/c/d/e"), b""), (member("b"), b""))
    with pytest.raises(InputError, match="more than 3 files and folders"):
        fetch(**folders)


def test_a_hard_link_counts_as_a_copy(tmp_path: Path, fetch, monkeypatch) -> None:
    monkeypatch.setattr(limits, "BYTES", 100_000)
    copies = [(member(f"a/{number}", HARD, "a/x"), b"") for number in range(20)]
    with pytest.raises(InputError, match="its files are more than"):
        fetch(**tarball(tmp_path / "a.tar.gz", (member("a/x"), os.urandom(10_000)), *copies))


def test_a_sparse_file_counts_with_its_unpacked_size(tmp_path: Path, fetch, monkeypatch) -> None:
    (tmp_path / "sparse").mkdir()
    with (tmp_path / "sparse/x").open("wb") as file:
        file.truncate(8 << 20)
    monkeypatch.setattr(archive_unpack, "ANYWAY", 1 << 20)
    for form in ("gnu", "posix"):
        made = tmp_path / f"{form}.tar.gz"
        subprocess.run(["tar", "-S", f"--format={form}", "-czf", made, "-C", tmp_path, "sparse"], check=True)
        with pytest.raises(InputError, match="unpacks to more than"):
            fetch(archive=str(made), sha256=archive_fetch.digest(made), run=form)


def test_a_working_copy_is_packed_without_its_git_folder(tmp_path: Path, fetch) -> None:
    source = tarball(tmp_path / "a.tar.gz", (member("a/wsgi.py"), b""), (member("a/.git/config"), b"[core]\n"))
    assert list(listing(fetch(**source)[0])) == ["wsgi.py"]


def test_concatenated_streams_are_one_archive(tmp_path: Path, fetch) -> None:
    tarball(tmp_path / "a.tar.gz", (member("x"), b"1" * 100_000), (member("y"), b"2"))
    content = gzip.decompress((tmp_path / "a.tar.gz").read_bytes())
    for name, pack in (("b.tar.gz", gzip.compress), ("b.tar.xz", lzma.compress)):
        source = packed(tmp_path / name, pack(content[:70_000]) + pack(content[70_000:]))
        assert listing(fetch(**source, run=f"run-{name}")[0])["x"][0] == b"1" * 100_000
        cut = packed(tmp_path / f"cut-{name}", pack(content)[:-40])
        with pytest.raises(InputError, match="cannot be unpacked"):
            fetch(**cut, run=f"run-cut-{name}")


def test_a_download_has_a_size_limit(tmp_path: Path, fetch, server, monkeypatch) -> None:
    host, _ = server
    for variable in ("http_proxy", "HTTP_PROXY", "all_proxy", "ALL_PROXY"):
        monkeypatch.delenv(variable, raising=False)
    (tmp_path / "served/a.tar.gz").write_bytes(b"x" * 3_000_000)
    monkeypatch.setattr(archive_fetch, "PACKED", 1_000_000)
    with pytest.raises(InputError, match="is larger than 0 MB"):
        fetch(archive=f"http://me:{CANARY}%2F%40@{host}/a.tar.gz", sha256="0" * 64)
    assert not [path for path in (tmp_path / "cache").rglob("*") if path.is_file() and path.stat().st_size]


def test_replacing_an_archive_after_its_hash_check_has_no_effect(tmp_path: Path, monkeypatch) -> None:
    good, bad = tarball(tmp_path / "a.tar.gz", (member("good"), b"")), tmp_path / "b.tar.gz"
    tarball(bad, (member("bad"), b""))
    with archive_fetch.fetch(good["archive"], good["sha256"], tmp_path, tmp_path / "cache") as opened:
        (tmp_path / "a.tar.gz").write_bytes(bad.read_bytes())
        (tmp_path / "folder").mkdir()
        archive_unpack.unpack(opened, tmp_path / "folder", "")
    assert list(listing(tmp_path / "folder")) == ["good"]
