"""A host's files and accounts, below a prefix."""

from __future__ import annotations

import glob
import json
import re
from pathlib import Path
from typing import Any

from ansible_collections.wsgi.sites.plugins.module_utils.daemons import ownership
from ansible_collections.wsgi.sites.plugins.module_utils.site import accounts, paths
from ansible_collections.wsgi.sites.plugins.module_utils.system import kernel
from ansible_collections.wsgi.sites.plugins.module_utils.system.text import bounded


class Host:
    """The host's files and accounts.

    :param prefix: the folder that they are in; for tests
    """

    def __init__(self, prefix: Path = Path("/")) -> None:
        self.prefix = prefix
        self._shipped: dict[str, str] | None = None

    def at(self, path: str) -> Path:
        return self.prefix / path.lstrip("/")

    def read(self, path: str) -> str:
        try:
            return self.at(path).read_text(encoding="utf-8", errors="replace")
        except OSError:
            return ""

    def beginning(self, path: str) -> str:
        """The beginning of a file that another account may have made very long."""
        try:
            return bounded(self.at(path))
        except OSError:
            return ""

    def glob(self, pattern: str) -> list[str]:
        found = glob.glob(pattern.lstrip("/"), root_dir=self.prefix)
        return sorted("/" + path for path in found)

    def record(self, site: str) -> dict[str, Any]:
        """The collection's record of a site on this host; empty if there is none."""
        try:
            record = json.loads(self.read(str(paths.REGISTRY / f"{site}.json")))
        except ValueError:
            return {}
        return record if isinstance(record, dict) else {}

    def recorded(self) -> list[str]:
        """The sites that the collection has set up on this host."""
        return [Path(path).stem for path in self.glob(f"{paths.REGISTRY}/*.json")]

    def live_listeners(self, site: str) -> list[str]:
        """The addresses in `bind` of the site's live release, without brackets."""
        try:
            release = json.loads(self.read(f"{self.record(site).get('root')}/live/release/release.json"))
        except ValueError:
            return []
        return [bind.replace("[", "").replace("]", "") for bind in release.get("listen", [])]

    def content(self, path: str) -> bytes | None:
        try:
            return self.at(path).read_bytes()
        except OSError:
            return None

    def is_ours(self, path: str) -> bool:
        return ownership.is_ours(self.content(path) or b"")

    def is_stock(self, path: str) -> bool:
        """Whether the file is as the distribution ships it."""
        if self._shipped is None:
            self._shipped = ownership.shipped(self.at("/var/lib/dpkg/status"))
        content = self.content(path)
        return content is not None and ownership.is_stock(path, content, self._shipped)

    def has_user(self, name: str) -> bool:
        if self.prefix != Path("/"):
            return any(line.startswith(f"{name}:") for line in self.read("/etc/passwd").splitlines())
        return accounts.find_user(name) is not None

    def has_group(self, name: str) -> bool:
        if self.prefix != Path("/"):
            return any(line.startswith(f"{name}:") for line in self.read("/etc/group").splitlines())
        return accounts.find_group(name) is not None

    def facts(self) -> dict[str, Any]:
        """The facts that the roles use."""
        release = dict(re.findall(r'^(\w+)="?(.*?)"?$', self.read("/etc/os-release"), re.MULTILINE))
        return {
            "ansible_distribution_release": release.get("VERSION_CODENAME", ""),
            "ansible_service_mgr": "systemd" if self.at("/run/systemd/system").exists() else "sysvinit",
            "ansible_sites_system": release.get("PRETTY_NAME", "an unknown system"),
            "ansible_sites_ipv6": kernel.has_ipv6(self.prefix),
        }
