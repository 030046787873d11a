"""Before a site's hooks change its data, its SQLite databases are copied: as a whole, as its user, and with room."""

from __future__ import annotations

import os
import pwd
import shutil
import sqlite3
import tempfile
from collections.abc import Iterator
from contextlib import closing
from pathlib import Path

import pytest
from ansible.module_utils.releases import hooks, snapshots
from ansible.module_utils.releases.environment import format_environment
from ansible.module_utils.releases.layout import Layout
from ansible.module_utils.releases.steps import StepError

NOBODY = pwd.getpwnam("nobody")


@pytest.fixture
def site() -> Iterator[Layout]:
    """A site of nobody's with a database; not in pytest's folder, which is root's alone."""
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
    return snapshots.take(site, "nobody", name, **options)


def test_every_database_is_copied_by_its_header(site: Layout) -> None:
    top = site.shared / "data/.snapshots"
    assert sorted(take(site, "r1")) == [f"{top}/r1/b.sqlite", f"{top}/r1/deep/a ?#%.db"]
    assert rows(top / "r1/b.sqlite") == 1
    assert (top / "r1/b.sqlite").stat().st_uid == NOBODY.pw_uid
    assert (top / "r1/b.sqlite").stat().st_mode & 0o777 == 0o600


def test_what_another_connection_has_not_ended_is_not_in_it_and_what_it_has_is(site: Layout) -> None:
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


def test_no_link_leads_out(site: Layout, tmp_path: Path) -> None:
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


def test_the_last_three_stay_and_none_is_overwritten(site: Layout) -> None:
    for name in ("r1", "r2", "r3", "r3"):
        take(site, name)
    assert sorted(path.name for path in (site.shared / "data/.snapshots").iterdir()) == ["r2", "r3", "r3-2"]


def test_the_copy_from_before_a_releases_first_try_stays(site: Layout) -> None:
    top = site.shared / "data/.snapshots"
    for number in range(6):
        if number == 1:
            make(site.shared / "data/b2.sqlite")  # what the first try's hooks did
            own(site.shared)
        copies = take(site, "r1")
        assert all(Path(copy).exists() for copy in copies), "the newest copy stays too"
    assert len(list(top.iterdir())) == 3
    assert not (top / "r1/b2.sqlite").exists()
    for name in ("r2", "r2", "r2", "r2"):
        take(site, name)
    assert len(list(top.iterdir())) == 3
    assert (top / "r2").exists()


def test_without_a_database_nothing_is_made(site: Layout) -> None:
    shutil.rmtree(site.shared / "data")
    assert take(site, "r1") == []
    (site.shared / "data").mkdir()
    assert take(site, "r1") == []
    assert not (site.shared / "data/.snapshots").exists()


def test_without_room_it_says_how_much_is_missing(site: Layout, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(snapshots, "SCRIPT", snapshots.SCRIPT.replace("ROOM = 16 << 20", "ROOM = 1 << 50"))
    with pytest.raises(StepError, match=r"MB are free and \d+ MB are needed, so \d+ MB are missing.* No hook ran"):
        take(site, "r1")


def test_a_database_that_is_locked_for_good_stops_it(site: Layout, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(snapshots, "SCRIPT", snapshots.SCRIPT.replace("PATIENCE = 30", "PATIENCE = 0"))
    with closing(sqlite3.connect(site.shared / "data/b.sqlite", isolation_level=None)) as base:
        base.execute("BEGIN EXCLUSIVE")
        with pytest.raises(StepError, match=r"database is locked\. No hook ran"):
            take(site, "r1")


def test_a_release_is_asked_whether_the_database_suits_it(site: Layout) -> None:
    release = site.release("r1")
    (release / "app").mkdir(parents=True)
    (release / "environment").write_text(format_environment({"PASSWORD": "open-sesame"}))
    hooks.check_schema(site, "nobody", "r1", "", 10)
    hooks.check_schema(site, "nobody", "r1", "true", 10)
    with pytest.raises(StepError) as caught:
        hooks.check_schema(site, "nobody", "r1", "sh -c 'echo it is at 2, not 1 $PASSWORD; exit 1'", 10)
    assert "does not suit the release r1" in str(caught.value)
    assert "it is at 2, not 1 ********" in str(caught.value)
    assert "-e schema=ok" in str(caught.value)
