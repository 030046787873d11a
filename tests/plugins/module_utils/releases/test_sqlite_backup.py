"""Backups of a site's SQLite databases before its hooks run: complete, as its user, within limits."""

from __future__ import annotations

import os
import pwd
import re
import shutil
import sqlite3
import tempfile
from collections.abc import Iterator
from contextlib import closing
from pathlib import Path

import pytest
from project import load

from ansible_collections.wsgi.sites.plugins.module_utils.releases import hooks, sqlite_backup
from ansible_collections.wsgi.sites.plugins.module_utils.releases.deployment import StepError
from ansible_collections.wsgi.sites.plugins.module_utils.releases.environment import format_environment
from ansible_collections.wsgi.sites.plugins.module_utils.site.paths import Layout
from ansible_collections.wsgi.sites.plugins.module_utils.system import trees

NOBODY = pwd.getpwnam("nobody")


@pytest.fixture
def site() -> Iterator[Layout]:
    """A site of the user nobody with a database; outside pytest's folder, which only root can enter."""
    if os.geteuid() != 0:
        pytest.skip("gives up root, so it needs to be root")
    root = Path(tempfile.mkdtemp(prefix="snapshots"))
    root.chmod(0o755)
    found = Layout("shop", root)
    (found.shared / "data" / "deep").mkdir(parents=True)
    for path in ("deep/a ?#%.db", "b.sqlite"):
        make(found.shared / "data" / path)
    (found.shared / "data" / "notes.sqlite").write_text("no database")
    own(root / "shared")
    yield found
    shutil.rmtree(root)


def make(path: Path, rows: int = 1) -> None:
    with closing(sqlite3.connect(path)) as base, base:
        base.execute("CREATE TABLE t (x)")
        base.executemany("INSERT INTO t VALUES (?)", [(number,) for number in range(rows)])


def own(top: Path) -> None:
    for folder, directories, files in os.walk(top):
        for name in (".", *directories, *files):
            os.chown(Path(folder, name), NOBODY.pw_uid, NOBODY.pw_gid, follow_symlinks=False)


def rows(path: str | Path) -> int:
    with closing(sqlite3.connect(path)) as base:
        return base.execute("SELECT count(*) FROM t").fetchone()[0]


def take(site: Layout, name: str, **options: int) -> list[str]:
    return sqlite_backup.take(site, "nobody", name, **options).copies


def test_every_database_is_recognized_by_its_header(site: Layout) -> None:
    top = site.shared / "data/.snapshots"
    assert sorted(take(site, "r1")) == [f"{top}/r1/b.sqlite", f"{top}/r1/deep/a ?#%.db"]
    assert rows(top / "r1/b.sqlite") == 1
    assert (top / "r1/b.sqlite").stat().st_uid == NOBODY.pw_uid
    assert (top / "r1/b.sqlite").stat().st_mode & 0o777 == 0o600


def test_a_backup_has_committed_and_no_uncommitted_changes(site: Layout) -> None:
    path = site.shared / "data/b.sqlite"
    with closing(sqlite3.connect(path, isolation_level=None)) as base:
        base.execute("PRAGMA journal_mode = WAL")
        base.execute("INSERT INTO t VALUES (2)")  # in b.sqlite-wal only
        own(site.shared)
        base.execute("BEGIN")
        base.execute("INSERT INTO t VALUES (3)")
        (copy,) = [one for one in take(site, "r1") if one.endswith("b.sqlite")]
        assert rows(copy) == 2
        base.execute("COMMIT")


def test_no_link_out_of_the_folder_is_followed(site: Layout, tmp_path: Path) -> None:
    make(tmp_path / "secret.db")
    (site.shared / "data/link.db").symlink_to(tmp_path / "secret.db")
    (site.shared / "data/folder").symlink_to(tmp_path)
    make(site.shared / "other.db")
    (site.shared / "data/within.db").symlink_to(site.shared / "other.db")
    os.mkfifo(site.shared / "data/pipe")
    own(site.shared)
    assert len(take(site, "r1")) == 2
    shutil.rmtree(site.shared / "data/.snapshots")
    (site.shared / "data/.snapshots").symlink_to("/root")
    with pytest.raises(StepError, match="could not be copied"):
        take(site, "r2")
    assert not Path("/root/r2").exists()


def test_the_last_three_backups_are_retained_and_none_is_overwritten(site: Layout) -> None:
    for name in ("r1", "r2", "r3", "r3"):
        take(site, name)
    assert sorted(path.name for path in (site.shared / "data/.snapshots").iterdir()) == ["r2", "r3", "r3-2"]


def test_the_backup_before_a_releases_first_attempt_is_retained(site: Layout) -> None:
    top = site.shared / "data/.snapshots"
    for number in range(6):
        if number == 1:
            make(site.shared / "data/b2.sqlite")  # a change by the hooks of the first attempt
            own(site.shared)
        copies = take(site, "r1")
        assert all(Path(copy).exists() for copy in copies), "the newest copy stays too"
    assert len(list(top.iterdir())) == 3
    assert not (top / "r1/b2.sqlite").exists()
    for name in ("r2", "r2", "r2", "r2"):
        take(site, name)
    assert len(list(top.iterdir())) == 3
    assert (top / "r2").exists()


def test_without_a_database_there_is_no_backup(site: Layout) -> None:
    shutil.rmtree(site.shared / "data")
    assert take(site, "r1") == []
    (site.shared / "data").mkdir()
    assert take(site, "r1") == []
    assert not (site.shared / "data/.snapshots").exists()


def test_a_full_disk_is_reported_with_the_missing_space(site: Layout, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(sqlite_backup, "SCRIPT", sqlite_backup.SCRIPT.replace("ROOM = 16 << 20", "ROOM = 1 << 50"))
    with pytest.raises(StepError, match=r"MB are free and \d+ MB are needed, so \d+ MB are missing.* No hook ran.*=no"):
        take(site, "r1")


def claims(path: Path, pages: int, size: int) -> None:
    """A sparse file with the header of a complete database."""
    make(path)
    with path.open("r+b") as stream:
        stream.seek(28)
        stream.write(pages.to_bytes(4, "big"))
        stream.truncate(size)


def test_a_sparse_file_fills_no_disk_and_blocks_no_other_backup(site: Layout, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(sqlite_backup, "TIMEOUT", 20)  # limits the damage if it fills the disk
    data = site.shared / "data"
    claims(data / "huge.db", (4 << 40) // 4096 - 1, 4 << 40)
    (data / "head.db").write_bytes(b"SQLite format 3\0")
    os.truncate(data / "head.db", 4 << 40)
    (data / "zeros.db").write_bytes(b"SQLite format 3\0" + bytes(4080))
    claims(data / "honest.db", 2, 4 << 40)
    own(site.shared)
    taken = sqlite_backup.take(site, "nobody", "r1")
    top = data / ".snapshots/r1"
    assert sorted(taken.copies) == [f"{top}/b.sqlite", f"{top}/deep/a ?#%.db", f"{top}/honest.db"]
    assert [re.search(r"(\w+)\.db", words)[1] for words in sorted(taken.left_out)] == ["head", "huge", "zeros"]
    assert rows(top / "honest.db") == 1
    assert sum(path.stat().st_blocks for path in top.rglob("*")) * 512 < 1 << 20


def test_a_database_that_grows_endlessly_by_its_log_is_stopped(site: Layout) -> None:
    path = site.shared / "data/b.sqlite"
    with closing(sqlite3.connect(path, isolation_level=None)) as base:
        base.execute("PRAGMA journal_mode = WAL")
        base.execute("CREATE TABLE u (x)")  # changes the first page
        log = Path(f"{path}-wal")
        content = bytearray(log.read_bytes())
        (site.shared / "data/b2.sqlite").write_bytes(path.read_bytes())
    # The headers of a frame and of the first page hold the database's size in pages; the checksums are valid.
    order = "big" if content[3] & 1 else "little"
    checksum = checked(content[:24], order)
    for at in range(32, len(content), 24 + 4096):
        content[at + 4 : at + 8] = (1 << 14).to_bytes(4, "big")
        if content[at : at + 4] == (1).to_bytes(4, "big"):
            content[at + 24 + 28 : at + 24 + 32] = (1 << 14).to_bytes(4, "big")
        checksum = checked(content[at : at + 8] + content[at + 24 : at + 24 + 4096], order, checksum)
        content[at + 16 : at + 24] = b"".join(each.to_bytes(4, "big") for each in checksum)
    Path(site.shared / "data/b2.sqlite-wal").write_bytes(content)
    own(site.shared)
    taken = sqlite_backup.take(site, "nobody", "r1")
    assert [Path(copy).name for copy in taken.copies] == ["b.sqlite", "a ?#%.db"]
    assert "b2.sqlite" in taken.left_out[0]


def checked(data: bytes, order: str, before: tuple[int, int] = (0, 0)) -> tuple[int, int]:
    """SQLite's checksum of a write-ahead log."""
    one, two = before
    numbers = [int.from_bytes(data[at : at + 4], order) for at in range(0, len(data), 4)]
    for first, second in zip(numbers[::2], numbers[1::2], strict=True):
        one = (one + first + two) & 0xFFFFFFFF
        two = (two + second + one) & 0xFFFFFFFF
    return one, two


def nested(top: Path, depth: int) -> None:
    """Nested folders, deeper than PATH_MAX."""
    handle = os.open(top, os.O_RDONLY)
    for _ in range(depth):
        os.mkdir("d", dir_fd=handle)
        below = os.open("d", os.O_RDONLY, dir_fd=handle)
        os.fchown(below, NOBODY.pw_uid, NOBODY.pw_gid)
        os.close(handle)
        handle = below
    os.close(handle)


def test_thousands_of_nested_folders_are_reported_and_do_not_fail_the_backup(site: Layout) -> None:
    top = site.shared / "data/.snapshots"
    try:
        nested(site.shared / "data", 2100)
        (top / "r0").mkdir(parents=True)
        (top / ".new-r0").mkdir(parents=True)
        nested(top / "r0", 2100)
        nested(top / ".new-r0", 2100)
        for folder in (top, top / "r0", top / ".new-r0"):
            os.chown(folder, NOBODY.pw_uid, NOBODY.pw_gid)
        taken = sqlite_backup.take(site, "nobody", "r1", keep=1)
        assert len(taken.copies) == 2
        assert len(taken.left_out) == 1
        assert re.search(r"/d/d…?.*", taken.left_out[0])
        assert [path.name for path in top.iterdir()] == ["r1"]
    finally:
        trees.remove(site.shared / "data")


def test_a_special_file_does_not_block_the_backup(site: Layout) -> None:
    data = site.shared / "data"
    os.mkfifo(data / "pipe.db")
    writer = os.open(data / "pipe.db", os.O_RDWR | os.O_NONBLOCK)
    own(site.shared)
    try:
        assert len(take(site, "r1")) == 2
    finally:
        os.close(writer)


@pytest.mark.parametrize(
    "answer",
    ["", "[]", "{}", '{"copies": {}, "left_out": []}', '{"copies": [1], "left_out": []}', "[" * 100_000,
     '{"copies": [], "left_out": [], "free": "x", "wanted": 1}'],
)  # fmt: skip
def test_an_invalid_answer_of_the_script_is_an_error_with_the_remedy(
    site: Layout, monkeypatch: pytest.MonkeyPatch, answer: str
) -> None:
    monkeypatch.setattr(sqlite_backup, "SCRIPT", f"print({answer!r})")
    with pytest.raises(StepError, match=r"returned invalid output.*-e snapshots=no"):
        take(site, "r1")


def test_a_long_report_is_shortened(site: Layout, monkeypatch: pytest.MonkeyPatch) -> None:
    script = "import json; print(json.dumps({'copies': [], 'left_out': ['x' * 5000] * 2000}))"
    monkeypatch.setattr(sqlite_backup, "SCRIPT", script)
    said = sqlite_backup.take(site, "nobody", "r1").left_out
    assert len("".join(said)) < 5000
    assert said[-1] == "and 1990 more"


def test_the_operator_can_skip_backups(site: Layout) -> None:
    perform = load("plugins/modules/release_hooks.py").perform
    (site.release("r1") / "app").mkdir(parents=True)
    (site.release("r1") / "environment").write_text("")
    params = {"site": "shop", "root": str(site.root), "user": "nobody", "release": "r1", "commands": [], "timeout": 9}
    assert perform({**params, "snapshots": False})["snapshots"] == []
    assert not (site.shared / "data/.snapshots").exists()
    assert len(perform({**params, "snapshots": True})["snapshots"]) == 2


def test_a_permanently_locked_database_stops_the_deploy(site: Layout, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(sqlite_backup, "SCRIPT", sqlite_backup.SCRIPT.replace("PATIENCE = 30", "PATIENCE = 0"))
    with closing(sqlite3.connect(site.shared / "data/b.sqlite", isolation_level=None)) as base:
        base.execute("BEGIN EXCLUSIVE")
        with pytest.raises(StepError, match=r"database is locked\. No hook ran"):
            take(site, "r1")


def test_the_release_checks_the_database_schema(site: Layout) -> None:
    release = site.release("r1")
    (release / "app").mkdir(parents=True)
    (release / "environment").write_text(format_environment({"PASSWORD": "open-sesame"}))
    hooks.check_schema(site, "nobody", "r1", "", 10)
    hooks.check_schema(site, "nobody", "r1", "true", 10)
    with pytest.raises(StepError) as caught:
        hooks.check_schema(site, "nobody", "r1", "sh -c 'echo it is at 2, not 1 $PASSWORD; exit 1'", 10)
    assert "does not match the release r1" in str(caught.value)
    assert "it is at 2, not 1 ********" in str(caught.value)
    assert "-e schema=ok" in str(caught.value)
