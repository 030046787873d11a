"""SITE-ctl: one file that runs on the host what the playbooks do, without showing passwords."""

from __future__ import annotations

import json
import os
import subprocess
import zipfile
from pathlib import Path

import pytest
from supervised import Host, get

from ansible_collections.wsgi.sites.plugins.module_utils.releases import deployment
from ansible_collections.wsgi.sites.plugins.module_utils.runtime import history
from ansible_collections.wsgi.sites.plugins.module_utils.runtime.lock import site_lock
from ansible_collections.wsgi.sites.plugins.module_utils.runtime.run_identity import Run
from ansible_collections.wsgi.sites.plugins.module_utils.site import (
    cli,
    cli_database,
    maintenance,
    paths,
    provision,
)
from ansible_collections.wsgi.sites.plugins.module_utils.site.cli_process import CommandError
from ansible_collections.wsgi.sites.plugins.module_utils.system.program import ENGINE, needed, packed

PASSWORD = "p@ss w%rd"


@pytest.fixture
def recorded(host: Host) -> Host:
    """A host with a recorded site."""
    host.site.record.write_text(json.dumps({"name": "shop", "root": str(host.site.root), "user": "nobody"}))
    return host


def test_the_command_is_one_file_without_dependencies(tmp_path: Path) -> None:
    program = tmp_path / "shop-ctl"
    program.write_bytes(packed("site.cli"))
    assert program.read_bytes() == packed("site.cli"), "the same bytes each time, or every run would change them"
    assert {info.date_time[0] for info in zipfile.ZipFile(program).infolist()} == {1980}
    done = subprocess.run(["/usr/bin/python3", "-I", program], capture_output=True, text=True, check=False, cwd="/")
    assert done.returncode == 0, done.stderr
    assert done.stdout.startswith("usage: shop-ctl COMMAND")
    wrong = subprocess.run(["/usr/bin/python3", "-I", program, "deploy"], capture_output=True, text=True, check=False)
    assert (wrong.returncode, wrong.stdout) == (2, "")


def test_the_file_contains_imported_modules_only() -> None:
    names = needed(f"{ENGINE}.site.cli")
    assert "ansible_collections.wsgi.sites.plugins.module_utils.releases.deployment" in names
    assert "ansible_collections.wsgi.sites.plugins.module_utils.site.provision" not in names


def test_an_unknown_site_is_named(host: Host, capsys: pytest.CaptureFixture) -> None:
    assert cli.main(["/usr/local/bin/nix-ctl", "status"]) == 1
    assert capsys.readouterr().err == "nix-ctl: there is no site nix on this host\n"


def test_the_command_requires_root(monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture) -> None:
    monkeypatch.setattr(os, "geteuid", lambda: 1000)
    assert cli.main(["shop-ctl", "shell"]) == 1
    assert "needs root, to become the site's user: sudo shop-ctl shell" in capsys.readouterr().err


def test_the_status_shows_the_live_release_and_the_history(recorded: Host, capsys: pytest.CaptureFixture) -> None:
    recorded.deploy("r1", source="git https://example.com/shop.git v1.4 (3f2a9c1)")
    history.append(recorded.site, "deploy", "ok", by="alice@laptop", release="r1")
    assert cli.main(["shop-ctl", "status"]) == 0
    said = capsys.readouterr().out
    assert "release     r1\nmade from   git https://example.com/shop.git v1.4 (3f2a9c1)\n" in said
    assert "healthy     yes: /healthz answered 200" in said
    assert "deploy ok  r1  alice@laptop" in said
    recorded.stop()
    assert cli.main(["shop-ctl", "status"]) == 1


def test_the_status_shows_processes_and_results_of_jobs(
    recorded: Host, capsys: pytest.CaptureFixture, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(deployment.processes, "check", lambda *_: None)
    it = {"kind": "job", "command": ["/bin/false"], "count": 1, "stop_signal": "TERM", "patience": 5}
    recorded.release("r1", processes={"nightly": it})
    (recorded.site.release("r1") / "program-nightly.conf").write_text(
        f"; Made from a template; edits here are lost.\n[program:shop-nightly]\nautostart = false\nstartsecs = 0\n"
        f"autorestart = false\ncommand = {recorded.launcher} {recorded.site.root} process nightly 1\n"
        f"stdout_logfile = {recorded.folder}/log/shop/nightly.log\nstdout_logfile_maxbytes = 0\n"
    )
    deployment.switch(recorded.site, deployment.start(recorded.site, "r1")["slot"], "r1", drain=0)
    assert cli.main(["shop-ctl", "job", "nightly"]) == 1
    assert "shop-ctl: shop: job nightly: it failed with exit code 1" in capsys.readouterr().err
    assert cli.main(["shop-ctl", "job"]) == 1
    assert "job takes the name of one job" in capsys.readouterr().err
    assert cli.main(["shop-ctl", "status"]) == 0, "the site is well"
    assert "problem     the last run of the job nightly failed with exit code 1" in capsys.readouterr().out


def test_a_restart_uses_the_other_slot_and_keeps_the_rollback(recorded: Host) -> None:
    for release_id in ("r1", "r2"):
        slot = recorded.deploy(release_id)
    before = get(recorded.sock)["pid"]
    assert cli.main(["shop-ctl", "restart"]) == 0
    assert get(recorded.sock)["pid"] != before
    assert get(recorded.sock)["release"] == "r2"
    assert recorded.site.live_slot() != slot
    assert recorded.site.previous.read_text() == "r1\n"
    assert [(line["action"], line["result"]) for line in history.read(recorded.site)] == [("restart", "ok")]
    with site_lock(recorded.site):
        pass


def test_a_restart_waits_for_the_lock(recorded: Host, capsys: pytest.CaptureFixture) -> None:
    recorded.deploy("r1")
    with site_lock(recorded.site, me=Run("a1", "deploy", "alice", "laptop", 0)):
        pass
    assert cli.main(["shop-ctl", "restart"]) == 1
    said = capsys.readouterr().err
    assert "alice@laptop has been deploying it" in said
    assert "if you know that it is dead, run a playbook with -e lock=take" in said


@pytest.mark.parametrize("error", [KeyboardInterrupt, deployment.StepError])
def test_a_restart_interrupted_before_the_switch_leaves_no_started_slot(
    recorded: Host, monkeypatch: pytest.MonkeyPatch, error: type[BaseException]
) -> None:
    recorded.deploy("r1")
    pid = get(recorded.sock)["pid"]

    def stopped(*_: object) -> None:
        raise error

    monkeypatch.setattr(deployment, "switch", stopped)
    assert cli.main(["shop-ctl", "restart"]) == (130 if error is KeyboardInterrupt else 1)
    assert get(recorded.sock)["pid"] == pid
    assert deployment.abort(recorded.site, check_mode=True)["removed"] == {}
    with site_lock(recorded.site):
        pass


def test_a_killed_restart_is_taken_over_by_the_next(recorded: Host, capsys: pytest.CaptureFixture) -> None:
    recorded.deploy("r1")
    assert cli.main(["shop-ctl", "restart"]) == 0
    pid = os.fork()
    if pid == 0:
        cli._restart = lambda *_: os.kill(os.getpid(), 9)
        cli.main(["shop-ctl", "restart"])
        os._exit(1)
    os.waitpid(pid, 0)
    assert cli.main(["shop-ctl", "restart"]) == 0
    assert "took over" in capsys.readouterr().err


def test_an_unhealthy_restart_leaves_the_live_slot_running(recorded: Host) -> None:
    recorded.deploy("r1")
    pid = get(recorded.sock)["pid"]
    (recorded.site.release("r1") / "app/wsgi.py").write_text("import no_such_thing")
    assert cli.main(["shop-ctl", "restart"]) == 1
    assert get(recorded.sock)["pid"] == pid
    assert history.read(recorded.site)[-1]["result"] == "failed"


class Become(Exception):
    """Raised instead of an exec."""


@pytest.fixture
def becomes(monkeypatch: pytest.MonkeyPatch) -> None:
    def become(_program: str, words: list[str], environment: dict) -> None:
        raise Become(words, environment)

    monkeypatch.setattr(os, "execvpe", become)


@pytest.mark.parametrize(
    ("arguments", "ending"),
    [
        (["run", "env", "-0"], ["--", "env", "-0"]),
        (["flask", "routes"], ["--", "flask", "--app", "shop:make()", "routes"]),
        (["flask", "--app", "x", "routes"], ["--", "flask", "--app", "x", "routes"]),
        (["db"], [cli_database.AS_SITE]),
    ],
)
def test_commands_go_through_the_launcher(recorded: Host, becomes: None, arguments: list, ending: list) -> None:
    recorded.deploy("r1", wsgi="shop:make()")
    with pytest.raises(Become) as caught:
        cli.main(["shop-ctl", *arguments])
    words = caught.value.args[0]
    assert words[:3] == [str(paths.LIBRARY / "launcher"), str(recorded.site.root), "run"]
    assert words[-len(ending) :] == ending


@pytest.mark.parametrize("arguments", [[], ["-f"]])
def test_logs_ignores_path_and_shows_plain_text(recorded: Host, tmp_path: Path, arguments: list) -> None:
    recorded.site.log.write_bytes(b"a line\n\x1b]2;title\x07 \xc2\x9b5n \xe2\x80\xae fine \xc3\xa4\n")
    program = (
        "import sys; from pathlib import Path\n"
        "from ansible_collections.wsgi.sites.plugins.module_utils.site import cli, paths\n"
        "paths.LOGS, paths.REGISTRY = Path(sys.argv[1]) / 'log', Path(sys.argv[1]) / 'registry'\n"
        "sys.exit(cli.main(['shop-ctl', 'logs', *sys.argv[2:]]))"
    )
    (tmp_path / "shop-ctl").write_bytes(packed("site.cli"))
    command = ["/usr/bin/python3", "-c", program, str(recorded.folder), *arguments]
    environment = {"PYTHONPATH": str(tmp_path / "shop-ctl")}
    with subprocess.Popen(command, env=environment, stdout=subprocess.PIPE, text=True) as shown:
        line = ""
        while "fine" not in line:
            line = shown.stdout.readline()
            assert line, "it ended"
        assert line == "\\x1b]2;title\\x07 \\x9b5n \\u202e fine ä\n"
        shown.terminate()


@pytest.mark.parametrize(
    ("url", "words", "environment"),
    [
        ("sqlite:////srv/shop/shared/data/x.db", ["sqlite3", "/srv/shop/shared/data/x.db"], {}),
        (
            "postgresql+psycopg://u:p%40ss%20w%25rd@db.example:5433/shop?sslmode=require",
            ["psql"],
            {
                "PGHOST": "db.example", "PGPORT": "5433", "PGUSER": "u", "PGDATABASE": "shop", "PGPASSWORD": PASSWORD,
                "PGSSLMODE": "require",
            },
        ),
        ("postgresql:///shop?host=/run/postgresql", ["psql"], {"PGHOST": "/run/postgresql", "PGDATABASE": "shop"}),
        (
            "mysql+pymysql://u:p%40ss%20w%25rd@db/shop?unix_socket=/run/x",
            ["mariadb", "--host=db", "--user=u", "--socket=/run/x", "shop"],
            {"MYSQL_PWD": PASSWORD},
        ),
    ],
)  # fmt: skip
def test_the_database_password_is_in_no_argument(url: str, words: list, environment: dict) -> None:
    assert cli_database.database_command(url) == (words, environment)
    assert PASSWORD not in " ".join(words)


@pytest.mark.parametrize("url", ["", "sqlite://", "oracle://u:secret@h/x", "http://[::1"])
def test_a_database_without_a_shell_is_refused_without_showing_the_url(url: str) -> None:
    with pytest.raises(CommandError) as caught:
        cli_database.database_command(url)
    assert "secret" not in str(caught.value)


def test_the_database_shell_runs_as_the_site(becomes: None, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(cli_database.shutil, "which", lambda program, path: f"/usr/bin/{program}")
    with pytest.raises(Become) as caught:
        cli_database.database_shell({"DATABASE_URL": "postgresql://u:secret@h/d", "PATH": "/bin"})
    assert caught.value.args[0] == ["psql"]
    assert caught.value.args[1]["PGPASSWORD"] == "secret"
    monkeypatch.setattr(cli_database.shutil, "which", lambda program, path: None)
    with pytest.raises(CommandError, match="psql is not installed on this host: apt install postgresql-client"):
        cli_database.database_shell({"DATABASE_URL": "postgresql://u:secret@h/d"})


def test_the_setup_installs_the_command_once(host: Host) -> None:
    site = host.site
    bringing = provision.SiteSetup(site, "nobody", lambda words: (0, "", ""))
    bringing._command()
    assert os.readlink(paths.COMMANDS / "shop-ctl") == str(paths.LIBRARY / "console")
    assert os.access(paths.LIBRARY / "console", os.X_OK)
    again = provision.SiteSetup(site, "nobody", lambda words: (0, "", ""))
    again._command()
    assert again.changes == []
    (paths.COMMANDS / "shop-ctl").unlink()
    (paths.COMMANDS / "shop-ctl").write_text("somebody else's")
    with pytest.raises(deployment.StepError, match="was not made by this collection"):
        provision.SiteSetup(site, "nobody", lambda words: (0, "", ""))._command()


def test_a_proxy_only_site_shows_its_remote_servers(
    host: Host, capsys: pytest.CaptureFixture, monkeypatch: pytest.MonkeyPatch
) -> None:
    health = {"path": "/healthz", "status": 200, "body": "", "host": "shop.example.com"}
    where = {"servers": ["127.0.0.1:1"], "name": "x", "ca": "", "health": health}
    host.site.record.write_text(json.dumps({"name": "shop", "front": where}))
    assert cli.main(["shop-ctl", "restart"]) == 1
    assert "run restart on its servers' hosts: 127.0.0.1:1" in capsys.readouterr().err
    assert cli.main(["shop-ctl", "status"]) == 1
    assert "NO: 127.0.0.1:1: no answer: ConnectionRefusedError" in capsys.readouterr().out
    block = host.folder / "nginx/sites-available/shop.conf"
    block.parent.mkdir(parents=True)
    block.write_text(f"set $sites_maintenance $sites_maintenance__shop; {maintenance.CHECK}")
    monkeypatch.setattr(maintenance, "NGINX", host.folder / "nginx")
    assert cli.main(["shop-ctl", "maintenance", "on", "the", "cable"]) == 0
    assert cli.main(["shop-ctl", "status"]) == 1
    assert ": the cable" in capsys.readouterr().out
    assert cli.main(["shop-ctl", "maintenance", "off"]) == 0
    assert not host.site.maintenance.exists()
