"""Secrets: made once, stored beside the inventory, private and never shown."""

from __future__ import annotations

import os
import re
import shutil
import stat
import subprocess
import sys
from collections.abc import Iterator
from contextlib import contextmanager
from multiprocessing import get_context
from pathlib import Path
from types import ModuleType, SimpleNamespace

import pytest
import yaml
from ansible.parsing.dataloader import DataLoader
from ansible_run import preflight, run, write_inventory

GOOD = {"server_names": ["good.example.com"], "source": {"path": "app"}}
OWN = "operators-own-canary"
PAGE = {
    "site_defaults": {"env": {"SHARED": "shared-canary"}},
    "sites": {
        "shop": GOOD,
        "own": GOOD | {"server_names": ["own.example.com"], "env": {"SECRET_KEY": OWN}},
        "gone": {"state": "absent"},
    },
}
PRINT = """
- hosts: all
  gather_facts: false
  roles: [wsgi.sites.preflight]
  tasks:
    - name: Write what lookups give
      ansible.builtin.copy:
        content: >-
          {{ {'shop': lookup('wsgi.sites.site_environment', 'shop', env),
              'own': lookup('wsgi.sites.site_environment', 'own', mine),
              'masked': lookup('wsgi.sites.site_environment', 'own', mine, mask=true)} | to_json }}
        dest: "{{ target }}"
        mode: "0600"
      no_log: true
      diff: false
      vars:
        env: {DEBUG: true, WORKERS: 4, NAME: "a b", EMPTY: "", RAW: !unsafe "{{ not a template }}"}
        mine: {SECRET_KEY: operators-own-canary}
"""


@pytest.fixture
def inventory(tmp_path):
    return write_inventory(tmp_path / "inventory", PAGE, {"one": {}, "two": {}})


def kept(inventory):
    return yaml.safe_load((inventory / ".secrets.yml").read_text())


def keep(inventory, mode=0o600):
    """Write the file of an earlier run."""
    made = {"shop": {"SECRET_KEY": "made-earlier-" * 6}}
    (inventory / ".secrets.yml").write_text(yaml.safe_dump(made))
    (inventory / ".secrets.yml").chmod(mode)
    return made


def looked_up(inventory, *arguments):
    """The result of the lookup, read from a private file."""
    playbook, target = inventory.parent / "print.yml", inventory.parent / "target.json"
    playbook.write_text(PRINT)
    output = run(playbook, "-i", inventory, "-l", "one", "-e", f"target={target}", *arguments)
    return yaml.safe_load(target.read_text()), output


def test_a_secret_is_made_once_for_all_hosts_and_no_output_shows_it(inventory):
    output = preflight(inventory, "-vvvv", "--diff")
    made = kept(inventory)
    assert set(made) == {"shop"}
    assert len(made["shop"]["SECRET_KEY"]) >= 64
    assert made["shop"]["SECRET_KEY"] not in output
    assert OWN not in output
    assert "shared-canary" not in output
    assert "Made a SECRET_KEY for shop" in output
    assert (inventory / ".secrets.yml").stat().st_mode & 0o777 == 0o600
    again = preflight(inventory, "-vvvv", "--diff")
    assert kept(inventory) == made
    assert "changed=0" in again
    assert made["shop"]["SECRET_KEY"] not in again


def test_nothing_is_written_in_check_mode(inventory):
    output = preflight(inventory, "--check", "-v")
    assert not (inventory / ".secrets.yml").exists()
    assert "Would make a SECRET_KEY for shop" in output
    assert [path.name for path in inventory.iterdir() if path.name.startswith(".")] == []


def test_removing_a_site_leaves_its_secret(inventory):
    made = keep(inventory)
    write_inventory(inventory, {"sites": {"other": GOOD}})
    preflight(inventory)
    assert kept(inventory)["shop"] == made["shop"]
    assert set(kept(inventory)) == {"shop", "other"}


def test_a_file_readable_by_others_becomes_private(inventory):
    made = keep(inventory, mode=0o644)
    preflight(inventory)
    assert kept(inventory) == made
    assert (inventory / ".secrets.yml").stat().st_mode & 0o777 == 0o600


def test_the_lookup_returns_text_and_the_operators_value_takes_precedence(inventory):
    found, output = looked_up(inventory, "-vvv")
    made = kept(inventory)["shop"]["SECRET_KEY"]
    assert found["shop"] == {
        "SECRET_KEY": made, "DEBUG": "true", "WORKERS": "4", "NAME": "a b", "EMPTY": "", "RAW": "{{ not a template }}",
    }  # fmt: skip
    assert found["own"] == {"SECRET_KEY": OWN}
    assert found["masked"] == {"SECRET_KEY": "********"}
    assert made not in output


def test_with_a_vault_password_the_file_is_encrypted_and_reads_back(inventory):
    before = keep(inventory)
    password = inventory.parent / "password"
    password.write_text("correct horse\n")
    vault = ("--vault-password-file", password)
    preflight(inventory, *vault)
    assert (inventory / ".secrets.yml").read_text().startswith("$ANSIBLE_VAULT;")
    encrypted = (inventory / ".secrets.yml").read_bytes()
    found, output = looked_up(inventory, *vault)
    assert "changed=1" in output, "only the file with the result of the lookup"
    assert (inventory / ".secrets.yml").read_bytes() == encrypted
    assert found["shop"]["SECRET_KEY"] == before["shop"]["SECRET_KEY"]
    assert before["shop"]["SECRET_KEY"] not in output

    without = preflight(inventory, check=False)
    assert ".secrets.yml is encrypted, and the vault password is missing" in without
    password.write_text("wrong\n")
    assert ".secrets.yml is encrypted, and the vault password is missing" in preflight(inventory, *vault, check=False)


def test_a_damaged_file_is_named_and_left_alone(inventory):
    (inventory / ".secrets.yml").write_text("shop: [half\n")
    assert re.search(r"\.secrets\.yml is damaged", preflight(inventory, check=False))
    assert (inventory / ".secrets.yml").read_text() == "shop: [half\n"


def test_an_inventory_that_is_not_a_file_has_no_secrets_file(tmp_path):
    page = tmp_path / "page.yml"
    page.write_text(yaml.safe_dump({"sites": {"shop": GOOD}}))
    output = preflight("solo,", "-e", f"@{page}", check=False)
    assert "there is no place to store its SECRET_KEY" in output
    assert "set sites.shop.env.SECRET_KEY" in output


def test_an_interrupted_write_leaves_the_old_file(plugin, tmp_path, monkeypatch):
    module = plugin("plugins/action/secrets.py")
    path = tmp_path / ".secrets.yml"
    path.write_text("old")
    monkeypatch.setattr(os, "fsync", lambda _: (_ for _ in ()).throw(KeyboardInterrupt))
    with pytest.raises(KeyboardInterrupt):
        module.write(path, b"new")
    assert path.read_text() == "old"
    assert [p.name for p in tmp_path.iterdir()] == [".secrets.yml"]


def test_git_ignores_the_file(project):
    if not (project / ".git").exists() or not shutil.which("git"):
        pytest.skip("not a clone")
    ignored = (project / ".gitignore").read_text().splitlines()
    assert ".secrets.yml" in ignored


# The lock

HOLD = """
import fcntl, os, signal, sys
os.setuid(int(sys.argv[1]))
signal.alarm(40)
fcntl.flock(int(sys.argv[2]), fcntl.LOCK_EX)
print("held", flush=True)
signal.pause()
"""


@contextmanager
def held(path: Path, user: int = os.geteuid()) -> Iterator[subprocess.Popen[bytes]]:
    """A process that holds a flock on a file or folder."""
    handle = os.open(path, os.O_RDONLY)
    command = [sys.executable, "-c", HOLD, str(user), str(handle)]
    holder = subprocess.Popen(command, pass_fds=[handle], stdout=subprocess.PIPE)
    os.close(handle)
    try:
        assert holder.stdout is not None
        assert holder.stdout.readline() == b"held\n"
        yield holder
    finally:
        holder.kill()
        holder.wait()
        holder.stdout.close()


@pytest.fixture
def secrets_plugin(plugin) -> ModuleType:
    return plugin("plugins/action/secrets.py")


def keeper(module: ModuleType, check_mode: bool = False):
    """The action without a play around it."""
    action = module.ActionModule.__new__(module.ActionModule)
    action._loader, action._task = DataLoader(), SimpleNamespace(check_mode=check_mode)
    return action


def test_a_lock_of_another_user_on_the_folder_blocks_no_run(inventory):
    inventory.chmod(0o755)
    with held(inventory, 65534 if os.geteuid() == 0 else os.geteuid()) as holder:
        preflight(inventory)
        assert holder.poll() is None, "the run waited until the lock was gone"
    assert set(kept(inventory)) == {"shop"}
    assert not (inventory / ".secrets.yml.lock").exists()


def test_the_lock_file_is_private_and_names_the_run(tmp_path, secrets_plugin):
    lock = tmp_path / ".secrets.yml.lock"
    lock.write_text("left by a run that was killed\n" * 10)
    with secrets_plugin.locked(tmp_path):
        assert re.fullmatch(rf"PID {os.getpid()}, user \S+\n", lock.read_text())
    assert not lock.exists()
    with secrets_plugin.locked(tmp_path):
        assert stat.S_IMODE(lock.stat().st_mode) == 0o600
    assert not lock.exists()


@pytest.mark.parametrize("kind", ["link", "dangling link", "hard link", "fifo", "folder"])
def test_a_lock_file_of_another_type_is_refused(tmp_path, secrets_plugin, kind):
    folder, other = tmp_path / "inventory", tmp_path / "other"
    folder.mkdir()
    lock = folder / ".secrets.yml.lock"
    other.write_text("theirs")
    if kind == "hard link":
        lock.hardlink_to(other)
    elif kind == "fifo":
        os.mkfifo(lock)
    elif kind == "folder":
        lock.mkdir()
    else:
        lock.symlink_to(other if kind == "link" else tmp_path / "nowhere")
    with pytest.raises(secrets_plugin.AnsibleActionFail, match=r"Cannot lock .*Remove it"):
        keeper(secrets_plugin)._keep(folder, ["shop"])
    assert other.read_text() == "theirs"
    assert not (tmp_path / "nowhere").exists()
    assert not (folder / ".secrets.yml").exists()


def test_a_run_that_waits_too_long_names_the_run_with_the_lock(tmp_path, secrets_plugin, monkeypatch):
    monkeypatch.setattr(secrets_plugin, "PATIENCE", 0.2)
    lock = tmp_path / ".secrets.yml.lock"
    lock.write_text("PID 4242, user alice\n")
    with held(lock), pytest.raises(secrets_plugin.AnsibleActionFail, match=r"\(PID 4242, user alice\)"):
        keeper(secrets_plugin)._keep(tmp_path, ["shop"])
    if os.geteuid() == 0:
        os.chown(lock, 65534, 65534)
        with pytest.raises(secrets_plugin.AnsibleActionFail, match=r"\(user nobody\)"):
            keeper(secrets_plugin)._keep(tmp_path, ["shop"])
    assert lock.read_text() == "PID 4242, user alice\n"


def test_a_run_with_nothing_to_make_needs_no_lock(tmp_path, secrets_plugin):
    keep(tmp_path)
    (tmp_path / ".secrets.yml.lock").mkdir()
    assert keeper(secrets_plugin)._keep(tmp_path, ["shop"]) == []
    said = keeper(secrets_plugin, check_mode=True)._keep(tmp_path, ["mill"])
    assert said == ["Would make a SECRET_KEY for mill"]


def test_simultaneous_runs_make_one_secret(tmp_path, secrets_plugin):
    context = get_context("fork")
    everyone, results = context.Barrier(4), context.Queue()

    def make() -> None:
        action = keeper(secrets_plugin)
        look, looks = action._look, []

        def look_together(*arguments):
            found = look(*arguments)
            if not looks:
                everyone.wait(20)
            looks.append(1)
            return found

        action._look = look_together
        results.put(action._keep(tmp_path, ["shop"]))

    runs = [context.Process(target=make) for _ in range(4)]
    for each in runs:
        each.start()
    said = [results.get(timeout=30) for _ in runs]
    for each in runs:
        each.join(30)
    assert sorted(map(len, said)) == [0, 0, 0, 1], "one of them has made it"
    assert set(kept(tmp_path)) == {"shop"}
    assert [path.name for path in tmp_path.iterdir()] == [".secrets.yml"]
