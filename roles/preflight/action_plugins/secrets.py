"""Make the secrets that the operator did not give: once for a site, kept beside the inventory, never shown."""

from __future__ import annotations

import fcntl
import os
import secrets
import tempfile
from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import yaml
from ansible.errors import AnsibleActionFail, AnsibleError
from ansible.parsing.dataloader import DataLoader
from ansible.parsing.vault import is_encrypted
from ansible.plugins.action import ActionBase
from ansible.template import Templar

FILE = ".secrets.yml"
HEADER = """\
---
# Secrets that were made for sites which have none of their own. Keep this file: with other values, sessions and links
# that these sites have signed no longer count. To choose one yourself, set it under `env` on the page.
"""


class ActionModule(ActionBase):
    """``secrets:`` takes nothing; it reads the pages of every host in the play, after `preflight` found them sound."""

    _requires_connection = False

    def run(self, tmp: str | None = None, task_vars: dict[str, Any] | None = None) -> dict[str, Any]:
        """Make what is missing, and say for which sites; in check mode only say so."""
        result = super().run(tmp, task_vars)
        made: list[str] = []
        for folder, sites in self._wanted(task_vars or {}).items():
            made += self._keep(folder, sites)
        result["changed"] = bool(made)
        result["msg"] = "\n".join(made) or "Nothing to make."
        return result

    def _wanted(self, variables: Mapping[str, Any]) -> dict[Path, list[str]]:
        """The sites without a SECRET_KEY, by the inventory whose hosts they are on."""
        wanted: dict[Path, list[str]] = {}
        for host in variables["ansible_play_hosts_all"]:
            page = {**variables["hostvars"].raw_get(host), "hostvars": variables["hostvars"]}
            for site in self._without_key(page):
                if not Path(str(page.get("inventory_dir"))).is_absolute():  # Ansible says "None" for `-i host,`
                    raise AnsibleActionFail(
                        f"{site}: there is no place to keep its SECRET_KEY, since the inventory is not a file. "
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
        path = folder / FILE
        with locked(folder):
            known = self._read(path)
            missing = [site for site in sites if "SECRET_KEY" not in known.get(site, {})]
            encrypt = bool(self._loader._vault and self._loader._vault.secrets)
            laid_bare = bool(known) and (
                path.stat().st_mode & 0o077 or (encrypt and not is_encrypted(path.read_bytes()))
            )
            if self._task.check_mode or not (missing or laid_bare):
                return [f"Would make a SECRET_KEY for {site}" for site in missing]
            for site in missing:
                known.setdefault(site, {})["SECRET_KEY"] = secrets.token_urlsafe(48)
            text = HEADER + yaml.safe_dump(known, default_flow_style=False)
            data = self._loader._vault.encrypt(text) if encrypt else text.encode()
            write(path, data)
        return [f"Made a SECRET_KEY for {site}, kept in {path}" for site in missing] or [f"Closed {path} to others"]

    def _read(self, path: Path) -> dict[str, dict[str, str]]:
        return read(path, self._loader)


def unfold(templar: Templar, value: object) -> Mapping[str, Any]:
    """A mapping whose own values stay as they are; only one that is a template altogether is worked out."""
    if isinstance(value, str):
        value = templar.template(value)
    return value if isinstance(value, Mapping) else {}


def read(path: Path, loader: DataLoader) -> dict[str, dict[str, str]]:
    """What is kept, or an error that says why it cannot be read."""
    if not path.exists():
        return {}
    try:
        data = loader.get_text_file_contents(str(path))
    except AnsibleError:
        raise AnsibleActionFail(
            f"{path} is encrypted, and the vault password is missing or another one. "
            "Give the one it was made with (--vault-password-file, or --ask-vault-pass)."
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
    """One run at a time, or two would make two different secrets. The folder itself is the lock: no file is left."""
    handle = os.open(folder, os.O_RDONLY)
    try:
        fcntl.flock(handle, fcntl.LOCK_EX)
        yield
    finally:
        os.close(handle)


def write(path: Path, data: bytes) -> None:
    """Replace the file at once, readable for its owner only from the first byte."""
    try:
        handle, name = tempfile.mkstemp(dir=path.parent, prefix=f"{path.name}.")
    except OSError as error:
        raise AnsibleActionFail(
            f"Cannot write {path}: {error.strerror}. Make the folder writable, or set SECRET_KEY in each site's env."
        ) from None
    try:
        with os.fdopen(handle, "wb") as file:
            file.write(data)
            file.flush()
            os.fsync(file.fileno())
        Path(name).replace(path)
    except BaseException:
        Path(name).unlink()
        raise
