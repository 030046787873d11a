"""Request a certificate from an ACME directory by certbot."""

from __future__ import annotations

import math
import stat
import time
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from datetime import timedelta

from ansible_collections.wsgi.sites.plugins.module_utils.certificates.folder import Folder
from ansible_collections.wsgi.sites.plugins.module_utils.certificates.lineage import LOG, WEBROOT, Lineage, reason
from ansible_collections.wsgi.sites.plugins.module_utils.certificates.renewal import is_taken
from ansible_collections.wsgi.sites.plugins.module_utils.certificates.threshold import asked_for
from ansible_collections.wsgi.sites.plugins.module_utils.certificates.validity import dns_names, load, span, why_new

BUSY = "Another instance of Certbot is already running"
# Seconds to wait for a certbot that the host's timer has started.
PATIENCE = 120.0

Run = Callable[[list[str]], tuple[int, str, str]]


@dataclass(frozen=True)
class CertificateRequest:
    """A site's request: names, key type and ACME directory."""

    folder: Folder
    lineage: Lineage
    names: Sequence[str]
    key_type: str
    directory: str
    email: str
    renew_days: int

    def why(self) -> str:
        """Why a new certificate is needed; empty if it is not."""
        kept = self.lineage.live if self.lineage.pair else None
        why = why_new(kept, dns_names(self.names), self.key_type, asked_for(self.renew_days))
        if not why and self.lineage.setting("server") != self.directory:
            return "it is of another directory"
        return why

    def is_settled(self) -> bool:
        """Whether certbot and nginx have the configured certificate, and it will be renewed in time."""
        return (
            self.lineage.ours
            and not self.why()
            and self.lineage.setting("renew_before_expiry") == self.interval()
            and is_taken(self.folder, self.lineage)
        )

    def interval(self) -> str:
        """How long before expiry certbot renews it, in certbot's notation."""
        begins, ends = span(load(self.lineage.live))
        return f"{math.floor(asked_for(self.renew_days)(ends - begins) / timedelta(hours=1))} hours"

    def send(self, run: Run) -> str:
        """Send the request; returns the error, or an empty text."""
        if self.lineage.paths and not self.lineage.ours:
            return (
                f"certbot already has a certificate of the name {self.lineage.site} that is not this site's; see"
                f" `certbot certificates`, and if it is not needed, `certbot delete --cert-name {self.lineage.site}`"
            )
        WEBROOT.mkdir(mode=0o755, parents=True, exist_ok=True)
        for folder in (WEBROOT, WEBROOT.parent):  # whatever the caller's umask is, nginx's workers can pass through
            folder.chmod(stat.S_IMODE(folder.stat().st_mode) | 0o111)
        command = self.lineage.command(dns_names(self.names), self.key_type, self.directory, self.email)
        deadline = time.monotonic() + PATIENCE
        while True:
            code, output, errors = run(command)
            if code == 0:
                return ""
            if BUSY not in output + errors or time.monotonic() > deadline:
                return reason(f"{output}\n{errors}")
            time.sleep(1)

    def message(self, words: str) -> str:
        """The message for the operator at the end of a run."""
        used = self.folder.used
        if used is None or used.name.startswith("selfsigned-"):
            state = "the site is up, but its certificate is NOT TRUSTED: a self-signed one stands in"
        else:
            state = f"the site is up with the certificate that it had, which ends on {span(load(used))[1]:%Y-%m-%d}"
        return (
            f"{self.lineage.site}: {state}. {self.directory} gave no new one: {words.rstrip('.')}. It has to find this"
            " host by each of these names, on port 80, and this host has to reach and to trust it"
            f" (host_ca_certificates). Mend that and run again; {LOG} on the host says more."
        )
