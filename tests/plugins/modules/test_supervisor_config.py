"""supervisord's configuration as one step: refusals, restarts and pending restarts."""

from __future__ import annotations

import hashlib
import json
import os
import shutil
import socket
import subprocess
import sys
import tempfile
import xmlrpc.client
from collections.abc import Iterator
from pathlib import Path

import pytest
import yaml
from nginx_rig import evaluate, trusted
from project import PROJECT
from supervised import DISTRIBUTION, SUPERVISORD, end, eventually

from ansible_collections.wsgi.sites.plugins.module_utils.daemons import units
from ansible_collections.wsgi.sites.plugins.module_utils.system import runtime

pytestmark = pytest.mark.skipif(
    SUPERVISORD is None or os.geteuid() != 0, reason="needs the distribution's supervisor, and root for its socket"
)
MADE = "; Made from roles/supervisor/templates/x.j2; edits here are lost.\n"


@pytest.fixture(autouse=True)
def parser(plugin, monkeypatch: pytest.MonkeyPatch) -> None:
    """Where the distribution's supervisor is not installed, the tests' own lock has one."""
    if not DISTRIBUTION:
        monkeypatch.setattr(plugin("plugins/modules/supervisor_config.py"), "PYTHON", sys.executable)


class Host:
    """A folder with a supervisord that the module configures."""

    def __init__(self, folder: Path, module) -> None:
        self.folder, self.module = folder, module
        self.process: subprocess.Popen | None = None
        self.places = module.Places(
            config=folder / "etc/supervisord.conf",
            binary=Path(SUPERVISORD),
            socket=folder / "sock",
            state_dir=folder / "run",
            dpkg_status=folder / "status",
        )

    def text(self, extra: str = "") -> str:
        return (
            f"{MADE}[unix_http_server]\nfile = {self.folder}/sock\n"
            f"[supervisord]\nlogfile = {self.folder}/log\npidfile = {self.folder}/pid\nnodaemon = true\n"
            f"identifier = {extra.partition(chr(10))[0] or 'plain'}\n"
            "[rpcinterface:supervisor]\n"
            "supervisor.rpcinterface_factory = supervisor.rpcinterface:make_main_rpcinterface\n"
            f"[include]\nfiles = {self.folder}/etc/conf.d/*.conf\n{extra.partition(chr(10))[2]}"
        )

    def ensure(self, extra: str = "", check_mode: bool = False, restart: bool = False, **files: str):
        wanted = {str(self.places.config): self.text(extra), **files}
        return self.module.ensure({"files": wanted, "restart": restart}, self.places, check_mode)

    def program(self, name: str = "shop", text: str = "command = /bin/sleep 600\n") -> None:
        self.places.config.parent.joinpath("conf.d").mkdir(exist_ok=True)
        self.places.config.parent.joinpath(f"conf.d/{name}.conf").write_text(f"[program:{name}]\n{text}")

    def boot(self) -> None:
        with (self.folder / "out").open("ab") as out:
            self.process = subprocess.Popen(
                [SUPERVISORD, "-c", self.places.config], cwd="/", stdout=out, stderr=out, start_new_session=True
            )
        eventually(self.places.daemon.running)

    def identifier(self) -> str:
        """The configuration that supervisord uses."""
        return self.places.daemon.call("getIdentification")

    def pid(self, program: str = "shop") -> int:
        return self.places.daemon.call("getProcessInfo", program)["pid"]

    def snapshot(self) -> dict[str, bytes]:
        return {str(path): path.read_bytes() for path in self.places.config.parent.rglob("*") if path.is_file()}


@pytest.fixture
def host(plugin) -> Iterator[Host]:
    folder = Path(tempfile.mkdtemp(prefix="supervisor", dir="/tmp"))  # a unix socket's path is limited to 107 bytes
    (folder / "etc").mkdir()
    made = Host(folder, plugin("plugins/modules/supervisor_config.py"))
    yield made
    if made.process is not None:
        end(made.process)
    shutil.rmtree(folder)


def test_the_file_is_installed_once(host: Host):
    done = host.ensure()
    assert done["changed"] and done["tested"] and not done["running"] and done["paths"] == [str(host.places.config)]
    assert host.places.config.read_text() == host.text() and oct(host.places.config.stat().st_mode)[-3:] == "644"
    assert not host.ensure()["changed"]
    host.boot()
    again = host.ensure()
    assert not again["changed"] and not again["pending"] and again["running"]
    with pytest.raises(xmlrpc.client.Fault) as fault:
        host.places.daemon.call("startProcess", "\x9b2J\u202e")
    assert fault.value.faultString == "BAD_NAME: \\x9b2J\\u202e", "its output has no control characters"


def test_supervisord_restarts_at_once_while_it_has_no_program(host: Host):
    host.ensure()
    host.boot()
    done = host.ensure("other")
    assert done["changed"] and done["restarted"] and not done["pending"]
    assert host.identifier() == "other" and host.process.poll() is None
    assert not host.ensure("other")["changed"]


def test_a_program_is_not_stopped_and_each_run_reports_the_pending_restart(host: Host):
    host.program()
    host.ensure()
    host.boot()
    before = host.pid()
    done = host.ensure("other")
    assert done["changed"] and done["pending"] and not done["restarted"]
    again = host.ensure("other")
    assert not again["changed"] and again["pending"]
    assert host.identifier() == "plain" and host.pid() == before


def test_a_program_is_stopped_on_request_of_the_operator(host: Host):
    host.program()
    host.ensure()
    host.boot()
    host.ensure("other")
    done = host.ensure("other", restart=True)
    assert done["changed"] and done["restarted"] and not done["pending"]
    assert host.identifier() == "other"
    eventually(host.pid)
    assert not host.ensure("other", restart=True)["changed"], "no restart is needed any more"


def test_a_restart_waits_for_a_slow_program(host: Host):
    host.program(text="command = /bin/sh -c 'trap \"sleep 1; exit\" TERM; while :; do sleep 0.1; done'\n")
    host.ensure()
    host.boot()
    assert host.ensure("other", restart=True)["restarted"] and host.identifier() == "other"


def test_a_reverted_change_is_no_longer_pending(host: Host):
    host.program()
    host.ensure()
    host.boot()
    host.ensure()
    assert host.ensure("other")["pending"]
    assert not host.ensure()["pending"]


def test_the_next_run_completes_one_killed_before_the_restart(host: Host):
    host.ensure()
    host.boot()
    host.ensure()
    for change in host.module.plan({str(host.places.config): host.text("other")}, host.places):
        change.apply()
    done = host.ensure("other")
    assert done["changed"] and done["restarted"] and not done["paths"] and host.identifier() == "other"


def test_a_stamp_of_an_earlier_process_is_ignored(host: Host):
    host.ensure()
    host.boot()
    note = {"pid": host.process.pid, "start": 1, "loaded": host.module.digest(host.text("other").encode())}
    host.places.stamp.path.write_text(json.dumps(note))
    done = host.ensure("other")
    assert done["restarted"] and host.identifier() == "other"


@pytest.mark.parametrize(
    ("extra", "words"),
    [
        ("x\n[supervisord]\nuser = nobody_of_this_name\n", "Invalid user name nobody_of_this_name"),
        ("x\n[supervisord]\nlogfile_maxbytes = many\n", "'many'"),
        ("x\n[supervisord]\nenvironment = A='%(ENV_NOT_THERE)s'\n", "ENV_NOT_THERE"),
        ("x\nno section\n", "no section"),
        ("x\n[supervisord]\nuser = no\x9b2J\u202ebody\n", "Invalid user name no\\x9b2J\\u202ebody"),
    ],
)
@pytest.mark.parametrize("check_mode", [False, True])
def test_a_broken_override_changes_nothing_and_quotes_supervisors_error(host: Host, extra, words, check_mode):
    host.ensure()
    host.boot()
    before = host.snapshot()
    with pytest.raises(host.module.Refused) as refused:
        host.ensure(extra, check_mode=check_mode)
    message = str(refused.value)
    assert words in message and "Correct roles/supervisor/templates/x.j2. " in message and "For help" not in message
    assert host.snapshot() == before and host.identifier() == "plain"
    assert not host.ensure()["changed"]


def test_a_broken_program_of_another_site_does_not_block_supervisords_settings(host: Host):
    host.program(text="numprocs = many\n")
    assert host.ensure()["changed"]


def test_the_settings_can_use_supervisords_own_environment(host: Host, monkeypatch):
    host.ensure()
    monkeypatch.setenv("OF_THE_UNIT", "wide")
    host.boot()
    monkeypatch.delenv("OF_THE_UNIT")
    assert host.ensure("x\n[supervisord]\nenvironment = A='%(ENV_OF_THE_UNIT)s'\n")["restarted"]


def test_a_configuration_that_supervisord_fails_with_is_reverted(host: Host):
    host.ensure()
    host.boot()
    with socket.create_server(("127.0.0.1", 0)) as taken:
        port = taken.getsockname()[1]
        with pytest.raises(host.module.Refused, match="the old files are restored"):
            host.ensure(f"x\n[inet_http_server]\nport = 127.0.0.1:{port}\n")
    assert host.places.config.read_text() == host.text()
    host.process.wait()
    host.boot()
    assert host.identifier() == "plain" and not host.ensure()["changed"]


@pytest.mark.parametrize("check_mode", [False, True])
def test_a_file_of_another_owner_is_named_and_left_alone(host: Host, check_mode):
    host.places.config.write_text("[supervisord]\n; mine\n")
    with pytest.raises(host.module.Refused, match=f"{host.places.config}.*mv {host.places.config} /root/"):
        host.ensure(check_mode=check_mode)
    assert host.places.config.read_text() == "[supervisord]\n; mine\n"


def test_the_distributions_own_file_is_replaced_unless_edited(host: Host):
    host.places.config.write_text("[supervisord]\n")
    digest = hashlib.md5(b"[supervisord]\n", usedforsecurity=False).hexdigest()
    host.places.dpkg_status.write_text(f"Package: supervisor\nConffiles:\n {host.places.config} {digest}\n")
    assert host.ensure()["changed"]
    assert host.places.config.read_text().startswith(MADE)


def test_check_mode_reports_and_changes_nothing(host: Host):
    host.ensure()
    host.boot()
    shutil.rmtree(host.places.state_dir)
    before = host.snapshot()
    done = host.ensure("other", check_mode=True)
    assert done["changed"] and done["tested"] and done["restarted"] and not done["pending"]
    assert done["diff"][0]["before"] == host.text() and done["diff"][0]["after"] == host.text("other")
    assert host.snapshot() == before and host.identifier() == "plain" and not host.places.state_dir.exists()
    assert not host.ensure(check_mode=True)["changed"]


def test_check_mode_reports_a_restart_that_would_be_pending(host: Host):
    host.program()
    host.ensure()
    host.boot()
    done = host.ensure("other", check_mode=True)
    assert done["changed"] and done["pending"] and not done["restarted"]
    assert host.ensure("other", check_mode=True, restart=True)["restarted"]


def test_check_mode_works_on_a_bare_host(host: Host, plugin):
    module = plugin("plugins/modules/supervisor_config.py")
    folder = host.folder / "none"
    bare = module.Places(config=folder / "x.conf", binary=folder / "no", socket=folder / "s", state_dir=folder / "run")
    params = {"files": {f"{folder}/x.conf": host.text("x\nbroken")}, "restart": False}
    done = module.ensure(params, bare, True)
    assert done["changed"] and not done["tested"] and not done["installed"] and done["diff"][0]["before"] == ""
    assert not folder.exists()
    with pytest.raises(module.Refused, match="Install the package supervisor"):
        module.ensure(params, bare, False)


def test_a_drop_in_is_installed_and_systemd_reloaded_until_it_has_read_it(host: Host, monkeypatch):
    read: list[bool] = []
    monkeypatch.setattr(units, "unread", lambda paths: bool(list(paths)) and not read)
    monkeypatch.setattr(units, "reread", lambda: read.append(True))
    path = host.folder / "etc/systemd/system/supervisor.service.d/heal.conf"
    drop_in = {str(path): "# Made from x; edits here are lost.\n[Unit]\n"}
    assert host.ensure(check_mode=True, **drop_in)["changed"] and not read
    assert host.ensure(**drop_in)["changed"] and read == [True] and path.exists()
    assert not host.ensure(**drop_in)["changed"]
    read.clear()  # a run that was killed before the reload of systemd
    assert host.ensure(check_mode=True, **drop_in)["changed"] and not read
    assert host.ensure(**drop_in)["changed"] and read == [True]


@pytest.mark.parametrize("there", [0o700, None])
def test_the_folder_of_notes_is_readable_by_every_user(tmp_path: Path, there):
    folder = tmp_path / "run"
    if there:
        folder.mkdir(mode=there)
    before = os.umask(0o077)
    runtime.make_folder(folder)
    os.umask(before)
    assert folder.stat().st_mode & 0o777 == 0o755


@pytest.mark.parametrize("role", ["supervisor", "nginx"])
@pytest.mark.parametrize(
    ("facts", "expected"), [({}, True), ({"service_mgr": "systemd"}, True), ({"service_mgr": "sysvinit"}, False)]
)
def test_a_drop_in_is_installed_with_systemd_or_without_facts_of_the_host(role, facts, expected):
    read = {"hosts": {"web1": {"names": [], "sites": {}}}, "chosen": ""}
    variables = {"inventory_hostname": "web1", "preflight_config": read}
    for kind in ("defaults", "vars"):
        variables |= trusted(yaml.safe_load((PROJECT / f"roles/{role}/{kind}/main.yml").read_text()))
    files = evaluate(f"__{role}_files", {**variables, "ansible_facts": facts})
    assert any(path.startswith("/etc/systemd/") for path in files) is expected
    assert any(path.startswith(f"/etc/{role}/") for path in files)
    if role == "supervisor":
        assert ("/etc/cron.d/sites" in files) is not expected
