"""The source of a site in a complete run, and its keys."""

from __future__ import annotations

import json
import shutil
from pathlib import Path

import pytest
from ansible_run import run, write_inventory
from nginx_rig import merged, role_variables
from repositories import CANARY, Work, spy_on_git

from ansible_collections.wsgi.sites.plugins.plugin_utils.places import CACHE
from ansible_collections.wsgi.sites.plugins.plugin_utils.releases.inputs import with_version
from ansible_collections.wsgi.sites.plugins.plugin_utils.sources import (
    InputError,
    tree,
)
from ansible_collections.wsgi.sites.plugins.plugin_utils.sources.cache import once

PLAY = """
- hosts: all
  gather_facts: false
  tasks:
    - name: Know the role's plugins
      ansible.builtin.import_role: {name: wsgi.sites.release, tasks_from: install, rolespec_validate: false}
      when: false
    - name: Build
      wsgi.sites.release_build:
        site: shop
        settings: "{{ settings }}"
      check_mode: true
      loop: [1, 2]
"""


def test_all_hosts_of_a_run_get_one_commit_by_one_fetch(work: Work, tmp_path: Path, monkeypatch) -> None:
    asked = spy_on_git(tmp_path, monkeypatch)
    (tmp_path / "play.yml").write_text(PLAY)
    # A login that no output may show, though this server does not require it.
    source = {"git": work.url.replace("file://", f"file://me:{CANARY}@"), "version": "main"}
    commit = work.git("rev-parse", "HEAD")
    entry = json.loads(json.dumps(merged({"shop": {"server_names": ["shop.example.com"]}}, role_variables({}))["shop"]))
    hosts = {name: {"settings": {**entry, "source": source, "root": f"{tmp_path}/{name}"}} for name in "abcd"}
    inventory = write_inventory(tmp_path / "inventory", {}, hosts)
    kept = set((CACHE / "git").glob("*"))
    try:
        output = " ".join(run(tmp_path / "play.yml", "-i", inventory, "-vvvv", "--diff").split())
        assert output.count(f"git {work.url} main ({commit})") >= 4
        assert (asked().count("ls-remote"), asked().count("fetch")) == (1, 1)
        assert CANARY not in output
        work.commit(wsgi__py="app = 8\n")
        older = ("-e", "site=shop", "-e", "version=v1.0")
        output = " ".join(run(tmp_path / "play.yml", "-i", inventory, "-vvv", *older).split())
        assert f"git {work.url} v1.0 ({commit})" in output
        none = ("-e", "site=shop", "-e", "version=v1.9")
        output = " ".join(run(tmp_path / "play.yml", "-i", inventory, "-vvv", *none, check=False).split())
        assert "shop: source.version: " in output
        assert "the nearest are v1.0" in output
        assert asked().count("ls-remote") == 3, "a failure is shared by the hosts as well"
        assert CANARY not in output
    finally:
        for made in set((CACHE / "git").glob("*")) - kept:
            shutil.rmtree(made)


@pytest.mark.parametrize("source", [
    {}, {"path": ""}, {"path": "a", "git": "https://h/x"}, {"git": "https://h/x", "version": ""},
    {"git": "ext::sh", "version": "x"}, {"git": "https://a%0Ahost=b@h/x", "version": "x"},
    {"git": "https://h/x", "version": "--upload-pack=id"},
    {"archive": "a.zip"}, {"git": "https://h/x", "version": 1.1},
])  # fmt: skip
def test_an_invalid_source_is_refused(fetch, source: dict) -> None:
    with pytest.raises(InputError, match=r"^source"):
        fetch(**source)


def test_a_source_is_exactly_one_of_path_git_and_archive(fetch) -> None:
    with pytest.raises(InputError, match="exactly one of path, git and archive; there are path, git"):
        fetch(path="a", git="https://h/x")


def test_a_version_on_the_command_line_applies_to_its_site_only() -> None:
    page = {"git": "https://h/x", "version": "v1"}
    assert with_version(page, "shop", {"site": "shop", "version": "v2"}) == {**page, "version": "v2"}
    assert with_version(page, "mill", {"site": "shop", "version": "v2"}) == page
    assert with_version(page, "shop", {"version": "v2"}) == page
    assert with_version(page, "shop", {"site": "shop"}) == page
    with pytest.raises(InputError, match="only a source in git has versions"):
        with_version({"path": "app"}, "shop", {"site": "shop", "version": "v2"})


def test_a_cached_error_is_reported_to_every_caller(tmp_path: Path) -> None:
    made: list[int] = []

    def fail() -> None:
        made.append(1)
        raise InputError("no")

    for _ in range(2):
        with pytest.raises(InputError, match="no"):
            once(tmp_path, "x", fail)
    assert made == [1]


def test_no_path_outside_of_the_folder_is_written(tmp_path: Path) -> None:
    for name in ("../x", "/x", "a/../../x"):
        with pytest.raises(InputError, match="leads out"):
            tree.write([tree.Item(name, "file")], tmp_path / "folder")
