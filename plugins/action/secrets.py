"""Generate missing secrets: once per site, stored beside the inventory, never shown."""

from __future__ import annotations

import fcntl
import os
import pwd
import re
import secrets
import stat
import time
from collections.abc import Iterator, Mapping
from contextlib import contextmanager, suppress
from pathlib import Path
from typing import Any

import yaml
from ansible.errors import AnsibleActionFail, AnsibleError
from ansible.parsing.dataloader import DataLoader
from ansible.parsing.vault import is_encrypted
from ansible.plugins.action import ActionBase
from ansible.template import Templar

from ansible_collections.wsgi.sites.plugins.plugin_utils import files
from ansible_collections.wsgi.sites.plugins.plugin_utils.config import site_config
from ansible_collections.wsgi.sites.plugins.plugin_utils.config.environment import SECRETS

LOCK = f"{SECRETS}.lock"
# Seconds to wait for another run, and between two checks.
PATIENCE, INTERVAL = 60.0, 0.05
HEADER = """\
---
# Secrets that were made for sites which have none of their own. Keep this file: with other values, sessions and links
# that these sites have signed no longer count. To choose one yourself, set it under `env` in the site config.
"""


class ActionModule(ActionBase):
    """``secrets:`` without options; reads the site config of every host, which `preflight` has checked."""

    _requires_connection = False

    def run(self, tmp: str | None = None, task_vars: dict[str, Any] | None = None) -> dict[str, Any]:
        """Generate missing secrets and report the sites; in check mode only report them."""
        result = super().run(tmp, task_vars)
        made: list[str] = []
        for folder, sites in self._wanted(task_vars or {}).items():
            made += self._keep(folder, sites)
        result["changed"] = bool(made)
        result["msg"] = "\n".join(made) or "Nothing to make."
        return result

    def _wanted(self, variables: Mapping[str, Any]) -> dict[Path, list[str]]:
        """The sites without a SECRET_KEY, by the inventory of their hosts."""
        wanted: dict[Path, list[str]] = {}
        for host in variables["ansible_play_hosts_all"]:
            page = {
                **site_config.of_play(self._task, variables["hostvars"], host),
                "hostvars": variables["hostvars"],
            }
            for site in self._without_key(page):
                if not Path(str(page.get("inventory_dir"))).is_absolute():  # Ansible says "None" for `-i host,`
                    raise AnsibleActionFail(
                        f"{site}: there is no place to store its SECRET_KEY, since the inventory is not a file. "
                        f"Put {host} into an inventory file, or set sites.{site}.env.SECRET_KEY."
                    )
                sites = wanted.setdefault(Path(page["inventory_dir"]), [])
                if site not in sites:
                    sites.append(site)
        return wanted

    def _without_key(self, page: Mapping[str, Any]) -> Iterator[str]:
        def part(variable: str, site: str = "") -> Mapping[str, Any]:
            templar = Templar(loader=self._loader, variables={**page, "site_name": site})
            return unfold(templar, page.get(variable))

        for site, entry in part("sites").items():
            templar = Templar(loader=self._loader, variables={**page, "site_name": site})
            shared, own = part("site_defaults", site), unfold(templar, entry)
            state = templar.template(own.get("state", shared.get("state", "present")))
            env = {**unfold(templar, shared.get("env")), **unfold(templar, own.get("env"))}
            if state == "present" and "SECRET_KEY" not in env:
                yield str(site)

    def _keep(self, folder: Path, sites: list[str]) -> list[str]:
        path = folder / SECRETS
        _known, missing, exposed = self._look(path, sites)
        if self._task.check_mode or not (missing or exposed):
            return [f"Would make a SECRET_KEY for {site}" for site in missing]
        with locked(folder):
            # Checked again, since another run may have generated them meanwhile.
            known, missing, exposed = self._look(path, sites)
            if not (missing or exposed):
                return []
            for site in missing:
                known.setdefault(site, {})["SECRET_KEY"] = secrets.token_urlsafe(48)
            text = HEADER + yaml.safe_dump(known, default_flow_style=False)
            write(path, self._loader._vault.encrypt(text) if self._encrypts else text.encode())
        return [f"Made a SECRET_KEY for {site}, kept in {path}" for site in missing] or [f"Closed {path} to others"]

    def _look(self, path: Path, sites: list[str]) -> tuple[dict[str, dict[str, str]], list[str], bool]:
        """The secrets of the file, the sites without one, and whether others can read the file."""
        known = self._read(path)
        missing = [site for site in sites if "SECRET_KEY" not in known.get(site, {})]
        exposed = bool(known) and (
            bool(path.stat().st_mode & 0o077) or (self._encrypts and not is_encrypted(path.read_bytes()))
        )
        return known, missing, exposed

    @property
    def _encrypts(self) -> bool:
        return bool(self._loader._vault and self._loader._vault.secrets)

    def _read(self, path: Path) -> dict[str, dict[str, str]]:
        return read(path, self._loader)


def unfold(templar: Templar, value: object) -> Mapping[str, Any]:
    """A mapping with unevaluated values; only a mapping that is itself a template is evaluated."""
    if isinstance(value, str):
        value = templar.template(value)
    return value if isinstance(value, Mapping) else {}


def read(path: Path, loader: DataLoader) -> dict[str, dict[str, str]]:
    """The stored secrets, or an error with the reason why they cannot be read."""
    if not path.exists():
        return {}
    try:
        data = loader.get_text_file_contents(str(path))
    except AnsibleError:
        raise AnsibleActionFail(
            f"{path} is encrypted, and the vault password is missing or another one. "
            "Give the password that it was encrypted with (--vault-password-file, or --ask-vault-pass)."
        ) from None
    try:
        known = yaml.safe_load(data) or {}
    except yaml.YAMLError:
        known = None
    if not isinstance(known, dict) or not all(isinstance(entry, dict) for entry in known.values()):
        raise AnsibleActionFail(f"{path} is damaged: it must hold `SITE: {{SECRET_KEY: …}}`. Restore it from a backup.")
    return known


@contextmanager
def locked(folder: Path) -> Iterator[None]:
    """Allow one run at a time, since two would generate different secrets.

    The lock file can be opened only by its owner, since any user who can open it could lock it. It is removed at the
    end; a leftover of a killed run is locked again.
    """
    path = folder / LOCK
    handle = _acquire(path, time.monotonic() + PATIENCE)
    try:
        os.ftruncate(handle, 0)
        os.write(handle, f"PID {os.getpid()}, user {_user(os.geteuid())}\n".encode())
        yield
    finally:
        # Before the lock is released, while no other run can have created a file of this name.
        with suppress(FileNotFoundError):
            if os.path.samestat(os.fstat(handle), path.lstat()):
                path.unlink()
        os.close(handle)


def _acquire(path: Path, deadline: float) -> int:
    """The descriptor of the locked file."""
    while True:
        handle = _open(path)
        try:
            if handle is not None and _try_lock(handle, path):
                return handle
            holder = _holder(path, handle)
        except BaseException:
            if handle is not None:
                os.close(handle)
            raise
        if handle is not None:
            os.close(handle)
        if time.monotonic() > deadline:
            raise AnsibleActionFail(
                f"{path} is locked by another run ({holder}), and was for {PATIENCE:.0f} seconds. Wait for that run, "
                "or end it; if there is none, remove the file."
            )
        time.sleep(INTERVAL)


def _open(path: Path) -> int | None:
    """Open the lock file; None if it belongs to another user, whose run may be about to end."""
    try:
        handle = os.open(path, os.O_RDWR | os.O_CREAT | os.O_NOFOLLOW | os.O_NONBLOCK | os.O_CLOEXEC, 0o600)
    except OSError as error:
        if isinstance(error, PermissionError) and os.path.lexists(path):
            return None
        raise AnsibleActionFail(
            f"Cannot lock {path}: {error.strerror}. Remove it if it exists, and make the folder writable; or set "
            "SECRET_KEY in each site's env."
        ) from None
    status = os.fstat(handle)
    if status.st_uid != os.geteuid():
        os.close(handle)
        return None
    if not stat.S_ISREG(status.st_mode) or status.st_nlink > 1:
        os.close(handle)
        raise AnsibleActionFail(f"Cannot lock {path}: it is not a file of its own. Remove it, and run again.")
    return handle


def _try_lock(handle: int, path: Path) -> bool:
    """Lock the file unless another run has; returns whether the path still leads to this file."""
    try:
        fcntl.flock(handle, fcntl.LOCK_EX | fcntl.LOCK_NB)
        return os.path.samestat(os.fstat(handle), path.lstat())
    except (BlockingIOError, FileNotFoundError):
        return False


def _holder(path: Path, handle: int | None) -> str:
    """The holder of the lock, as far as this user can see."""
    if handle is not None:
        said = os.pread(handle, 100, 0).decode(errors="replace")
        return said.strip() if re.fullmatch(r"PID \d+, user [\w.-]+\n", said) else "which has just begun"
    try:
        return f"user {_user(path.lstat().st_uid)}"
    except FileNotFoundError:
        return "which has just ended"


def _user(number: int) -> str:
    try:
        return pwd.getpwuid(number).pw_name
    except KeyError:
        return str(number)


def write(path: Path, data: bytes) -> None:
    """Replace the file atomically, readable only by its owner from the first byte on."""
    try:
        files.replace(path, data)
    except OSError as error:
        raise AnsibleActionFail(
            f"Cannot write {path}: {error.strerror}. Make the folder writable, or set SECRET_KEY in each site's env."
        ) from None
