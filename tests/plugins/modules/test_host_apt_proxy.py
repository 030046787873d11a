"""The operator's proxy: all downloads use it, and its password is never shown."""

from __future__ import annotations

import shutil
import subprocess
import tempfile
import urllib.parse
from collections.abc import Iterator
from pathlib import Path

import pytest
from ansible_run import run as play
from ansible_run import write_inventory
from forward_proxy import PASSWORD, USER, proxy, served
from module_run import run

MODULE = "plugins/modules/host_apt_proxy.py"
CANARY = "canary-71c0"
PROXY = f"http://fetcher:{CANARY}@127.0.0.1:3128"
ROLE = """
- hosts: all
  gather_facts: false
  roles: [wsgi.sites.preflight, wsgi.sites.host]
"""


@pytest.fixture
def folder() -> Iterator[Path]:
    """A folder that apt's own user can enter, unlike pytest's tmp_path."""
    made = Path(tempfile.mkdtemp(prefix="apt", dir="/tmp"))
    made.chmod(0o755)
    yield made
    shutil.rmtree(made)


@pytest.fixture
def module(plugin, folder, monkeypatch):
    loaded = plugin(MODULE)
    (folder / "apt.conf.d").mkdir()
    monkeypatch.setattr(loaded, "FILE", folder / "apt.conf.d/90sites-proxy")
    return loaded


def test_the_file_is_installed_once_for_root_only_and_removed_with_the_setting(module):
    assert run(module, http_proxy=PROXY)["changed"] and not run(module, http_proxy=PROXY)["changed"]
    assert module.FILE.stat().st_mode & 0o777 == 0o600 and CANARY in module.FILE.read_text()
    module.FILE.chmod(0o644)
    assert run(module, http_proxy=PROXY)["changed"] and module.FILE.stat().st_mode & 0o777 == 0o600
    assert run(module)["changed"] and not module.FILE.exists()
    assert not run(module)["changed"]


def test_check_mode_writes_and_shows_nothing(module):
    done = run(module, check_mode=True, http_proxy=PROXY)
    assert done["changed"] and not module.FILE.exists() and CANARY not in str(done) and "diff" not in done
    run(module, http_proxy=PROXY)
    assert run(module, check_mode=True)["changed"] and module.FILE.exists()


@pytest.mark.parametrize("url", [f'http://a:{CANARY}"; x@h:1', f"http://a:{CANARY}\n@h", f"{CANARY}:3128"])
def test_an_invalid_url_is_refused_without_quoting_it(module, url):
    done = run(module, http_proxy=url)
    assert done["failed"] and "host_http_proxy" in done["msg"] and CANARY not in str(done)
    assert not module.FILE.exists()


def apt_update(folder: Path, mirror: str) -> subprocess.CompletedProcess:
    """apt-get update from one mirror, in a folder of its own, with the settings of its apt.conf.d."""
    for name in ("lists/partial", "cache", "empty"):
        (folder / name).mkdir(parents=True, exist_ok=True)
    (folder / "sources.list").write_text(f"deb [trusted=yes] {mirror} ./\n")
    (folder / "apt.conf").write_text(
        f'Dir::Etc::parts "{folder}/apt.conf.d"; Dir::Etc::main "/dev/null"; Dir::State::lists "{folder}/lists";'
        f'Dir::Etc::sourcelist "{folder}/sources.list"; Dir::Etc::sourceparts "{folder}/empty"; '
        f'Dir::Cache "{folder}/cache"; Acquire::Languages "none"; APT::Update::Error-Mode "any";\n'
    )
    return subprocess.run(
        ["apt-get", "update"], env={"APT_CONFIG": f"{folder}/apt.conf"}, capture_output=True, text=True, check=False
    )


@pytest.mark.skipif(shutil.which("apt-get") is None, reason="needs apt")
def test_apt_uses_the_proxy_except_for_no_proxy_names(module, folder):
    (folder / "mirror").mkdir()
    (folder / "mirror/Packages").write_text("")
    with served(folder / "mirror") as mirror, proxy() as through:
        run(module, http_proxy=through.url)
        done = apt_update(folder, mirror)
        assert done.returncode == 0 and through.forwarded and not through.refused, done.stderr
        run(module, http_proxy=through.url.replace(USER, "stranger"))
        done = apt_update(folder, mirror)
        assert done.returncode != 0 and through.refused
        for secret in (PASSWORD, urllib.parse.quote(PASSWORD, safe="")):
            assert secret not in done.stdout + done.stderr
        seen = len(through.forwarded + through.refused)
        host = urllib.parse.urlsplit(mirror).hostname
        run(module, http_proxy=through.url, no_proxy=f"localhost, {host},.example.com,10.0.0.0/8,::1")
        assert apt_update(folder, mirror).returncode == 0
        run(module)
        assert apt_update(folder, mirror).returncode == 0
        assert len(through.forwarded + through.refused) == seen


def of_debian() -> bool:
    try:
        words = Path("/etc/os-release").read_text()
    except FileNotFoundError:
        return False
    return any(f"VERSION_CODENAME={name}" in words for name in ("bookworm", "trixie"))


@pytest.mark.skipif(not of_debian(), reason="the role is for Debian")
def test_the_role_never_shows_the_proxy_at_any_verbosity(tmp_path):
    inventory = write_inventory(tmp_path / "inventory", {"sites": {}, "host_http_proxy": PROXY})
    playbook = tmp_path / "host.yml"
    playbook.write_text(ROLE)
    output = play(playbook, "-i", inventory, "--check", "--diff", "-vvvv")
    assert CANARY not in output
    assert "Set the proxy of apt" in output and "Install uv" in output
