"""The action plugin of release_build: what it sends to a host, and when."""

from __future__ import annotations

import gzip
import json
from pathlib import Path

from nginx_rig import merged, role_variables
from releases import HASHED

from ansible_collections.wsgi.sites.plugins.action import release_build as action
from ansible_collections.wsgi.sites.plugins.plugin_utils.sources import InputError


class FakeShell:
    tmpdir = "/tmp/remote"

    @staticmethod
    def join_path(*parts: str) -> str:
        return "/".join(parts)


class FakeTask:
    def __init__(self, args: dict, check_mode: bool) -> None:
        self.args, self.check_mode, self.async_val, self.diff = args, check_mode, 0, False


class FakeConnection:
    _shell = FakeShell()


def run_action(monkeypatch, tmp_path: Path, args: dict, answers: list[dict], check_mode: bool = False) -> tuple:
    """Run the action plugin with a host that gives the ``answers``; returns the result, the calls and the payloads."""
    calls, payloads = [], []
    plugin = object.__new__(action.ActionModule)
    plugin._loader = None  # no variables by -e
    plugin._task, plugin._connection = FakeTask(args, check_mode), FakeConnection()
    monkeypatch.setattr(action.ActionBase, "run", lambda *_: {})
    monkeypatch.setattr(action.constants, "DEFAULT_LOCAL_TMP", str(tmp_path))

    def execute(name: str, module_args: dict, task_vars: dict) -> dict:
        calls.append(json.loads(json.dumps(module_args)))
        return answers.pop(0)

    def transfer(local: str, remote: str) -> None:
        assert Path(local).stat().st_mode & 0o777 == 0o600
        payloads.append(Path(local).read_bytes())

    plugin._execute_module, plugin._transfer_file = execute, transfer
    plugin._discovered_interpreter_key, plugin._discovered_interpreter = None, False
    return plugin.run(task_vars={}), calls, payloads, plugin


ENTRY: dict = {}


def arguments(source: Path, **more: object) -> dict:
    """What the role gives the action plugin; keys of the site, and the action's own options."""
    if not ENTRY:
        ENTRY.update(merged({"shop": {"server_names": ["shop.example.com"]}}, role_variables({}))["shop"])
    options = {name: more.pop(name) for name in list(more) if name in action.OPTIONS}
    return {
        "site": "shop", "settings": {**ENTRY, "source": {"path": str(source)}, "env": {"A": "canary-env"}, **more},
        "files": {"gunicorn.conf.py": "workers = 1\n"}, "environment": {"CANARY_NAME": "canary-value"}, **options,
    }  # fmt: skip


NEEDED = {
    "changed": False, "site": "shop", "needed": True, "after_live": False, "build": True, "reason": "code changed",
    "release": "X", "slot": "green", "remark": "", "problems": [],
}  # fmt: skip


SAME = {**NEEDED, "needed": False, "build": False}


def test_secrets_are_in_the_payload_only(monkeypatch, source: Path, tmp_path: Path) -> None:
    local = tmp_path / "local"
    local.mkdir()
    args = arguments(source, package_index="https://me:canary-index@example.com/simple")
    result, calls, payloads, plugin = run_action(monkeypatch, local, args, [NEEDED, {**NEEDED, "changed": True}])
    assert "canary" not in json.dumps([result, calls]).lower()
    assert b"canary-value" in gzip.decompress(payloads[0])
    assert b"canary-index" in gzip.decompress(payloads[0])
    assert not {"environment", "settings"} & set(plugin._task.args)
    assert list(local.iterdir()) == []
    assert [("payload" in call) for call in calls] == [False, True]


def test_nothing_is_transferred_when_the_release_is_up_to_date(monkeypatch, source: Path, tmp_path: Path) -> None:
    result, calls, payloads, _ = run_action(monkeypatch, tmp_path, arguments(source), [SAME])
    assert (result, len(calls), payloads) == (SAME, 1, [])


def test_check_mode_reports_the_build_and_transfers_nothing(monkeypatch, source: Path, tmp_path: Path) -> None:
    result, calls, payloads, _ = run_action(monkeypatch, tmp_path, arguments(source), [NEEDED], check_mode=True)
    assert (result["changed"], result["needed"], len(calls), payloads) == (True, True, 1, [])


def test_the_local_file_is_removed_even_when_the_transfer_fails(monkeypatch, source: Path, tmp_path: Path) -> None:
    local = tmp_path / "local"
    local.mkdir()
    monkeypatch.setattr(action.payload, "pack", lambda *_: (_ for _ in ()).throw(InputError("stop")))
    result, *_ = run_action(monkeypatch, local, arguments(source), [NEEDED])
    assert result["failed"]
    assert list(local.iterdir()) == []


def test_a_bad_lock_is_refused_before_any_connection_to_the_host(monkeypatch, source: Path, tmp_path: Path) -> None:
    (source / "requirements.txt").write_text("flask\n", encoding="utf-8")
    result, calls, *_ = run_action(monkeypatch, tmp_path, arguments(source), [])
    assert result["failed"]
    assert result["msg"].startswith("shop: requirements:")
    assert calls == []


def test_each_part_has_its_own_hash(monkeypatch, source: Path, tmp_path: Path) -> None:
    def parts(**more: object) -> dict:
        _, calls, *_ = run_action(monkeypatch, tmp_path, arguments(source, **more), [SAME])
        return {**calls[0]["parts"], "environment": calls[0]["environment_hash"]}

    def changed(after: dict) -> set:
        return {name for name in before if before[name] != after[name]}

    before = parts()
    assert changed(parts()) == set()
    assert changed(parts(environment={"CANARY_NAME": "other"})) == {"environment"}
    assert changed(parts(files={"gunicorn.conf.py": "workers = 2\n"})) == {"config"}
    assert changed(parts(health={**ENTRY["health"], "path": "/up"})) == {"config"}
    assert changed(parts(server="uwsgi")) == {"config", "requirements"}
    assert changed(parts(workers=3)) == {"config"}
    assert changed(parts(keep_releases=9, package_index="https://example.com")) == set()
    (source / "requirements.txt").write_text(HASHED + HASHED.replace("flask", "click"), encoding="utf-8")
    assert changed(parts()) == {"requirements"}
    (source / "wsgi.py").write_text("", encoding="utf-8")
    assert changed(parts()) == {"requirements", "code"}
