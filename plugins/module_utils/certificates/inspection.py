"""Issuer, names, expiry and renewal of a site's certificate, read by the host's openssl."""

from __future__ import annotations

import re
from collections.abc import Callable
from dataclasses import dataclass
from datetime import UTC, datetime, timedelta
from pathlib import Path

from ansible_collections.wsgi.sites.plugins.module_utils.certificates.folder import FULLCHAIN
from ansible_collections.wsgi.sites.plugins.module_utils.certificates.lineage import LOG
from ansible_collections.wsgi.sites.plugins.module_utils.certificates.threshold import made_here
from ansible_collections.wsgi.sites.plugins.module_utils.system.text import visible

Run = Callable[[list[str]], tuple[int, str, str]]
# How long certbot's timer may retry before the renewal counts as overdue.
TRIES = timedelta(days=3)


@dataclass(frozen=True)
class CertificateInfo:
    """The fields of a certificate."""

    issuer: str
    names: list[str]
    begins: datetime
    ends: datetime

    def days(self, now: datetime) -> int:
        """Whole days until expiry."""
        return (self.ends - now).days


def inspect(folder: Path, run: Run) -> CertificateInfo | None:
    """Read the certificate in a folder; None if there is no readable one."""
    wanted = ["-subject", "-issuer", "-dates", "-ext", "subjectAltName", "-nameopt", "RFC2253", "-dateopt", "iso_8601"]
    code, said, _ = run(["openssl", "x509", "-noout", "-in", str(folder / FULLCHAIN), *wanted])
    if code != 0:
        return None
    said = visible(said)
    told = dict(re.findall(r"^(\w+)=(.*)$", said, re.MULTILINE))
    issuer = dict(re.findall(r"(?:^|(?<!\\),)(O|CN)=((?:\\.|[^,\\])*)", told["issuer"]))
    return CertificateInfo(
        issuer="itself"
        if told["issuer"] == told["subject"]
        else " ".join(issuer[key] for key in ("O", "CN") if key in issuer),
        names=re.findall(r"(?:DNS|IP Address):([^\s,]+)", said),
        begins=_time(told["notBefore"]),
        ends=_time(told["notAfter"]),
    )


def renewal(kind: str, seen: CertificateInfo, interval: str, timer: str, now: datetime) -> str:
    """How and when the certificate is renewed, as text.

    :param kind: the source of the pair in use
    :param interval: certbot's renewal interval, in its notation
    :param timer: the timer or cron job that calls certbot; empty if there is none
    """
    if kind == "provided":
        return "by you" if seen.ends > now else "ENDED: provide a new one"
    if kind == "selfsigned":
        return _by("by a run", seen.ends - made_here(seen.ends - seen.begins), now)
    due = seen.ends - timedelta(hours=int(interval.partition(" ")[0] or 0))
    if not timer:
        return f"NOT RENEWED: neither certbot.timer nor cron runs; due {due:%Y-%m-%d}"
    return f"OVERDUE since {due:%Y-%m-%d}: see {LOG}" if now > due + TRIES else _by(f"by {timer}", due, now)


def _by(agent: str, due: datetime, now: datetime) -> str:
    return f"{agent} from {due:%Y-%m-%d}" if due > now else f"{agent}, now due"


def _time(text: str) -> datetime:
    return datetime.strptime(text, "%Y-%m-%d %H:%M:%SZ").replace(tzinfo=UTC)
