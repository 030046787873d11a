"""Maintenance mode: a flag file for nginx, with a note of time, author and reason."""

from __future__ import annotations

import json
import os
from collections.abc import Callable
from pathlib import Path
from types import ModuleType
from typing import Any

import pytest
from ansible_run import run as playbook
from ansible_run import write_inventory
from module_run import run as run_module
from nginx_rig import render

from ansible_collections.wsgi.sites.plugins.module_utils.runtime import history
from ansible_collections.wsgi.sites.plugins.module_utils.site import (
    cli,
    maintenance,
    paths,
    removal,
    status,
)
from ansible_collections.wsgi.sites.plugins.module_utils.site.paths import Layout
from ansible_collections.wsgi.sites.plugins.module_utils.system.program import ENGINE, needed

PAGE = {
    "shop": {"server_names": ["shop.test"], "source": {"path": "app"}},
    "blog": {"server_names": ["shop.test"], "source": {"path": "app"}, "path": "/blog"},
}
ME = {"id": "1", "action": "maintenance", "who": "alice", "controller": "laptop", "began": 1.0}

SetState = Callable[..., dict[str, Any]]


@pytest.fixture
def site(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Layout:
    """A host with two recorded sites of one name, and their nginx files."""
    for name in ("REGISTRY", "RUN", "LOGS", "CONFIG", "COMMANDS", "LIBRARY", "PROGRAMS"):
        monkeypatch.setattr(paths, name, tmp_path / name.lower())
    monkeypatch.setattr(maintenance, "NGINX", tmp_path / "etc/nginx")
    monkeypatch.setenv("SITES_RUN", json.dumps(ME))
    (tmp_path / "registry").mkdir()
    for name in PAGE:
        (tmp_path / name).mkdir()
        record = {"name": name, "root": str(tmp_path / name), "user": "nosuchuser"}
        (tmp_path / f"registry/{name}.json").write_text(json.dumps(record))
    for path, text in render(PAGE)[0].items():
        file = tmp_path / path.lstrip("/")
        file.parent.mkdir(parents=True, exist_ok=True)
        file.write_text(text)
    return Layout("shop", tmp_path / "shop")


@pytest.fixture
def set_state(site: Layout, plugin: Callable[[str], ModuleType]) -> SetState:
    """Runs the module: `set_state("on", reason=…)`."""
    module = plugin("plugins/modules/site_maintenance.py")
    return lambda state, **more: run_module(module, **{"site": site.name, "state": state, **more})


def test_maintenance_is_turned_on_with_a_reason_and_off_again(site: Layout, set_state: SetState) -> None:
    done = set_state("on", reason="the database\n moves")
    assert (
        done["changed"]
        and site.maintenance.stat().st_mode & 0o777 == 0o600
        and site.maintenance.stat().st_uid == os.geteuid()
    )
    assert done["maintenance"].endswith(" UTC by alice@laptop: the database moves") and done["maintenance"].startswith(
        "on since 20"
    )
    assert status.status(site)["maintenance"] == done["maintenance"]
    assert not set_state("on", reason="the database moves")["changed"] and not set_state("on")["changed"]
    off = set_state("off")
    assert off["changed"] and off["maintenance"] == ""
    assert not site.maintenance.exists() and not set_state("off")["changed"]
    assert [(line["action"], line["by"], line.get("reason")) for line in history.read(site)] == [
        ("maintenance-on", "alice@laptop", "the database moves"), ("maintenance-off", "alice@laptop", None),
    ]  # fmt: skip


def test_nginx_can_read_the_flag_with_any_umask(site: Layout, set_state: SetState) -> None:
    """With umask 077 nginx could not see the flag, and maintenance would be reported on while it is off."""
    site.maintenance.parent.parent.chmod(0o700)
    before = os.umask(0o077)
    try:
        set_state("on")
    finally:
        os.umask(before)
    folders = (site.maintenance.parent, site.maintenance.parent.parent)
    assert [folder.stat().st_mode & 0o001 for folder in folders] == [1, 1]
    assert site.maintenance.stat().st_mode & 0o777 == 0o600


def test_a_new_reason_keeps_time_and_author(site: Layout, set_state: SetState, monkeypatch: pytest.MonkeyPatch) -> None:
    set_state("on", reason="one")
    since = maintenance.read(site)["since"]
    monkeypatch.setenv("SITES_RUN", json.dumps({**ME, "who": "bob"}))
    assert set_state("on", reason="two")["changed"]
    assert maintenance.read(site) == {"since": since, "by": "alice@laptop", "reason": "two"}


def test_check_mode_reports_the_change_and_makes_none(site: Layout, set_state: SetState) -> None:
    would = set_state("on", reason="x", check_mode=True)
    assert (
        would["changed"] and would["diff"] == {"before": "off\n", "after": "on: x\n"} and not site.maintenance.exists()
    )
    assert not set_state("off", check_mode=True)["changed"]
    set_state("on")
    assert not set_state("on", check_mode=True)["changed"]
    assert set_state("off", check_mode=True)["changed"] and site.maintenance.exists()


@pytest.mark.parametrize("text", ["", "by hand", "[]", '{"since": 5, "reason": ["x"]}', b"\xff"])
def test_a_flag_created_by_hand_is_reported(site: Layout, set_state: SetState, text: str | bytes) -> None:
    site.maintenance.parent.mkdir()
    site.maintenance.write_bytes(text if isinstance(text, bytes) else text.encode())
    assert maintenance.describe(maintenance.read(site)).startswith("on since ")
    assert set_state("off")["changed"] and not site.maintenance.exists()


@pytest.mark.parametrize("name", list(PAGE))
@pytest.mark.parametrize("file", ["sites-available/shop.conf", "sites-below/shop/blog.conf"])
def test_maintenance_needs_an_nginx_configuration_that_checks_the_flag(
    site: Layout, set_state: SetState, name: str, file: str
) -> None:
    path = maintenance.NGINX / file
    path.write_text(path.read_text().replace("$sites_maintenance", "$other"))
    if (name, file) == ("shop", "sites-below/shop/blog.conf"):
        assert set_state("on", site=name)["changed"]
        return
    done = set_state("on", site=name)
    assert done["failed"] and "run playbooks/deploy.yml" in done["msg"]
    assert not (paths.REGISTRY / "maintenance" / name).exists()


def test_a_missing_site_is_named(set_state: SetState) -> None:
    done = set_state("on", site="nix")
    assert done["failed"] and "nix: is not on this host yet" in done["msg"]


def test_removing_a_site_turns_maintenance_off(site: Layout, set_state: SetState) -> None:
    set_state("on")
    taken_away = removal.Removal("shop", lambda _: (0, "", ""), purge=True)
    assert f"remove {site.maintenance}" in taken_away.remove() and not site.maintenance.exists()


def test_the_command_on_the_host_turns_maintenance_on_and_off(
    site: Layout, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture
) -> None:
    monkeypatch.setattr(os, "geteuid", lambda: 0)
    monkeypatch.setenv("SUDO_USER", "carol")
    assert "ansible_collections.wsgi.sites.plugins.module_utils.site.maintenance" in needed(f"{ENGINE}.site.cli")
    assert cli.main(["shop-ctl", "maintenance", "on", "the", "disk", "is", "full"]) == 0
    assert " by carol@" in (said := capsys.readouterr().out) and said.endswith(": the disk is full\n")
    cli.main(["shop-ctl", "status"])
    assert "maintenance on since " in capsys.readouterr().out
    for invalid in ([], ["maintenance"], ["off", "now"]):
        assert cli.main(["shop-ctl", "maintenance", *invalid]) == 1
        assert "maintenance takes on [REASON] or off" in capsys.readouterr().err
    off = ["shop-ctl", "maintenance", "off"]
    assert cli.main(off) == cli.main(off) == 0
    assert (
        capsys.readouterr().out == "shop: maintenance off\nshop: maintenance was off\n"
        and not site.maintenance.exists()
    )


@pytest.mark.parametrize(
    ("arguments", "words"),
    [
        (["-e", "state=on"], "-e site=…: is missing; name a site. There are: shop, blog"),
        (["-e", "state=on", "-e", "site=shopp"], "did you mean shop?"),
        (["-e", "state=closed", "-e", "site=shop"], "-e state=…: must be on (maintenance page for clients) or off"),
        (["-e", "state=on", "-e", "site=shop", "-e", "reason=the words move"], "is cut off at its first blank"),
        (["-e", "site=nix"], "there is no such site"),
    ],
)
def test_the_playbook_refuses_an_unknown_action(tmp_path: Path, arguments: list[str], words: str) -> None:
    inventory = write_inventory(tmp_path, {"sites": PAGE, "ansible_become": False})
    said = " ".join(playbook("playbooks/maintenance.yml", "-i", inventory, *arguments, check=False).split())
    assert words in said and "site_maintenance" not in said
