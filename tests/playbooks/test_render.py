"""playbooks/render.yml writes every file of the example's hosts; the programs that read them accept them."""

from __future__ import annotations

import shutil
import subprocess
import sys
from pathlib import Path

import pytest
import yaml
from ansible_run import PROJECT, run, write_inventory
from certificates import make, place
from gunicorn.app.wsgiapp import WSGIApplication
from nginx_rig import NGINX, needs_nginx

from ansible_collections.wsgi.sites.plugins.module_utils.system.kernel import nginx_version

HOSTS = ("web1", "web2", "staging1")
PARSE = "import sys; from supervisor.options import ServerOptions; ServerOptions().realize(['-c', sys.argv[1]])"


@pytest.fixture(scope="module")
def build(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """What `playbooks/render.yml` writes for a copy of the production example."""
    inventory = tmp_path_factory.mktemp("inventory") / "production"
    shutil.copytree(PROJECT / "inventory/production", inventory, ignore=shutil.ignore_patterns(".secrets*"))
    shutil.copy(inventory / "group_vars/all/vault.yml.example", inventory / "group_vars/all/vault.yml")
    text = (inventory / "group_vars/all/sites.yml").read_text()
    background = (
        "  handbook:\n    processes: {queue: {command: python work.py, count: 2}, tick: {command: x, hosts: [web2]}}\n"
        '    cron: {nightly: {command: flask purge, schedule: "@daily"}}\n'
    )
    assert "\n  handbook:\n" in text
    (inventory / "group_vars/all/sites.yml").write_text(text.replace("  handbook:\n", background))
    for host in HOSTS:
        shutil.rmtree(PROJECT / "build" / host, ignore_errors=True)
    run("playbooks/render.yml", "-i", inventory, "-e", f"nginx_version={nginx_version(NGINX)}")
    assert not (inventory / ".secrets.yml").exists(), "a check makes no secrets"
    return PROJECT / "build"


def test_every_host_gets_the_same_kinds_of_files_at_their_real_paths(build: Path) -> None:
    for host in HOSTS:
        files = {str(path.relative_to(build / host)) for path in (build / host).rglob("*") if not path.is_dir()}
        for file in (
            "etc/nginx/nginx.conf",
            "etc/nginx/sites-available/wordbook.conf",
            "etc/nginx/sites-enabled/wordbook.conf",
            "etc/supervisor/supervisord.conf",
            "etc/supervisor/conf.d/wordbook-blue.conf",
            "etc/systemd/system/nginx.service.d/sites.conf",
            "etc/systemd/system/supervisor.service.d/heal.conf",
            "etc/systemd/system/logrotate.timer.d/sites.conf",
            "etc/logrotate.d/wordbook",
            "etc/wordbook/environment",
            "srv/wordbook/live/release/gunicorn.conf.py",
            "srv/wordbook/live/release/environment",
        ):
            assert file in files, (host, sorted(files))


@pytest.mark.parametrize(("release", "has_directive"), [("bookworm", False), ("trixie", True)])
def test_the_files_are_for_the_nginx_of_a_debian_release(tmp_path: Path, release: str, has_directive: bool) -> None:
    site = {"server_names": ["shop.test"], "source": {"path": "app"}, "tls": {"mode": "selfsigned"}}
    inventory = write_inventory(
        tmp_path, {"sites": {"shop": site}, "host_release": release}, hosts={f"of-{release}": {}}
    )
    run("playbooks/render.yml", "-i", inventory)
    block = (PROJECT / f"build/of-{release}/etc/nginx/sites-available/shop.conf").read_text()
    assert ("http2 on;" in block) == has_directive, "Debian 12's nginx 1.22 has no such directive"


def test_processes_and_jobs_are_at_the_paths_of_the_live_release(build: Path) -> None:
    programs = build / "web1/etc/supervisor/conf.d"
    assert {path.name for path in programs.glob("handbook-*")} == {
        f"handbook-{name}.conf" for name in ("blue", "nightly", "queue")
    }
    assert (build / "web2/etc/supervisor/conf.d/handbook-tick.conf").exists()
    assert "job nightly" in (build / "web1/etc/cron.d/handbook").read_text()
    assert not (build / "web1/etc/cron.d/wordbook").exists()


def test_secrets_are_masked(build: Path) -> None:
    vault = yaml.safe_load((PROJECT / "inventory/production/group_vars/all/vault.yml.example").read_text())
    secrets = [value for site in vault["vault_sites"].values() for value in site.values()]
    assert secrets
    for path in build.glob("*/**/*"):
        if path.is_file() and path.parts[len(build.parts)] in HOSTS:
            text = path.read_text()
            assert not [secret for secret in secrets if str(secret) in text], path
    assert 'SECRET_KEY="********"' in (build / "web1/srv/wordbook/live/release/environment").read_text()


def test_supervisor_accepts_the_programs(build: Path, tmp_path: Path) -> None:
    for program in (build / "web1/etc/supervisor/conf.d").glob("*.conf"):
        config = tmp_path / "supervisord.conf"
        # The log folder exists on the host only, and the parser requires one.
        config.write_text("[supervisord]\n" + program.read_text().replace("/var/log/", f"{tmp_path}/"))
        (tmp_path / program.stem.rpartition("-")[0]).mkdir(exist_ok=True)
        done = subprocess.run([sys.executable, "-c", PARSE, config], capture_output=True, text=True)
        assert done.returncode == 0, done.stderr


def test_gunicorn_accepts_its_settings(build: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    for settings in (build / "web1").glob("srv/*/live/release/gunicorn.conf.py"):
        monkeypatch.setattr(sys, "argv", ["gunicorn", "--config", str(settings), "wsgi:app"])
        assert WSGIApplication().cfg.workers >= 1


@needs_nginx
def test_nginx_accepts_every_file_of_a_host(build: Path, tmp_path: Path) -> None:
    shutil.copytree(build / "web1/etc/nginx", tmp_path / "nginx", symlinks=True)
    shutil.copy(NGINX.parents[2] / "etc/nginx/mime.types", tmp_path / "nginx")
    for file in (path for path in (tmp_path / "nginx").rglob("*.conf") if not path.is_symlink()):
        text = file.read_text().replace("/etc/nginx/", f"{tmp_path}/nginx/").replace("/etc/handbook/tls", f"{tmp_path}")
        file.write_text(text.replace("/var/log/", f"{tmp_path}/log/").replace("/run/nginx.pid", f"{tmp_path}/pid"))
    for folder in ("log/nginx", "log/wordbook", "log/handbook"):
        (tmp_path / folder).mkdir(parents=True)
    place(tmp_path, make("handbook.example.com"))
    done = subprocess.run([NGINX, "-t", "-c", tmp_path / "nginx/nginx.conf"], capture_output=True, text=True)
    assert done.returncode == 0, done.stderr
