"""The history of a site: one line per change."""

from __future__ import annotations

import os
from pathlib import Path

import pytest

from ansible_collections.wsgi.sites.plugins.module_utils.runtime import history
from ansible_collections.wsgi.sites.plugins.module_utils.site.paths import Layout


@pytest.fixture
def site(tmp_path: Path) -> Layout:
    """A site's root."""
    if os.geteuid() != 0:
        pytest.skip("writes files of root's")
    (tmp_path / "shop").mkdir()
    return Layout("shop", tmp_path / "shop")


def test_each_change_is_one_line_that_reads_back(site: Layout) -> None:
    history.append(site, "deploy", "ok", by="alice@laptop", release="r2", previous="r1", seconds=9.87)
    history.append(site, "rollback", "failed", by="bob jr@desk", release="r1", reason='no "good"\nTraceback …')
    lines = history.path(site).read_text().splitlines()
    assert lines[0].endswith(" deploy result=ok by=alice@laptop release=r2 previous=r1 seconds=9.9")
    assert len(lines) == 2
    assert history.read(site)[1] | {"time": ""} == {
        "time": "", "action": "rollback", "result": "failed", "by": "bob jr@desk", "release": "r1",
        "reason": 'no "good"',
    }  # fmt: skip
    assert history.path(site).stat().st_mode & 0o7777 == 0o640


def test_a_long_history_keeps_its_newer_half(site: Layout, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(history, "LIMIT", 1000)
    for number in range(100):
        history.append(site, "deploy", "ok", release=f"r{number}")
    assert history.path(site).stat().st_size < 1100
    assert history.read(site)[-1]["release"] == "r99"
    assert history.read(site, 3)[0]["release"] == "r97"


def test_a_history_that_cannot_be_written_fails_nothing(site: Layout, tmp_path: Path) -> None:
    history.path(site).symlink_to(tmp_path / "elsewhere")
    history.append(site, "deploy", "ok")
    assert not (tmp_path / "elsewhere").exists()
    assert history.parse("neither time nor fields") == {}


def test_lines_of_older_versions_are_read() -> None:
    line = "2026-11-03T08:00:00Z deploy result=ok release=r1 away=1.8"
    assert history.parse(line)["downtime"] == "1.8"
