"""Certbot's lineage of a site, from which nginx gets a copy."""

from __future__ import annotations

import re
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path

from ansible_collections.wsgi.sites.plugins.module_utils.certificates.folder import (
    FULLCHAIN,
    PRIVKEY,
    Folder,
    read,
    write,
)
from ansible_collections.wsgi.sites.plugins.module_utils.system.text import visible

WEBROOT = Path("/var/lib/sites/acme")
LOG = Path("/var/log/letsencrypt/letsencrypt.log")


@dataclass(frozen=True)
class Lineage:
    """Certbot's certificate of this name, as files.

    :param root: certbot's own folder
    """

    site: str
    root: Path = Path("/etc/letsencrypt")

    @property
    def live(self) -> Path:
        """The folder of the newest pair. Certbot replaces its files one by one, so nginx reads a copy."""
        return self.root / "live" / self.site

    @property
    def settings(self) -> Path:
        """Certbot's renewal settings."""
        return self.root / "renewal" / f"{self.site}.conf"

    @property
    def paths(self) -> list[Path]:
        """All paths of the lineage, in the order of removal: without its settings certbot renews nothing."""
        everything = [self.settings, self.live, self.root / "archive" / self.site]
        return [path for path in everything if path.exists()]

    @property
    def hook(self) -> str:
        """The command that certbot calls after each success."""
        return f"/usr/local/bin/{self.site}-ctl renewed"

    @property
    def ours(self) -> bool:
        """Whether the collection requested it, rather than someone who chose the same name."""
        return self.setting("renew_hook") == self.hook

    @property
    def pair(self) -> dict[str, bytes] | None:
        """The newest certificate with its key; None if there is none."""
        files = {name: read(self.live / name) for name in (FULLCHAIN, PRIVKEY)}
        return {name: content for name, content in files.items() if content} if all(files.values()) else None

    def setting(self, key: str) -> str:
        """One of certbot's settings; empty if it is not set."""
        found = re.search(rf"^{key} = (.*)$", (read(self.settings) or b"").decode(), re.MULTILINE)
        return found[1] if found else ""

    def set_renewal(self, interval: str) -> None:
        """Set how long before expiry it is renewed. Certbot has no option for it; its manual says to edit this file."""
        rest = re.sub(r"^(?:# )?renew_before_expiry = .*\n", "", self.settings.read_text(), flags=re.MULTILINE)
        write(self.settings, f"renew_before_expiry = {interval}\n{rest}".encode())

    def command(self, names: Sequence[str], key_type: str, directory: str, email: str) -> list[str]:
        """The command that requests a new certificate."""
        who = ["--email", email, "--no-eff-email"] if email else ["--register-unsafely-without-email"]
        return [
            *("certbot", "certonly", "--non-interactive", "--agree-tos", *who, "--config-dir", str(self.root)),
            *("--server", directory, "--webroot", "--webroot-path", str(WEBROOT), "--deploy-hook", self.hook),
            *("--cert-name", self.site, "--key-type", key_type, "--force-renewal", "--renew-with-new-domains"),
            *(word for name in names for word in ("--domain", name)),
        ]


def reason(said: str) -> str:
    """The reason of a failure from certbot's output, which quotes the CA."""
    said = visible(said)
    problems = re.findall(r"^ +Domain: (\S+)\n +Type: .*\n +Detail: (.*)", said, re.MULTILINE)
    if problems:
        return "; ".join(f"{name}: {words}" for name, words in problems)
    lines = [
        line.strip() for line in said.partition("An unexpected error occurred:")[2].splitlines() or said.splitlines()
    ]
    lines = [line for line in lines if line and not line.startswith(("Saving debug log", "Ask for help"))]
    return " ".join(lines) or "certbot says nothing"


def spare(mode: str, folder: Folder, lineage: Lineage) -> list[Path]:
    """Paths that the site does not use in this mode: other pairs, and a lineage that certbot would go on renewing."""
    return folder.spare(mode != "none") + (lineage.paths if lineage.ours and mode != "acme" else [])
