"""Public files in a slot: those of its release, and hashed files of the previous one."""

from __future__ import annotations

import json
import os
from pathlib import Path

import pytest

from ansible_collections.wsgi.sites.plugins.module_utils.releases import public_files
from ansible_collections.wsgi.sites.plugins.module_utils.releases.fingerprint import tree_digest
from ansible_collections.wsgi.sites.plugins.module_utils.site.paths import Layout, replace_link

PUBLIC = ["app/static", "packages/lib/static"]
HASHED = r"(?:.*/)?\w+\.[0-9a-f]{8}\.(?:js|css)"
OLD, NEW = "app.0000000a.js", "app.0000000b.js"


@pytest.fixture
def site(tmp_path: Path) -> Layout:
    return Layout("shop", tmp_path / "shop")


def build(site: Layout, name: str, *files: str, public: list[str] = PUBLIC, **manifest: object) -> Path:
    """A release with these files; each holds the name of the release."""
    release = site.release(name)
    for folder in ("app/static", "venv/lib/static"):
        (release / folder).mkdir(parents=True)
    (release / "packages").symlink_to("venv")
    for file in files:
        (release / file).parent.mkdir(parents=True, exist_ok=True)
        (release / file).write_text(name)
    words = {"public": public, "hashed_names": HASHED, **manifest}
    (release / "release.json").write_text(json.dumps(words))
    return release


def go_live(site: Layout, name: str) -> None:
    """Start a release in the idle slot and switch, as a deploy, a restart or a rollback does."""
    live, slot = site.live_slot(), site.idle_slot()
    site.slot(slot).mkdir(parents=True, exist_ok=True)
    replace_link(site.slot(slot) / "release", f"../../releases/{name}")
    public_files.publish(site, slot)
    public_files.carry_over(site, slot)
    replace_link(site.live, f"slots/{slot}")
    if live:
        public_files.trees.remove(site.public(live))
        for link in ("release", "before"):
            (site.slot(live) / link).unlink(missing_ok=True)


def served(site: Layout) -> dict[str, str]:
    """The files that nginx finds, with their release."""
    top = site.live / "public"
    return {str(path.relative_to(top)): path.read_text() for path in sorted(top.rglob("*")) if path.is_file()}


def test_a_slot_has_hard_links_to_the_public_files_of_its_release_alone(site: Layout) -> None:
    files = ["app/static/a.css", "app/static/deep/b.css", "venv/lib/static/c.css"]
    release = build(site, "one", *files, "app/code.py", "venv/lib/code.py", "app/static/.env", "app/static/.git/config")
    before = tree_digest(release)
    go_live(site, "one")
    assert list(served(site)) == ["app/static/a.css", "app/static/deep/b.css", "packages/lib/static/c.css"]
    assert (site.live / "public/packages/lib/static/c.css").samefile(release / files[2])
    assert tree_digest(release) == before, "a release stays as it was built"
    assert [path.stat().st_mode & 0o777 for path in (site.live / "public", site.live / "public/app/static/deep")] == [
        0o755
    ] * 2


def test_hashed_files_stay_for_one_switch_and_other_files_disappear(site: Layout) -> None:
    build(site, "one", f"app/static/{OLD}", f"app/static/{OLD}.gz", "app/static/css/x.0000000a.css", "app/static/a.css")
    build(site, "two", f"app/static/{NEW}", "app/static/both.0000000c.js")
    build(site, "three", "app/static/d.css")
    go_live(site, "one")
    go_live(site, "two")
    carried = {"app/static/css/x.0000000a.css": "one", f"app/static/{OLD}": "one", f"app/static/{OLD}.gz": "one"}
    own = {f"app/static/{NEW}": "two", "app/static/both.0000000c.js": "two"}
    assert served(site) == carried | own
    go_live(site, "three")
    assert served(site) == own | {"app/static/d.css": "three"}, "links are carried over once only"


def test_a_rollback_and_restarts_keep_the_hashed_files_of_newer_pages(site: Layout) -> None:
    releases = [build(site, name, f"app/static/{file}") for name, file in (("one", OLD), ("two", NEW))]
    before = [tree_digest(release) for release in releases]
    both = {f"app/static/{OLD}": "one", f"app/static/{NEW}": "two"}
    go_live(site, "one")
    for name in ("two", "two", "two", "one", "one"):
        go_live(site, name)
        assert served(site) == both, name
    assert [tree_digest(release) for release in releases] == before


def test_the_new_release_wins_and_a_stale_compressed_copy_stays_behind(site: Layout) -> None:
    build(site, "one", f"app/static/{OLD}", f"app/static/{OLD}.gz")
    build(site, "two", f"app/static/{OLD}")
    go_live(site, "one")
    go_live(site, "two")
    assert served(site) == {f"app/static/{OLD}": "two"}


def test_without_a_pattern_and_outside_of_the_new_public_folders_nothing_is_carried_over(site: Layout) -> None:
    build(site, "one", f"app/static/{OLD}", hashed_names="")
    build(site, "two", f"app/static/{NEW}", f"venv/lib/static/{NEW}")
    build(site, "three", public=["packages/lib/static"])
    go_live(site, "one")
    go_live(site, "two")
    assert f"app/static/{OLD}" not in served(site)
    go_live(site, "three")
    assert served(site) == {f"packages/lib/static/{NEW}": "two"}


def test_links_are_kept_where_they_lead_to_public_files(site: Layout, tmp_path: Path) -> None:
    release = build(
        site, "one", "app/static/a.css", "app/docs/b.css", "app/code.css", public=["app/static", "app/docs"]
    )
    (tmp_path / "secret").write_text("secret")
    for name, target in {
        "same.css": "a.css", "other.css": "../docs/b.css", "docs": "../docs", "code.css": "../code.css",
        "out.css": str(tmp_path / "secret"), "nowhere.css": "gone.css", "up": "../..",
    }.items():  # fmt: skip
        (release / "app/static" / name).symlink_to(target)
    go_live(site, "one")
    static = site.live / "public/app/static"
    assert sorted(path.name for path in static.iterdir() if path.exists()) == ["a.css", "docs", "other.css", "same.css"]
    assert (static / "docs/b.css").read_text() == "one"


def test_a_public_folder_may_be_a_link_also_below_another_one(site: Layout) -> None:
    names = ["app/static", "app/static/vendor", "app/dist"]
    release = build(site, "one", "app/static/a.css", "app/third/b.css", "app/build/c.css", public=names)
    (release / "app/static/vendor").symlink_to("../third")
    (release / "app/dist").symlink_to("build")
    go_live(site, "one")
    expected = {"app/dist/c.css", "app/static/a.css", "app/static/vendor/b.css"}
    assert served(site).keys() == expected
    slot = site.live_slot() or ""
    assert not public_files.publish(site, slot), "a second time there is nothing to do"


@pytest.mark.parametrize("name", ["app/code/static", "venv", "app/../../two/app/static"])
def test_a_folder_that_leads_out_of_the_code_and_the_packages_is_not_public(site: Layout, name: str) -> None:
    build(site, "two", "app/static/a.css")
    release = build(site, "one", public=[name])
    (release / "app/code").mkdir()
    (release / "app/code/static").symlink_to(site.release("two") / "app/static")
    go_live(site, "one")
    assert served(site) == {}


def test_nothing_is_carried_through_a_link_that_leads_out_of_the_public_folder(site: Layout) -> None:
    build(site, "one", f"app/static/v/{OLD}")
    release = build(site, "two", "app/static/a.css")
    go_live(site, "one")
    slot = site.idle_slot()
    site.slot(slot).mkdir(parents=True)
    replace_link(site.slot(slot) / "release", "../../releases/two")
    (site.public(slot) / "app/static").mkdir(parents=True)
    (site.public(slot) / "app/static/v").symlink_to(release / "app")
    public_files.carry_over(site, slot)
    assert not (release / "app" / OLD).exists()


def test_missing_files_are_detected_in_check_mode_and_restored(site: Layout) -> None:
    build(site, "one", "app/static/a.css", "app/static/b.css")
    go_live(site, "one")
    slot, static = site.live_slot() or "", site.live / "public/app/static"
    assert not public_files.publish(site, slot)
    (static / "a.css").unlink()
    (static / "b.css").unlink()
    (static / "b.css").write_text("somebody's own")
    assert public_files.publish(site, slot, check_mode=True) and not (static / "a.css").exists()
    assert public_files.publish(site, slot)
    assert served(site) == {"app/static/a.css": "one", "app/static/b.css": "one"}
    assert not public_files.publish(site, slot)


def test_files_are_copied_where_links_fail(site: Layout, monkeypatch: pytest.MonkeyPatch) -> None:
    release = build(site, "one", "app/static/a.css")
    os.utime(release / "app/static/a.css", ns=(10**18 + 1, 10**18 + 1))
    monkeypatch.setattr(os, "link", lambda *_, **__: (_ for _ in ()).throw(OSError(18, "Invalid cross-device link")))
    go_live(site, "one")
    assert served(site) == {"app/static/a.css": "one"}
    assert (site.live / "public/app/static/a.css").stat().st_mtime_ns == 10**18 + 1
    assert not public_files.publish(site, site.live_slot() or "")


class TestTakeover:
    """A host as a version before 1.0.0 left it: aliases in release.json, a link `before`, no public folder."""

    @pytest.fixture
    def old(self, site: Layout) -> Layout:
        aliases = {"packed": {"ways": [], "aliases": {"/static/": "app/static/", "/m/": "shared/m"}}}
        for name, file in (("one", OLD), ("two", NEW)):
            release = build(site, name, f"app/static/{file}")
            (release / "release.json").write_text(json.dumps(aliases))
        slot = site.slot("blue")
        slot.mkdir(parents=True)
        (slot / "release").symlink_to("../../releases/two")
        (slot / "before").symlink_to("../../releases/one")
        site.live.symlink_to("slots/blue")
        return site

    def test_nginx_finds_hashed_files_by_its_old_and_its_new_configuration(self, old: Layout) -> None:
        build(old, "three", "app/static/c.css")
        go_live(old, "three")
        assert served(old) == {"app/static/c.css": "three", f"app/static/{NEW}": "two"}
        assert (old.live / f"before/app/static/{NEW}").read_text() == "two"
        build(old, "four")
        go_live(old, "four")
        assert not os.path.lexists(old.live / "before"), "by now nginx has its new configuration"

    def test_a_restart_and_a_rollback_can_come_before_the_new_configuration(self, old: Layout) -> None:
        go_live(old, "two")
        assert (old.live / f"before/app/static/{OLD}").read_text() == "one"
        go_live(old, "one")
        assert served(old).keys() == {f"app/static/{OLD}"}
