"""Whether a certificate that was made on the host still does."""

from __future__ import annotations

import ipaddress
from collections.abc import Iterable
from datetime import UTC, datetime, timedelta
from pathlib import Path

from ansible.module_utils.certificates.folder import FULLCHAIN, PRIVKEY
from cryptography import x509
from cryptography.hazmat.primitives.asymmetric import ec, rsa
from cryptography.hazmat.primitives.serialization import load_pem_private_key

# A new one is made while this much is left, so that a host that gets a run a month never serves one that has ended.
SPARE_TIME = timedelta(days=30)
KEYS = {"ecdsa": ec.EllipticCurvePrivateKey, "rsa": rsa.RSAPrivateKey}


def alternative_names(names: Iterable[str]) -> list[str]:
    """The names of a site as a certificate states them."""
    return [("IP:" if _address(name) else "DNS:") + name.lower() for name in names]


def ends(certificate: x509.Certificate) -> datetime:
    """When it ends."""
    return _utc(certificate, "not_valid_after")


def why_new(folder: Path | None, names: Iterable[str], key_type: str, now: datetime | None = None) -> str:
    """Why the pair in this folder has to be replaced; empty if it need not."""
    now = now or datetime.now(UTC)
    if folder is None:
        return "there is none yet"
    try:
        certificate = x509.load_pem_x509_certificate((folder / FULLCHAIN).read_bytes())
        key = load_pem_private_key((folder / PRIVKEY).read_bytes(), password=None)
    except (OSError, ValueError, TypeError):
        return "it cannot be read"
    if certificate.public_key().public_numbers() != key.public_key().public_numbers():
        return "its key is another's"
    if not isinstance(key, KEYS[key_type]):
        return f"its key is not {key_type}"
    if _stated(certificate) != _stated_by(names):
        return "the site has other names"
    begins, end = _utc(certificate, "not_valid_before"), ends(certificate)
    if end - now < max((end - begins) / 3, SPARE_TIME) or begins > now:
        return f"it ends on {end:%Y-%m-%d}"
    return ""


def _utc(certificate: x509.Certificate, what: str) -> datetime:
    # Debian 12's cryptography says it without a time zone, newer ones warn of that.
    return getattr(certificate, f"{what}_utc", None) or getattr(certificate, what).replace(tzinfo=UTC)


def _address(name: str) -> ipaddress.IPv4Address | ipaddress.IPv6Address | None:
    try:
        return ipaddress.ip_address(name)
    except ValueError:
        return None


def _stated_by(names: Iterable[str]) -> set[object]:
    return {_address(name) or name.lower() for name in names}


def _stated(certificate: x509.Certificate) -> set[object]:
    try:
        stated = certificate.extensions.get_extension_for_class(x509.SubjectAlternativeName).value
    except x509.ExtensionNotFound:
        return set()
    return {*stated.get_values_for_type(x509.DNSName), *stated.get_values_for_type(x509.IPAddress)}
