"""Whether an installed certificate is still valid for its site."""

from __future__ import annotations

import ipaddress
from collections.abc import Iterable
from datetime import UTC, datetime
from pathlib import Path

from cryptography import x509
from cryptography.hazmat.primitives.asymmetric import ec, rsa
from cryptography.hazmat.primitives.serialization import load_pem_private_key

from ansible_collections.wsgi.sites.plugins.module_utils.certificates.folder import FULLCHAIN, PRIVKEY
from ansible_collections.wsgi.sites.plugins.module_utils.certificates.threshold import Spare, made_here

KEYS = {"ecdsa": ec.EllipticCurvePrivateKey, "rsa": rsa.RSAPrivateKey}


def alternative_names(names: Iterable[str]) -> list[str]:
    """The names of a site as subjectAltName entries."""
    return [("IP:" if _address(name) else "DNS:") + name.lower() for name in names]


def dns_names(names: Iterable[str]) -> list[str]:
    """The names that a CA can verify by http-01: no IP addresses."""
    return [name.lower() for name in names if not _address(name)]


def load(folder: Path) -> x509.Certificate:
    """The certificate in this folder.

    :raises ValueError: if it is none
    """
    return x509.load_pem_x509_certificate((folder / FULLCHAIN).read_bytes())


def span(certificate: x509.Certificate) -> tuple[datetime, datetime]:
    """Start and end of its validity."""
    return _utc(certificate, "not_valid_before"), _utc(certificate, "not_valid_after")


def why_new(
    folder: Path | None, names: Iterable[str], key_type: str, spare: Spare = made_here, now: datetime | None = None
) -> str:
    """Why the pair in this folder must be replaced; empty if it is valid.

    :param spare: the remaining time at which a certificate of a given lifetime is replaced
    """
    now = now or datetime.now(UTC)
    if folder is None:
        return "there is none yet"
    try:
        certificate = load(folder)
        key = load_pem_private_key((folder / PRIVKEY).read_bytes(), password=None)
    except (OSError, ValueError, TypeError):
        return "it cannot be read"
    if certificate.public_key().public_numbers() != key.public_key().public_numbers():
        return "its key is another's"
    if not isinstance(key, KEYS[key_type]):
        return f"its key is not {key_type}"
    if stated(certificate) != _stated_by(names):
        return "the site has other names"
    begins, end = span(certificate)
    if end - now < spare(end - begins) or begins > now:
        return f"it ends on {end:%Y-%m-%d}"
    return ""


def _utc(certificate: x509.Certificate, what: str) -> datetime:
    # Debian 12's cryptography returns it without a time zone; newer versions warn about that.
    return getattr(certificate, f"{what}_utc", None) or getattr(certificate, what).replace(tzinfo=UTC)


def _address(name: str) -> ipaddress.IPv4Address | ipaddress.IPv6Address | None:
    try:
        return ipaddress.ip_address(name)
    except ValueError:
        return None


def _stated_by(names: Iterable[str]) -> set[object]:
    return {_address(name) or name.lower() for name in names}


def stated(certificate: x509.Certificate) -> set[object]:
    """The names and addresses in its subjectAltName."""
    try:
        names = certificate.extensions.get_extension_for_class(x509.SubjectAlternativeName).value
    except x509.ExtensionNotFound:
        return set()
    return {*names.get_values_for_type(x509.DNSName), *names.get_values_for_type(x509.IPAddress)}
