"""The decision whether a release is built or started again."""

from __future__ import annotations

import pytest
from releases import PARTS, make_release

from ansible_collections.wsgi.sites.plugins.module_utils.releases import (
    decision,
)
from ansible_collections.wsgi.sites.plugins.module_utils.releases.decision import decide
from ansible_collections.wsgi.sites.plugins.module_utils.site import paths


def test_the_first_release_is_built(site: paths.Layout) -> None:
    found = decide(site, PARTS)
    assert (found.build, found.reason, found.slot) == (True, "first release", "blue")


def test_nothing_is_built_when_everything_is_up_to_date(site: paths.Layout) -> None:
    make_release(site, "20260101T000000Z-cccccccc", PARTS, "blue")
    found = decide(site, PARTS)
    assert (found.needed, found.release, found.slot) == (False, "20260101T000000Z-cccccccc", "blue")


@pytest.mark.parametrize(("change", "reason"), [
    ({"code": "x"}, "code changed"),
    ({"code": "x", "requirements": "x"}, "code and requirements changed"),
    ({"code": "x", "config": "x", "environment": "x"}, "code, server config and environment changed"),
    ({"python": "3.13"}, "the host's Python is now 3.13 (was 3.11)"),
])  # fmt: skip
def test_the_reason_names_the_changed_part(site: paths.Layout, change: dict, reason: str) -> None:
    make_release(site, "A", PARTS, "blue")
    found = decide(site, {**PARTS, **change})
    assert (found.build, found.reason, found.slot) == (True, reason, "green")


@pytest.mark.parametrize("file", ["app/wsgi.py", "venv/lib/flask.py", "program-blue.conf"])
def test_files_changed_on_the_host_are_detected(site: paths.Layout, file: str) -> None:
    release = make_release(site, "A", PARTS, "blue")
    with (release / file).open("a", encoding="utf-8") as stream:
        stream.write("# mended by hand\n")
    found = decide(site, PARTS)
    assert (found.build, found.reason) == (True, "files of the live release were changed on the host")
    assert found.suspicious_cache is file.startswith("venv")


def test_a_changed_mode_and_a_new_file_on_the_host_are_detected(site: paths.Layout) -> None:
    release = make_release(site, "A", PARTS, "blue")
    (release / "app/wsgi.py").chmod(0o666)
    assert decide(site, PARTS).build
    site.live.unlink()
    other = make_release(site, "B", PARTS, "blue")
    (other / "app/new.py").touch()
    assert decide(site, PARTS).build


def test_an_intact_release_is_started_again_when_its_slot_is_not_healthy(site: paths.Layout, monkeypatch) -> None:
    make_release(site, "A", PARTS, "blue")
    monkeypatch.setattr(decision, "healthy", lambda *_: (False, "answers 500"))
    found = decide(site, PARTS)
    assert (found.needed, found.build, found.release) == (True, False, "A")
    assert found.reason == "slot blue is not healthy: answers 500"


def test_an_intact_release_is_started_again_when_its_program_is_missing_or_changed(site: paths.Layout) -> None:
    make_release(site, "A", PARTS, "blue")
    site.program("blue").write_text("edited", encoding="utf-8")
    found = decide(site, PARTS)
    assert (found.release, found.reason.endswith("was changed on the host")) == ("A", True)
    site.program("blue").unlink()
    found = decide(site, PARTS)
    assert (found.release, found.reason.endswith("is missing")) == ("A", True)


def test_a_release_that_was_built_but_not_started_is_not_built_twice(site: paths.Layout) -> None:
    make_release(site, "A", PARTS, "blue")
    make_release(site, "B", {**PARTS, "code": "x"})
    found = decide(site, {**PARTS, "code": "x"})
    assert (found.needed, found.release, found.reason) == (True, "B", "code changed")


def test_the_replacement_of_a_damaged_release_is_not_built_twice(site: paths.Layout) -> None:
    release = make_release(site, "A", PARTS, "blue")
    (release / "app/wsgi.py").write_text("", encoding="utf-8")
    assert decide(site, PARTS).build
    make_release(site, "B", PARTS)
    assert decide(site, PARTS).release == "B"
