"""The common entry of the modules for nginx and supervisor."""

from __future__ import annotations

from dataclasses import fields

import pytest
import yaml
from module_run import run

DAEMONS = ["nginx", "supervisor"]


@pytest.fixture
def module(plugin, daemon):
    return plugin(f"plugins/modules/{daemon}_config.py")


@pytest.mark.parametrize("daemon", DAEMONS)
def test_each_path_is_an_option_with_a_documented_default(module):
    options = yaml.safe_load(module.DOCUMENTATION)["options"]
    for field in fields(module.Places):
        assert options[field.name]["default"] == str(field.default), field.name


@pytest.mark.parametrize("daemon", DAEMONS)
def test_a_host_without_the_daemon_is_refused_with_the_remedy_but_not_in_check_mode(module, tmp_path, daemon):
    places = {field.name: str(tmp_path / field.name) for field in fields(module.Places)}
    file = places.get("config", f"{tmp_path}/conf_dir/nginx.conf")
    given = {"files": {file: "# Made from x; edits here are lost.\n"}, **places}
    done = run(module, **given)
    assert done["failed"] and f"Install the package {daemon} first" in done["msg"]
    assert not (tmp_path / "state_dir").exists()
    done = run(module, check_mode=True, **given)
    assert done["changed"] and done["paths"] == [file] and not done["installed"]


@pytest.mark.parametrize("daemon", DAEMONS)
def test_an_error_ends_the_module_with_its_message(module, monkeypatch):
    def ensure(*_: object) -> dict:
        raise module.Refused("what is wrong, and the remedy")

    monkeypatch.setattr(module, "ensure", ensure)
    done = run(module, files={})
    assert done["failed"] and done["msg"] == "what is wrong, and the remedy"
