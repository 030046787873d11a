"""Whether a certificate that a host has still does."""

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
    """The names of a site as a certificate states them."""
    return [("IP:" if _address(name) else "DNS:") + name.lower() for name in names]


def dns_names(names: Iterable[str]) -> list[str]:
    """Those of a site's names for which an authority gives a certificate by asking the site: no addresses."""
    return [name.lower() for name in names if not _address(name)]


def load(folder: Path) -> x509.Certificate:
    """The certificate in this folder.

    :raises ValueError: if it is none
    """
    return x509.load_pem_x509_certificate((folder / FULLCHAIN).read_bytes())


def span(certificate: x509.Certificate) -> tuple[datetime, datetime]:
    """When it begins and when it ends."""
    return _utc(certificate, "not_valid_before"), _utc(certificate, "not_valid_after")


def why_new(
    folder: Path | None, names: Iterable[str], key_type: str, spare: Spare = made_here, now: datetime | None = None
) -> str:
    """Why the pair in this folder has to be replaced; empty if it need not.

    :param spare: how much has to be left of a certificate that lives so long
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
    # Debian 12's cryptography says it without a time zone, newer ones warn of that.
    return getattr(certificate, f"{what}_utc", None) or getattr(certificate, what).replace(tzinfo=UTC)


def _address(name: str) -> ipaddress.IPv4Address | ipaddress.IPv6Address | None:
    try:
        return ipaddress.ip_address(name)
    except ValueError:
        return None


def _stated_by(names: Iterable[str]) -> set[object]:
    return {_address(name) or name.lower() for name in names}


def stated(certificate: x509.Certificate) -> set[object]:
    """The names and addresses that it is for."""
    try:
        names = certificate.extensions.get_extension_for_class(x509.SubjectAlternativeName).value
    except x509.ExtensionNotFound:
        return set()
    return {*names.get_values_for_type(x509.DNSName), *names.get_values_for_type(x509.IPAddress)}
