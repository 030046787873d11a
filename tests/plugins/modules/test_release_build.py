"""A release is packed the same everywhere, built only when needed, and never lets a secret out."""

from __future__ import annotations

import contextlib
import getpass
import gzip
import http.server
import io
import json
import os
import pwd
import re
import shutil
import socket
import subprocess
import sys
import tarfile
import threading
from dataclasses import replace
from datetime import UTC, datetime
from pathlib import Path

import pytest
import yaml
from ansible.module_utils.common.arg_spec import ArgumentSpecValidator
from nginx_rig import evaluate, merged, role_variables
from supervised import eventually, uwsgi_files

from ansible_collections.wsgi.sites.plugins.action import release_build as action
from ansible_collections.wsgi.sites.plugins.module_utils.launcher.release import Release
from ansible_collections.wsgi.sites.plugins.module_utils.packages import lockfile
from ansible_collections.wsgi.sites.plugins.module_utils.releases import (
    bytecode,
    decision,
    environment,
    fingerprint,
    host_python,
    store,
    uv,
    venv,
)
from ansible_collections.wsgi.sites.plugins.module_utils.releases.build import Build
from ansible_collections.wsgi.sites.plugins.module_utils.releases.decision import decide
from ansible_collections.wsgi.sites.plugins.module_utils.releases.ensure import ensure_release, explain
from ansible_collections.wsgi.sites.plugins.module_utils.releases.errors import BuildError
from ansible_collections.wsgi.sites.plugins.module_utils.releases.manifest import SPEC
from ansible_collections.wsgi.sites.plugins.module_utils.site import paths
from ansible_collections.wsgi.sites.plugins.module_utils.system import process, trees
from ansible_collections.wsgi.sites.plugins.module_utils.system.privileges import run_as
from ansible_collections.wsgi.sites.plugins.modules import release_build as module
from ansible_collections.wsgi.sites.plugins.plugin_utils.releases import inputs, source_files
from ansible_collections.wsgi.sites.plugins.plugin_utils.releases.manifest import SERVER_PACKAGES, server_package
from ansible_collections.wsgi.sites.plugins.plugin_utils.releases.payload import pack
from ansible_collections.wsgi.sites.plugins.plugin_utils.sources import InputError, limits, wheels

NASTY = {
    "PLAIN": "hello",
    "NEWLINE": "one\ntwo\r\nthree",
    "QUOTES": "a \"double\" and a 'single' one",
    "PERCENT": "100% %(here)s %%",
    "DOLLAR": "$HOME ${PATH} `id` $(id)",
    "UNICODE": "Grüße, 世界 🚀",
    "LINE_ENDS": "a\x0bb\x0cc\x1cd\x85e\u2028f\u2029g",
    "BACKSLASH": "C:\\new\\table",
    "EQUALS": "=a=b=",
    "EMPTY": "",
    "SPACES": "  both ends  ",
}
HASHED = "flask==3.1.3 \\\n    --hash=sha256:00 \\\n    --hash=sha256:11\n    # via -r requirements.in\n"
NOW = datetime(2026, 11, 21, 3, 15, tzinfo=UTC)


@pytest.fixture
def source(tmp_path: Path) -> Path:
    """A small site, with what must stay at home beside it."""
    folder = tmp_path / "source"
    for name, content in {
        "wsgi.py": "def app(environ, start_response): return []\n",
        "static/style.css": "body {}\n",
        "shop/instance/code.py": "",
        "requirements.txt": HASHED,
        ".git/config": "",
        "__pycache__/wsgi.pyc": "",
        "shop/__pycache__/x.pyc": "",
        "stray.pyc": "",
        ".venv/bin/python": "",
        "node_modules/x/index.js": "",
        ".pytest_cache/x": "",
        "instance/local.sqlite": "",
    }.items():
        path = folder / name
        path.parent.mkdir(parents=True, exist_ok=True)
        path.write_text(content, encoding="utf-8")
    (folder / "run").write_text("#!/bin/sh\n", encoding="utf-8")
    (folder / "run").chmod(0o755)
    (folder / "css").symlink_to("static")
    return folder


def packed(source: Path, settings: dict | None = None) -> bytes:
    """The payload of a source."""
    target = io.BytesIO()
    pack(target, source_files.collect(source), settings or {"environment": {}, "files": {}}, b"gunicorn==1\n")
    return target.getvalue()


def code(source: Path) -> str:
    """The hash of a source's code."""
    return source_files.code_hash(source_files.collect(source), ["requirements.txt"])


# Packing


def test_a_source_packs_to_the_same_bytes_wherever_it_lies(source: Path, tmp_path: Path) -> None:
    copy = tmp_path / "elsewhere"
    shutil.copytree(source, copy, symlinks=True)
    assert packed(copy) == packed(source)


def test_the_payload_does_not_tell_when_it_was_packed(source: Path) -> None:
    assert packed(source)[4:8] == b"\0\0\0\0", "the time in gzip's header"


def test_what_is_not_code_stays_at_home(source: Path) -> None:
    names = {entry.name for entry in source_files.collect(source)}
    assert names == {
        "css", "requirements.txt", "run", "shop", "shop/instance", "shop/instance/code.py",
        "static", "static/style.css", "wsgi.py",
    }  # fmt: skip


def test_the_code_hash_follows_content_path_and_executable_bit_but_not_time(source: Path) -> None:
    seen = [code(source)]
    os.utime(source / "wsgi.py", (0, 0))
    assert code(source) == seen[-1]
    (source / "requirements.txt").write_text("# another lock\n", encoding="utf-8")
    assert code(source) == seen[-1], "the lock is a part of its own"
    (source / "run").chmod(0o644)
    seen.append(code(source))
    (source / "wsgi.py").write_text("app = None\n", encoding="utf-8")
    seen.append(code(source))
    (source / "wsgi.py").rename(source / "other.py")
    seen.append(code(source))
    (source / "css").unlink()
    (source / "css").symlink_to("shop")
    seen.append(code(source))
    assert len(set(seen)) == len(seen)


def test_files_keep_their_time_and_belong_to_root(source: Path) -> None:
    os.utime(source / "static/style.css", (1_000_000_000, 1_000_000_000))
    with tarfile.open(fileobj=io.BytesIO(packed(source))) as tar:
        assert tar.getmember("app/static/style.css").mtime == 1_000_000_000
        assert tar.getmember("app/run").mode & 0o100
        assert not tar.getmember("app/wsgi.py").mode & 0o100
        assert {(member.uid, member.gid) for member in tar} == {(0, 0)}


@pytest.mark.parametrize("target", ["/etc/passwd", "../outside", "static/../../outside"])
def test_a_link_that_leads_out_of_the_source_is_refused(source: Path, target: str) -> None:
    (source.parent / "outside").write_text("secret", encoding="utf-8")
    (source / "bad").symlink_to(target)
    with pytest.raises(InputError, match="the link bad leads out of the source"):
        source_files.collect(source)


def test_a_special_file_is_refused(source: Path) -> None:
    os.mkfifo(source / "pipe")
    with pytest.raises(InputError, match="pipe in the source is neither"):
        source_files.collect(source)


def test_a_file_that_changes_while_it_is_packed_is_noticed(source: Path) -> None:
    entries = source_files.collect(source)
    (source / "wsgi.py").write_text("x" * (source / "wsgi.py").stat().st_size, encoding="utf-8")
    with pytest.raises(InputError, match="changed while it was packed"):
        pack(io.BytesIO(), entries, {}, b"")


def exchange(path: Path, kind: str) -> None:
    """Put something else in a file's place, as somebody who can write to the source does."""
    secret = path.parents[2] / "secret"
    secret.write_bytes(path.read_bytes())
    if kind == "a folder above":
        path.parent.rename(path.parents[2] / "moved")
        path.parent.symlink_to(path.parents[2] / "moved")
        return
    path.unlink()
    if kind == "link":
        path.symlink_to(secret)
    elif kind == "fifo":
        os.mkfifo(path)
    elif kind == "folder":
        path.mkdir()
    elif kind == "socket":
        with socket.socket(socket.AF_UNIX) as made, contextlib.chdir(path.parent):
            made.bind(path.name)


EXCHANGED = pytest.mark.parametrize("kind", ["link", "fifo", "folder", "socket", "nothing", "a folder above"])


@EXCHANGED
def test_a_file_that_is_exchanged_before_it_is_packed_is_not_read(source: Path, kind: str) -> None:
    entries = source_files.collect(source)
    exchange(source / "static/style.css", kind)
    with pytest.raises(InputError, match=r"static/style\.css changed while it was packed|static changed"):
        pack(io.BytesIO(), entries, {}, b"")


@EXCHANGED
def test_a_file_that_is_exchanged_after_it_was_listed_is_not_read(source: Path, monkeypatch, kind: str) -> None:
    real = limits.open_below

    def late(top: Path, name: str) -> int:
        if name == "static/style.css":
            exchange(source / name, kind)
        return real(top, name)

    monkeypatch.setattr(limits, "open_below", late)
    with pytest.raises(InputError, match="changed while it was packed"):
        source_files.collect(source)


def test_a_folder_that_becomes_a_link_after_it_was_listed_is_not_entered(source: Path, monkeypatch) -> None:
    (source.parent / "secrets").mkdir()
    (source.parent / "secrets/key").write_text("secret", encoding="utf-8")
    real = limits.open_folder

    def late(top: Path, name: str) -> int:
        if name == "static":
            (source / name).rename(source.parent / "moved")
            (source / name).symlink_to(source.parent / "secrets")
        return real(top, name)

    monkeypatch.setattr(limits, "open_folder", late)
    with pytest.raises(InputError, match="static changed while it was packed"):
        source_files.collect(source)


def test_a_file_that_grows_is_not_packed_without_an_end(source: Path) -> None:
    entries = source_files.collect(source)
    with (source / "wsgi.py").open("ab") as file:
        file.truncate(1 << 40)
    target = io.BytesIO()
    with pytest.raises(InputError, match=r"wsgi\.py changed while it was packed"):
        pack(target, entries, {}, b"")
    assert len(target.getvalue()) < 1 << 20


def test_a_source_is_as_bounded_as_what_is_fetched(source: Path, monkeypatch) -> None:
    (source / "sparse").touch()
    os.truncate(source / "sparse", limits.BYTES + 1)
    with pytest.raises(InputError, match="its files are more than"):
        source_files.collect(source)
    (source / "sparse").unlink()
    monkeypatch.setattr(limits, "FILES", 5)
    with pytest.raises(InputError, match="more than 5 files and folders"):
        source_files.collect(source)


def test_a_source_of_folders_in_folders_is_refused(source: Path) -> None:
    (source / "/".join(["d"] * 70)).mkdir(parents=True)
    with pytest.raises(InputError, match="more than 64 folders deep; shorten it"):
        source_files.collect(source)


@pytest.mark.parametrize(("links", "refused"), [
    ({"a": "deep/er/../x"}, ""), ({"a": "b/../x", "b": "deep/er"}, ""), ({"a": "a"}, ""), ({"a": "none/x"}, ""),
    ({"a": "b/../x", "b": "."}, "a"), ({"deep/er/b": "../..", "a": "deep/er/b/../x"}, "a"),
    ({"deep/er/a": "../../.."}, "a"), ({"a": "deep/../.."}, "a"), ({"a": "none/../../x"}, "a"),
])  # fmt: skip
def test_a_link_ends_where_the_links_that_are_packed_lead(source: Path, links: dict, refused: str) -> None:
    (source / "deep/er").mkdir(parents=True)
    for name, target in links.items():
        (source / name).symlink_to(target)
    if refused:
        with pytest.raises(InputError, match=rf"the link (\S+/)?{refused} leads out of the source"):
            source_files.collect(source)
    else:
        assert set(links) <= {entry.name for entry in source_files.collect(source)}


def test_a_source_may_itself_be_a_link(source: Path) -> None:
    (source.parent / "current").symlink_to(source)
    assert packed(source.parent / "current") == packed(source)


# Locks


def test_a_lock_that_is_a_link_out_of_the_source_shows_nothing_of_what_lies_there(source: Path) -> None:
    (source.parent / "vault_password").write_text("hunter2\n", encoding="utf-8")
    (source / "requirements.txt").unlink()
    (source / "requirements.txt").symlink_to("../vault_password")
    with pytest.raises(InputError, match="leads out of the source") as error:
        inputs.load_lock(source, "requirements.txt")
    assert "hunter2" not in str(error.value)


def test_a_missing_lock_is_refused_with_the_command_that_makes_it(source: Path) -> None:
    (source / "requirements.txt").unlink()
    (source / "requirements.in").write_text("flask\n", encoding="utf-8")
    with pytest.raises(InputError) as error:
        inputs.load_lock(source, "requirements.txt")
    assert "uv pip compile --universal --generate-hashes requirements.in -o requirements.txt" in str(error.value)


@pytest.mark.parametrize(
    "text",
    ["flask==3.1.3\n", HASHED + "click>=8\n", "-e .\n", "-r other.txt\n", "https://user:canary@example.com/x.whl\n"],
)
def test_an_unhashed_lock_is_refused_with_the_command_that_makes_it_right(source: Path, text: str) -> None:
    (source / "requirements.txt").write_text(text, encoding="utf-8")
    with pytest.raises(InputError) as error:
        inputs.load_lock(source, "requirements.txt")
    assert "uv pip compile --universal --generate-hashes requirements.in -o requirements.txt" in str(error.value)
    assert "canary" not in str(error.value)


def test_a_hashed_lock_is_accepted(source: Path) -> None:
    text = (
        f"--index-url https://example.com/simple\n# flask\n{HASHED}\nclick==8 ; python_version < '4' --hash=sha256:2\n"
    )
    (source / "requirements.txt").write_text(text, encoding="utf-8")
    assert inputs.load_lock(source, "requirements.txt")


def test_a_lock_outside_the_source_is_refused(source: Path) -> None:
    with pytest.raises(InputError, match="must lie in the source"):
        inputs.load_lock(source, "../requirements.txt")


@pytest.mark.parametrize("server", ["gunicorn", "uwsgi"])
def test_the_bundles_own_lock_is_hashed(project: Path, server: str) -> None:
    lock = lockfile.load(project / "roles/server/files", f"{server}.txt")
    assert SERVER_PACKAGES[server] in lock.names


def test_the_distributions_server_needs_no_lock() -> None:
    assert server_package({"server": {"name": "uwsgi", "from": "distribution"}}) == ""


@pytest.mark.parametrize(("name", "lock", "found"), [
    ("requirements.txt", "gunicorn[gevent]==27 --hash=sha256:0\n", True),
    ("requirements.txt", "# gunicorn==27\ngunicorn-x==1 --hash=sha256:0\n", False),
    ("uv.lock", '[[package]]\nname = "gunicorn"\n', True),
    ("uv.lock", '[[package]]\nname = "gunicorn-x"\n', False),
])  # fmt: skip
def test_whether_a_lock_names_its_server(tmp_path: Path, name: str, lock: str, found: bool) -> None:
    (tmp_path / "pyproject.toml").touch()
    (tmp_path / name).write_text(lock, encoding="utf-8")
    assert ("gunicorn" in lockfile.load(tmp_path, name).names) is found


def test_gevent_must_be_in_the_lock() -> None:
    with pytest.raises(BuildError, match=r"the\s+line `gunicorn\[gevent\]`"):
        venv.check_extras({"gunicorn"}, "gevent")
    venv.check_extras({"gunicorn", "gevent"}, "gevent")


def test_an_unknown_worker_class_is_refused_with_the_list() -> None:
    asked = subprocess.run([sys.executable, "-c", venv.WORKER_CLASSES], capture_output=True, text=True, check=True)
    venv.check_worker_class(asked.stdout, "gthread")
    with pytest.raises(BuildError, match=r"'gtread': this gunicorn has .*gthread, sync"):
        venv.check_worker_class(asked.stdout, "gtread")


@pytest.mark.parametrize(("said", "words"), [
    ("error: Request failed\n  cause: Failed to fetch: `https://me:canary@x/`\n  cause: Connection refused",
     "does not reach the package index"),
    ("cause: error sending request for url (https://x/)\n invalid peer certificate: UnknownIssuer", "host_ca_cert"),
    ("error: No space left on device (os error 28)", "the disk is full"),
    ("Hash mismatch for `flask==3`", "not the one that was locked"),
    ("In `--require-hashes` mode, all requirements must have a hash", "the lock file is incomplete"),
    ("has no usable wheels and building from source is disabled", "has no wheel for this host's Python"),
])  # fmt: skip
def test_uvs_errors_come_with_a_remedy_and_without_passwords(said: str, words: str) -> None:
    assert words in uv.explain(said)
    assert "canary" not in uv.explain(said)


# The environment


def test_the_environment_comes_back_as_it_was_given() -> None:
    text = environment.format_environment(NASTY)
    assert environment.parse_environment(text) == NASTY
    assert len(text.splitlines()) == len(NASTY), "one value a line, however lines are counted"


def test_the_launcher_reads_the_same_environment(tmp_path: Path) -> None:
    (tmp_path / "environment").write_text(environment.format_environment(NASTY), encoding="utf-8")
    release = Release(paths.Layout("shop", tmp_path), tmp_path, {"user": "shop"})
    assert NASTY.items() <= release.environment().items()


def test_the_operators_values_win() -> None:
    values = environment.release_environment({"SITE_NAME": "mine"}, "shop", "ID", Path("/srv/shop"), 1024)
    assert values == {
        "SITE_NAME": "mine",
        "SITE_RELEASE": "ID",
        "SITE_SHARED": "/srv/shop/shared",
        "SITE_MAX_BODY": "1024",
    }


def test_secrets_are_masked_in_all_their_forms() -> None:
    values = {
        "TOKEN": "first-line\nsecond-line",
        "DATABASE_URL": "postgres://me:p%40ssword@db/x",
        "QUOTED": 'it\'s "quoted"',
    }
    text = "\n".join([
        repr(values["TOKEN"]), json.dumps(values["TOKEN"]), "only second-line here", values["DATABASE_URL"],
        "wrong password p@ssword for user me", json.dumps(values["QUOTED"]), repr(values["QUOTED"]),
        "os.environ['TOKEN']",
        "TOKENIZER is another word", "SECRET_KEY is not set",
    ])  # fmt: skip
    masked = environment.mask(text, {**values, "SECRET_KEY": "0123456789abcdef"})
    for secret in ("first-line", "second-line", "p@ss", "p%40ss", "quoted", "'TOKEN'"):
        assert secret not in masked
    assert "TOKENIZER" in masked
    assert "SECRET_KEY is not set" in masked


def test_values_become_text_and_errors_show_neither_name_nor_value() -> None:
    assert environment.as_texts({"A": 1, "B": True, "C": "x"}) == {"A": "1", "B": "true", "C": "x"}
    for bad in (
        {"A": ["canary"]},
        {"canary-name": "x"},
        {"A": "canary\0"},
        {"A": "canary\udc80"},
        ["canary"],
        "canary",
    ):
        with pytest.raises(environment.EnvironmentFault) as error:
            environment.as_texts(bad)
        assert "canary" not in str(error.value)


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
    plugin._loader = None  # nothing was given with -e
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
    "release": "X", "slot": "green", "remark": "", "complaints": [],
}  # fmt: skip
SAME = {**NEEDED, "needed": False, "build": False}


def test_secrets_travel_in_the_payload_alone(monkeypatch, source: Path, tmp_path: Path) -> None:
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


def test_nothing_is_transferred_when_nothing_is_needed(monkeypatch, source: Path, tmp_path: Path) -> None:
    result, calls, payloads, _ = run_action(monkeypatch, tmp_path, arguments(source), [SAME])
    assert (result, len(calls), payloads) == (SAME, 1, [])


def test_check_mode_says_what_would_be_built_and_transfers_nothing(monkeypatch, source: Path, tmp_path: Path) -> None:
    result, calls, payloads, _ = run_action(monkeypatch, tmp_path, arguments(source), [NEEDED], check_mode=True)
    assert (result["changed"], result["needed"], len(calls), payloads) == (True, True, 1, [])


def test_the_local_file_goes_also_when_the_transfer_fails(monkeypatch, source: Path, tmp_path: Path) -> None:
    local = tmp_path / "local"
    local.mkdir()
    monkeypatch.setattr(action.payload, "pack", lambda *_: (_ for _ in ()).throw(InputError("stop")))
    result, *_ = run_action(monkeypatch, local, arguments(source), [NEEDED])
    assert result["failed"]
    assert list(local.iterdir()) == []


def test_a_bad_lock_is_refused_before_the_host_is_asked(monkeypatch, source: Path, tmp_path: Path) -> None:
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


# Unpacking


def archive(*members: tuple[str, bytes, bytes]) -> tarfile.TarFile:
    """A tar of (name, type, content or link) members."""
    target = io.BytesIO()
    with tarfile.open(fileobj=target, mode="w") as tar:
        for name, kind, content in members:
            member = tarfile.TarInfo(name)
            member.type = kind
            if kind == tarfile.REGTYPE:
                member.size = len(content)
            else:
                member.linkname = content.decode()
            tar.addfile(member, io.BytesIO(content))
    target.seek(0)
    return tarfile.open(fileobj=target)


def test_a_source_unpacks_as_it_was(source: Path, tmp_path: Path) -> None:
    destination = tmp_path / "app"
    destination.mkdir()
    os.utime(source / "static/style.css", (1_000_000_000, 1_000_000_000))
    with tarfile.open(fileobj=io.BytesIO(packed(source))) as tar:
        store.unpack(tar, "app", destination)
    assert code(destination) == code(source)
    assert (destination / "static/style.css").stat().st_mtime == 1_000_000_000
    assert not (destination / "settings.json").exists()


@pytest.mark.parametrize("members", [
    [("app/../../evil", tarfile.REGTYPE, b"x")],
    [("app/out", tarfile.SYMTYPE, b"/etc"), ("app/out/evil", tarfile.REGTYPE, b"x")],
    [("app/out", tarfile.SYMTYPE, b"../..")],
    # Harmless to a reader of names, but `x/s` is `app/`, so that `l` is two folders above it.
    [("app/x", tarfile.DIRTYPE, b""), ("app/x/s", tarfile.SYMTYPE, b".."), ("app/l", tarfile.SYMTYPE, b"x/s/../..")],
    [("app/x", tarfile.DIRTYPE, b""), ("app/x/s", tarfile.SYMTYPE, b".."), ("app/l", tarfile.SYMTYPE, b"x/s/../.."),
     ("app/l/evil", tarfile.REGTYPE, b"x")],
    [("app/in", tarfile.SYMTYPE, b"."), ("app/in/in/../../evil", tarfile.REGTYPE, b"x")],
    [("app/hard", tarfile.LNKTYPE, b"/etc/passwd")],
    [("app/device", tarfile.CHRTYPE, b"")],
    [("app/pipe", tarfile.FIFOTYPE, b"")],
])  # fmt: skip
def test_nothing_is_unpacked_outside_the_release(tmp_path: Path, members: list) -> None:
    destination = tmp_path / "release" / "app"
    destination.mkdir(parents=True)
    with pytest.raises(store.UnpackError):
        store.unpack(archive(*members), "app", destination)
    assert not list(tmp_path.rglob("evil"))


def test_only_public_folders_are_readable_for_everyone(source: Path) -> None:
    store.set_modes(source, os.getgid(), store.app_folders(["app/static"]))
    modes = {
        name: (source / name).stat().st_mode & 0o777
        for name in ("", "wsgi.py", "run", "shop", "static", "static/style.css")
    }
    assert modes == {
        "": 0o751, "wsgi.py": 0o640, "run": 0o750, "shop": 0o751, "static": 0o755, "static/style.css": 0o644,
    }  # fmt: skip


@pytest.mark.skipif(os.geteuid() != 0, reason="only root can become somebody else")
def test_packages_are_the_sites_and_what_nginx_serves_of_them_is_nginxs(tmp_path: Path) -> None:
    """As three who come by: the site, nginx's worker, and another site, who knows every name."""
    passable(tmp_path)
    release, cache = tmp_path / "release", tmp_path / "cache"
    packages = release / "venv/lib/python3.11/site-packages"
    served, code, own, hidden = (
        packages / name for name in ("shop/static/css/a.css", "shop/secret.py", "six.py", "other/code.py")
    )
    for path in (served, code, own, hidden, release / "venv/pyvenv.cfg"):
        path.parent.mkdir(parents=True, exist_ok=True)
        cached = cache / path.name
        cached.parent.mkdir(exist_ok=True)
        cached.write_text("x")
        path.hardlink_to(cached)
    (packages.parent.parent / "link").symlink_to("nowhere")
    (release / "packages").symlink_to("venv/lib/python3.11/site-packages")
    before = fingerprint.venv_digest(release / "venv")
    public = ["packages/shop/static"]

    def readers(group: int, *files: Path) -> list[bool]:
        code = "import os, sys; print([os.access(each, os.R_OK) for each in sys.argv[1:]])"
        done = subprocess.run(
            ["/usr/bin/python3", "-I", "-c", code, *map(str, files)],
            user=61236, group=group, extra_groups=[], capture_output=True, text=True, check=True, cwd="/",
        )  # fmt: skip
        return json.loads(done.stdout.lower())

    site, stranger = 61240, 61241
    files = (release / "packages/shop/static/css/a.css", code, own, hidden, release / "venv/pyvenv.cfg")
    store.own(release, site, store.release_mode(public))
    store.set_venv_modes(release, site, public)
    assert readers(site, *files) == [True] * 5
    assert readers(stranger, *files) == [True, False, False, False, False]
    assert (cache / "six.py").stat().st_mode & 0o777 == 0o644, "the cache is other sites' as well"
    assert os.path.samefile(served, cache / "a.css"), "what is served stays one with the cache"
    assert fingerprint.venv_digest(release / "venv") != before
    after = fingerprint.venv_digest(release / "venv")
    store.set_venv_modes(release, site, public)
    assert fingerprint.venv_digest(release / "venv") == after

    store.own(release, site, store.release_mode([]))
    store.set_venv_modes(release, site, [])
    assert readers(site, *files) == [True] * 5
    assert readers(stranger, *files, release) == [False] * 6


def test_folders_in_each_other_by_the_thousand_are_refused_and_removed(site: paths.Layout, tmp_path: Path) -> None:
    deep = "app/" + "/".join("d" * 129)
    with pytest.raises(store.UnpackError, match="more than 128 deep"):
        store.unpack(archive((deep, tarfile.DIRTYPE, b"")), "app", tmp_path / "app")
    half_built = site.release("A")
    (half_built / "venv").mkdir(parents=True)
    handle = os.open(half_built / "venv", os.O_RDONLY)
    for _ in range(1100):
        os.mkdir("d", dir_fd=handle)
        below = os.open("d", os.O_RDONLY, dir_fd=handle)
        os.close(handle)
        handle = below
    os.close(handle)
    with pytest.raises(store.UnpackError, match="more than 128 deep"):
        store.check_depth(half_built / "venv")
    assert fingerprint.tree_digest(half_built) and fingerprint.venv_digest(half_built / "venv")
    assert store.remove_half_built(site) == ["A"]
    assert list(site.releases.iterdir()) == []


def test_what_cannot_be_removed_is_said(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(trees, "RM", "/bin/false")
    with pytest.raises(OSError, match="cannot be removed completely") as error:
        trees.remove(tmp_path)
    assert error.value.filename == str(tmp_path)


# What is needed


@pytest.fixture
def site(tmp_path: Path, monkeypatch) -> paths.Layout:
    """A site on a host that is nothing but a folder."""
    monkeypatch.setattr(paths, "RUN", tmp_path / "run")
    monkeypatch.setattr(paths, "PROGRAMS", tmp_path / "programs")
    (tmp_path / "programs").mkdir()
    monkeypatch.setattr(decision, "healthy", lambda *_: (True, ""))
    if os.geteuid() != 0:
        monkeypatch.setattr(os, "fchown", lambda *_: None)
    return paths.Layout("shop", tmp_path / "srv")


PARTS = {"code": "c" * 64, "requirements": "r", "config": "s", "environment": "e", "python": "3.11"}


def lay_down(site: paths.Layout, name: str, parts: dict, slot: str | None = None, complete: bool = True) -> Path:
    """Lay down a release, and make it live if a slot is named."""
    release = site.release(name)
    (release / "app").mkdir(parents=True)
    (release / "venv/lib").mkdir(parents=True)
    (release / "app/wsgi.py").write_text("app = 1\n", encoding="utf-8")
    (release / "venv/lib/flask.py").write_text("flask = 1\n", encoding="utf-8")
    (release / "program-blue.conf").write_text("blue", encoding="utf-8")
    if complete:
        (release / fingerprint.FILE).write_text(fingerprint.record(release, parts), encoding="utf-8")
        (release / fingerprint.COMPLETE).touch()
    if slot:
        site.slot(slot).mkdir(parents=True, exist_ok=True)
        paths.replace_link(site.slot(slot) / "release", f"../../releases/{name}")
        paths.replace_link(site.live, f"slots/{slot}")
        site.program(slot).write_text("blue", encoding="utf-8")
    return release


def test_the_first_release_is_needed(site: paths.Layout) -> None:
    found = decide(site, PARTS)
    assert (found.build, found.reason, found.slot) == (True, "first release", "blue")


def test_nothing_is_needed_when_all_is_as_it_should_be(site: paths.Layout) -> None:
    lay_down(site, "20260101T000000Z-cccccccc", PARTS, "blue")
    found = decide(site, PARTS)
    assert (found.needed, found.release, found.slot) == (False, "20260101T000000Z-cccccccc", "blue")


@pytest.mark.parametrize(("change", "reason"), [
    ({"code": "x"}, "code changed"),
    ({"code": "x", "requirements": "x"}, "code and requirements changed"),
    ({"code": "x", "config": "x", "environment": "x"}, "code, server config and environment changed"),
    ({"python": "3.13"}, "the host's Python is now 3.13 (was 3.11)"),
])  # fmt: skip
def test_the_reason_names_the_changed_part(site: paths.Layout, change: dict, reason: str) -> None:
    lay_down(site, "A", PARTS, "blue")
    found = decide(site, {**PARTS, **change})
    assert (found.build, found.reason, found.slot) == (True, reason, "green")


@pytest.mark.parametrize("file", ["app/wsgi.py", "venv/lib/flask.py", "program-blue.conf"])
def test_files_changed_on_the_host_are_noticed(site: paths.Layout, file: str) -> None:
    release = lay_down(site, "A", PARTS, "blue")
    with (release / file).open("a", encoding="utf-8") as stream:
        stream.write("# mended by hand\n")
    found = decide(site, PARTS)
    assert (found.build, found.reason) == (True, "files of the live release were changed on the host")
    assert found.suspicious_cache is file.startswith("venv")


def test_a_mode_changed_on_the_host_and_a_new_file_are_noticed(site: paths.Layout) -> None:
    release = lay_down(site, "A", PARTS, "blue")
    (release / "app/wsgi.py").chmod(0o666)
    assert decide(site, PARTS).build
    site.live.unlink()
    other = lay_down(site, "B", PARTS, "blue")
    (other / "app/new.py").touch()
    assert decide(site, PARTS).build


def test_an_intact_release_is_started_again_when_its_slot_is_not_healthy(site: paths.Layout, monkeypatch) -> None:
    lay_down(site, "A", PARTS, "blue")
    monkeypatch.setattr(decision, "healthy", lambda *_: (False, "answers 500"))
    found = decide(site, PARTS)
    assert (found.needed, found.build, found.release) == (True, False, "A")
    assert found.reason == "slot blue is not healthy: answers 500"


def test_an_intact_release_is_started_again_when_its_program_is_gone_or_other(site: paths.Layout) -> None:
    lay_down(site, "A", PARTS, "blue")
    site.program("blue").write_text("edited", encoding="utf-8")
    found = decide(site, PARTS)
    assert (found.release, found.reason.endswith("was changed on the host")) == ("A", True)
    site.program("blue").unlink()
    found = decide(site, PARTS)
    assert (found.release, found.reason.endswith("is missing")) == ("A", True)


def test_a_release_that_was_built_but_not_started_is_not_built_twice(site: paths.Layout) -> None:
    lay_down(site, "A", PARTS, "blue")
    lay_down(site, "B", {**PARTS, "code": "x"})
    found = decide(site, {**PARTS, "code": "x"})
    assert (found.needed, found.release, found.reason) == (True, "B", "code changed")


def test_what_replaces_a_damaged_release_is_not_built_twice(site: paths.Layout) -> None:
    release = lay_down(site, "A", PARTS, "blue")
    (release / "app/wsgi.py").write_text("", encoding="utf-8")
    assert decide(site, PARTS).build
    lay_down(site, "B", PARTS)
    assert decide(site, PARTS).release == "B"


# Releases on the disk


def test_half_built_releases_are_removed_but_never_one_in_a_slot(site: paths.Layout) -> None:
    lay_down(site, "A", PARTS, "blue", complete=False)
    lay_down(site, "B", PARTS)
    lay_down(site, "C", PARTS, complete=False)
    assert store.complete(site) == ["B"]
    assert store.remove_half_built(site) == ["C"]
    assert sorted(path.name for path in site.releases.iterdir()) == ["A", "B"]


def test_pruning_keeps_the_newest_the_live_and_the_previous(site: paths.Layout) -> None:
    for name in "BCDEFG":
        lay_down(site, name, PARTS)
    lay_down(site, "A", PARTS, "blue")
    site.previous.write_text("C\n", encoding="utf-8")
    assert store.prune(site, 2, new="G") == ["B", "D", "E"]
    assert store.complete(site) == ["A", "C", "F", "G"]


def test_an_id_is_never_taken_twice(site: paths.Layout) -> None:
    assert store.new_id(site, "1a2b3c4d5e", NOW) == "20261121T031500Z-1a2b3c4d"
    site.release("20261121T031500Z-1a2b3c4d").mkdir(parents=True)
    assert store.new_id(site, "1a2b3c4d5e", NOW) == "20261121T031500Z-1a2b3c4d-2"


# The build


def params(
    site: paths.Layout, payload: Path | None, server: str = "gunicorn", environment_hash: str = "e", **more: object
) -> dict:
    """The module's arguments as Ansible completes them."""
    manifest = {
        "site": "shop", "root": str(site.root), "user": getpass.getuser(), "source": "folder app", "wsgi": "wsgi:app",
        "server": {"name": server}, "public": ["app/static"], "compress": ["gzip"], "health": {"path": "/healthz"},
        "max_body": 1024, **more,
    }  # fmt: skip
    validated = ArgumentSpecValidator(SPEC).validate(manifest)
    assert not validated.error_messages
    return {
        "manifest": validated.validated_parameters,
        "environment_hash": environment_hash,
        "payload": payload and str(payload),
        "parts": {"code": "c" * 64, "requirements": "r", "config": "s"},
    }


def test_a_bad_manifest_is_refused_by_the_key_that_is_wrong() -> None:
    good = {"site": "shop", "root": "/srv/shop", "user": "shop", "wsgi": "wsgi:app"}
    for wrong, words in (
        ({"server": {"name": "waitress"}}, "value of name must be one of: gunicorn, uwsgi, got: waitress"),
        ({"server": {"workers": {"workers_max": "many"}}}, "workers_max"),
        ({"going_live": "sometimes"}, "going_live must be one of: overlap, replace"),
        ({"compress": ["zip"]}, "compress must be one or more of: gzip, brotli"),
        ({"servr": {}}, "servr"),
    ):
        errors = ArgumentSpecValidator(SPEC).validate({**good, **wrong}).error_messages
        assert any(words in error for error in errors), errors
    del good["wsgi"]
    assert ArgumentSpecValidator(SPEC).validate(good).error_messages == ["missing required arguments: wsgi"]


def test_the_manifest_is_described_as_it_is_taken() -> None:
    """ansible-doc shows each key with its type, choices and default."""

    def compared(spec: dict, options: dict, place: str) -> None:
        assert set(spec) == set(options), place
        for key, taken in spec.items():
            told = options[key]
            assert told["description"], f"{place}.{key}"
            for part in ("type", "choices", "default", "elements", "required"):
                assert taken.get(part) == told.get(part), f"{place}.{key}: {part}"
            compared(taken.get("options", {}), told.get("suboptions", {}), f"{place}.{key}")

    compared(SPEC, yaml.safe_load(module.DOCUMENTATION)["options"]["manifest"]["suboptions"], "manifest")


def test_check_mode_writes_nothing_on_a_bare_host(site: paths.Layout) -> None:
    result = ensure_release(params(site, None), check_mode=True)
    assert (result["needed"], result["build"], result["reason"]) == (True, True, "first release")
    assert not site.root.exists()
    assert not paths.RUN.exists()


def payload_of(
    source: Path, tmp_path: Path, values: dict, server_lock: bytes = b"", server: str = "gunicorn", more: str = ""
) -> Path:
    """A payload with an environment, as the action plugin makes it.

    :param more: another line of the server's config
    """
    files = {"gunicorn.conf.py": "workers = 1\n"} if server == "gunicorn" else dict(uwsgi_files(()))
    first = next(iter(files))
    settings = {"environment": values, "files": {**files, first: files[first] + more, "program-blue.conf": "b"}}
    settings["server_package"] = SERVER_PACKAGES[server]
    payload = tmp_path / "payload.tar.gz"
    with payload.open("wb") as target:
        pack(target, source_files.collect(source), settings, server_lock)
    return payload


@pytest.mark.parametrize("problem", ["uv is not there", "disk", "ENOSPC"])
def test_a_failed_build_leaves_nothing_behind(
    site: paths.Layout, source: Path, tmp_path: Path, monkeypatch, problem: str
) -> None:
    payload, tools = payload_of(source, tmp_path, NASTY), uv.Toolbox(uv=tmp_path / "no-uv")
    words = f"{tmp_path}/no-uv is not there"
    if problem == "disk":
        monkeypatch.setattr(shutil, "disk_usage", lambda _: shutil._ntuple_diskusage(10, 10, 1 << 20))
        words = "only 1 MB are free"
    if problem == "ENOSPC":
        monkeypatch.setattr(store, "unpack", lambda *_: (_ for _ in ()).throw(OSError(28, "No space left", "x")))
        words = "No space left"
    with pytest.raises((BuildError, OSError), match=words) as error:
        ensure_release(params(site, payload), check_mode=False, tools=tools)
    assert list(site.releases.iterdir()) == []
    if problem == "ENOSPC":
        assert "the disk is full" in explain(error.value)


@pytest.fixture(scope="session")
def uv_program() -> Path:
    """The uv of the environment that runs the tests."""
    found = shutil.which("uv", path=f"{Path(sys.executable).parent}:{os.environ.get('PATH', '')}")
    if found is None:
        pytest.skip("uv is not installed here")
    return Path(found)


@pytest.mark.skipif(os.geteuid() != 0, reason="only root can become a site's user")
def test_what_runs_as_the_site_has_nothing_of_roots(tmp_path: Path) -> None:
    code = "import os; print(os.getresuid(), os.getresgid(), os.getgroups(), dict(os.environ)); os.setuid(0)"
    done = run_as("nobody", ["/usr/bin/python3", "-I", "-c", code], cwd=Path("/"), environment={"A": "1"})
    assert done.returncode == 1
    assert "Operation not permitted" in done.stderr
    uids, rest = done.stdout.split(")", 1)
    assert "0," not in uids.replace("65534,", "")
    assert "'A': '1'" in rest
    status = run_as("nobody", ["/bin/cat", "/proc/self/status"], cwd=Path("/"), environment={})
    assert "NoNewPrivs:\t1" in status.stdout


@pytest.mark.skipif(os.geteuid() != 0, reason="only root can become a site's user")
def test_what_it_leaves_in_the_background_holds_nobody_up_and_ends() -> None:
    done = run_as("nobody", ["sh", "-c", "sleep 600 & echo $!"], cwd=Path("/"), environment={}, timeout=60)
    assert done.returncode == 0
    eventually(lambda: process.is_gone(int(done.stdout)))


@pytest.mark.parametrize("server", ["gunicorn", "uwsgi"])
def test_a_release_is_built_checked_and_then_found_to_be_right(
    site: paths.Layout, source: Path, tmp_path: Path, project: Path, uv_program: Path, server: str
) -> None:
    """The whole of it, with real packages; needs the package index once."""
    passable(tmp_path)
    server_lock = (project / f"roles/server/files/{server}.txt").read_bytes()
    (source / "requirements.txt").write_text("", encoding="utf-8")
    (source / "static/style.css").write_text("body {}\n" * 200, encoding="utf-8")
    tools = uv.Toolbox(uv=uv_program, cache=tmp_path / "cache", python=Path(os.path.realpath(sys.executable)))
    values = {"CANARY": "canary-value", "SECRET_KEY": "canary-key", "SITE_NAME": "mine"}
    asked = params(site, payload_of(source, tmp_path, values, server_lock, server), server=server)

    result = ensure_release(asked, check_mode=False, tools=tools, now=NOW)
    assert (result["changed"], result["release"], result["slot"]) == (True, "20261121T031500Z-cccccccc", "blue")
    assert "canary" not in json.dumps(result)
    release = site.release(result["release"])
    # In the second line where the path is too long for a first one, as a test's may be.
    first_lines = "".join((release / "venv/bin" / server).read_text().splitlines()[:2])
    assert f"{release}/venv/bin/python" in first_lines
    assert list((release / "app/shop").rglob("code.*.pyc")), "compiled before the first start"
    assert (release / "environment").stat().st_mode & 0o777 == 0o600
    assert (release / ".fingerprint").stat().st_mode & 0o777 == 0o600
    modes = {name: (release / name).stat().st_mode & 0o777 for name in (".", "release.json", "venv", "venv/bin")}
    assert modes == {".": 0o751, "release.json": 0o640, "venv": 0o750, "venv/bin": 0o750}
    assert store.correct_modes(site, pwd.getpwnam(getpass.getuser()).pw_gid) == []
    described = site.manifest(release.name)
    assert described["command"][0] == f"{release}/venv/bin/{server}"
    assert described["server"] == server
    assert "canary" not in json.dumps(described)
    assert (described["packed"], described["public"]) == ({"ways": ["gzip"]}, ["app/static"])
    packed = release / "app/static/style.css.gz"
    assert gzip.decompress(packed.read_bytes()) == packed.with_suffix("").read_bytes()
    assert packed.stat().st_mode & 0o777 == 0o644
    entry = {"root": str(site.root), "client_max_body_size": "1k", "env": values}
    rendered = evaluate("lookup('wsgi.sites.site_environment', 'shop', entry.env, file_of=entry)", {"entry": entry})
    written = (release / "environment").read_text()
    assert rendered.replace("(the release's ID)", release.name) == written, "playbooks/render.yml shows this very file"
    assert environment.parse_environment(written)["SITE_NAME"] == "mine", "the operator's value wins"

    again = ensure_release(asked, check_mode=False, tools=tools)
    assert (again["changed"], again["needed"], again["release"]) == (False, True, release.name), "not built twice"

    words = "an_option = that = breaks\n"
    broken = params(site, payload_of(source, tmp_path, values, server_lock, server, words), server=server)
    broken["parts"] = broken["parts"] | {"config": "other"}
    with pytest.raises(BuildError, match=r"has an error|check of uwsgi.ini(.|\n)*unknown config directive: an_opt"):
        ensure_release(broken, check_mode=False, tools=tools)

    (source / "wsgi.py").write_text("import os\nraise RuntimeError(os.environ['CANARY'])\n", encoding="utf-8")
    payload = payload_of(source, tmp_path, values, server_lock, server)
    broken = params(site, payload, server=server, environment_hash="other")
    with pytest.raises(BuildError) as error:
        ensure_release(broken, check_mode=False, tools=tools)
    assert "RuntimeError" in str(error.value)
    assert "wsgi.py" in str(error.value)
    assert "canary" not in str(error.value).lower()
    assert store.complete(site) == [release.name]
    assert len(list(site.releases.iterdir())) == 1


def test_bytecode_is_taken_over_for_the_files_that_are_the_same(
    site: paths.Layout, source: Path, tmp_path: Path
) -> None:
    live = lay_down(site, "A", PARTS)
    (live / "venv/lib/other.py").write_text("other = 1\n", encoding="utf-8")
    python = Path(os.path.realpath(sys.executable))
    bytecode.compile_bytecode(python, [live / "venv/lib"])
    (live / fingerprint.FILE).write_text(fingerprint.record(live, PARTS), encoding="utf-8")
    site.slot("blue").mkdir(parents=True)
    paths.replace_link(site.slot("blue") / "release", "../../releases/A")
    paths.replace_link(site.live, "slots/blue")
    payload = payload_of(source, tmp_path, {})

    def compiled(name: str) -> dict[str, Path]:
        """A release with one package that came from the cache again and one that is another now."""
        release = site.release(name)
        (release / "venv/lib").mkdir(parents=True)
        (release / "app").mkdir()
        (release / "venv/lib/flask.py").hardlink_to(live / "venv/lib/flask.py")
        (release / "venv/lib/other.py").write_text("other = 2\n", encoding="utf-8")
        made = Build(site, params(site, None)["manifest"], PARTS, payload, uv.Toolbox(python=python))
        made.compile(release, release / "app")
        return {path.name.split(".")[0]: path for path in (release / "venv/lib/__pycache__").iterdir()}

    before, after = live / "venv/lib/__pycache__", compiled("B")
    assert set(after) == {"flask", "other"}
    assert after["flask"].samefile(before / after["flask"].name)
    assert not after["other"].samefile(before / after["other"].name)
    assert not fingerprint.damage(live), "the live release is what it was"

    with (before / after["flask"].name).open("ab") as edited:  # its head still fits the source
        edited.write(b"edited on the host")
    mended = compiled("C")
    assert not mended["flask"].samefile(before / mended["flask"].name), "nothing is taken from a changed release"


def passable(tmp_path: Path) -> None:
    """Let another user pass through to a test's folder, as to a site's."""
    if os.geteuid() == 0:
        for folder in (tmp_path, *tmp_path.parents):
            if folder.stat().st_uid == os.geteuid() and folder != Path("/"):
                folder.chmod(folder.stat().st_mode | 0o011)


def test_a_wheelhouse_needs_no_network_on_the_host(
    site: paths.Layout, source: Path, tmp_path: Path, project: Path, uv_program: Path, monkeypatch
) -> None:
    passable(tmp_path)
    server_lock = (project / "roles/server/files/gunicorn.txt").read_bytes()
    (source / "requirements.txt").write_text("--index-url http://127.0.0.1:9/simple\n", encoding="utf-8")
    python = Path(os.path.realpath(sys.executable))
    # A cache that has nothing, and an index and a proxy that nobody answers at.
    tools = uv.Toolbox(uv_program, tmp_path / "cache", python, "http://127.0.0.1:9/simple", "http://127.0.0.1:9")
    asked = params(site, None, packages="wheelhouse")
    target = ensure_release(asked, check_mode=False, tools=tools)["target"]
    wheelhouse = wheels.collect([lockfile.parse(server_lock)], target, "", tmp_path / "controller")
    settings = {"environment": {}, "files": {"gunicorn.conf.py": "", "program-blue.conf": "b"}}
    payload = tmp_path / "wheels.tar.gz"

    def perform(brought: list[Path], lock: bytes = server_lock) -> dict:
        with payload.open("wb") as stream:
            pack(stream, source_files.collect(source), settings, lock, brought)
        return ensure_release(asked | {"payload": str(payload)}, check_mode=False, tools=tools)

    with pytest.raises(BuildError, match="is not among the payload's wheels"):
        perform([])
    assert not list(site.releases.iterdir())
    with pytest.raises(BuildError, match="not the one that was locked"):
        perform(wheelhouse, re.sub(rb"sha256:\w{4}", b"sha256:0000", server_lock))
    result = perform(wheelhouse)
    release = site.release(result["release"])
    assert (release / "venv/bin/gunicorn").is_file()
    assert not (release / ".wheels").exists(), "they are in the venv now"


class Index(http.server.BaseHTTPRequestHandler):
    """A package index with one wheel, of which only the first bytes come until ``whole``."""

    wheel: Path
    whole = False

    def do_GET(self) -> None:
        content = self.wheel.read_bytes()
        is_page = not self.path.endswith(".whl")
        if is_page:
            content = f'<a href="/{self.wheel.name}">{self.wheel.name}</a>'.encode()
        self.send_response(200)
        self.send_header("Content-Length", str(len(content)))
        self.send_header("Content-Type", "text/html" if is_page else "application/octet-stream")
        self.end_headers()
        self.wfile.write(content if is_page or self.whole else content[: len(content) // 2])

    def do_HEAD(self) -> None:
        self.send_error(405)

    def log_message(self, *_: object) -> None:
        """Quiet."""


def test_a_release_that_loses_its_network_half_way_is_no_candidate(
    site: paths.Layout, source: Path, tmp_path: Path, project: Path, uv_program: Path, monkeypatch
) -> None:
    passable(tmp_path)
    server_lock = (project / "roles/server/files/gunicorn.txt").read_bytes()
    python = Path(os.path.realpath(sys.executable))
    found = wheels.collect([lockfile.parse(server_lock)], host_python.target(python), "", tmp_path / "controller")
    (source / "requirements.txt").write_text("", encoding="utf-8")
    lay_down(site, "A", PARTS | {"code": "other"}, "blue")
    index = type("TheIndex", (Index,), {"wheel": found[0]})
    with http.server.ThreadingHTTPServer(("127.0.0.1", 0), index) as server:
        threading.Thread(target=server.serve_forever, daemon=True).start()
        address = f"http://127.0.0.1:{server.server_port}/simple"
        tools = uv.Toolbox(uv_program, tmp_path / "cache", python)
        payload = tmp_path / "index.tar.gz"
        settings = {
            "environment": {},
            "files": {"gunicorn.conf.py": "", "program-blue.conf": "b"},
            "package_index": address,
        }
        with payload.open("wb") as stream:
            pack(stream, source_files.collect(source), settings, server_lock)
        with pytest.raises(BuildError, match=r"uv says:(.|\n)*gunicorn"):
            ensure_release(params(site, payload), check_mode=False, tools=tools)
        assert store.complete(site) == ["A"]
        assert site.live_release() == "A"
        index.whole = True
        result = ensure_release(params(site, payload), check_mode=False, tools=tools)
        server.shutdown()
    assert store.complete(site) == sorted(["A", result["release"]])


def test_a_uv_lock_is_read_by_uv(tmp_path: Path, uv_program: Path) -> None:
    """Without a network: nothing is resolved."""
    (tmp_path / "pyproject.toml").write_text(
        '[project]\nname = "shop"\nversion = "1"\nrequires-python = ">=3.11"\ndependencies = ["itsdangerous"]\n',
        encoding="utf-8",
    )
    wheel = '{ url = "https://example.com/itsdangerous-2.2.0-py3-none-any.whl", hash = "sha256:' + "0" * 64 + '" }'
    (tmp_path / "uv.lock").write_text(
        'version = 1\nrevision = 3\nrequires-python = ">=3.11"\n\n[[package]]\nname = "itsdangerous"\n'
        'version = "2.2.0"\nsource = { registry = "https://example.com/simple" }\n'
        f"wheels = [\n    {wheel},\n]\n\n"
        '[[package]]\nname = "shop"\nversion = "1"\nsource = { virtual = "." }\n'
        'dependencies = [\n    { name = "itsdangerous" },\n]\n\n'
        '[package.metadata]\nrequires-dist = [{ name = "itsdangerous" }]\n',
        encoding="utf-8",
    )
    tools = replace(uv.Toolbox(), uv=uv_program, cache=tmp_path / "cache", python=Path(sys.executable))
    with uv.workplace(tools, tmp_path) as work:
        lock = venv.lock_of(tools, tmp_path, "uv.lock", work)
    assert lock.names == {"itsdangerous"}
    assert sorted(path.name for path in tmp_path.iterdir()) == ["cache", "pyproject.toml", "uv.lock"]
