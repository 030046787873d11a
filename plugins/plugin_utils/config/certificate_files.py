"""Reads and checks the operator's certificate, chain and key on the controller."""

from __future__ import annotations

import ipaddress
import itertools
import re
from collections.abc import Callable, Iterable, Iterator, Mapping
from dataclasses import dataclass, field
from datetime import UTC, datetime
from pathlib import Path
from typing import Any

from ansible.errors import AnsibleError
from cryptography import x509
from cryptography.exceptions import InvalidSignature, UnsupportedAlgorithm
from cryptography.hazmat.primitives import serialization
from cryptography.hazmat.primitives.asymmetric import ec, rsa

from ansible_collections.wsgi.sites.plugins.plugin_utils.places import PROJECT

PARTS = ("certificate", "chain", "key")
BLOCK = re.compile(r"-----BEGIN (?P<kind>[A-Z0-9 ]+)-----.*?-----END (?P=kind)-----", re.DOTALL)
# Browsers and CAs reject smaller keys.
RSA_BITS = 2048
ALGORITHMS = (rsa.RSAPublicKey, ec.EllipticCurvePublicKey)

Problem = tuple[str, str]
Load = Callable[[str], str]


class PairError(Exception):
    """One part cannot be read; ``key`` names it, and the text has the reason and remedy without quoting it."""

    def __init__(self, key: str, words: str) -> None:
        super().__init__(f"tls.{key}: {words}")
        self.key, self.words = key, words


def text_of(key: str, value: str, load: Load) -> str:
    """The PEM text in the site config, or in the file that it names.

    :param load: reads a file of the controller, vaulted or not
    """
    if "-----BEGIN" in value:
        return value
    # A key must not be used as a path, since the system's error would quote it.
    path = PROJECT / Path(value).expanduser() if "\n" not in value else None
    if path is None or not path.is_file():
        raise PairError(key, "is no file on this machine; it is relative to the project's root")
    try:
        return load(str(path))
    except AnsibleError:
        raise PairError(key, "cannot be decrypted; give the vault password (--vault-password-file)") from None
    except (OSError, UnicodeDecodeError):
        raise PairError(key, "cannot be read as PEM; see who may read the file, and what `file` says of it") from None


def blocks(text: str, kind: str) -> list[bytes]:
    """The PEM blocks of this kind; files often contain others too."""
    return [found[0].encode() + b"\n" for found in BLOCK.finditer(text) if found["kind"].endswith(kind)]


def certificates_in(key: str, text: str) -> list[x509.Certificate]:
    """All certificates of a PEM, in their order."""
    try:
        found = [x509.load_pem_x509_certificate(block) for block in blocks(text, "CERTIFICATE")]
    except ValueError:
        found = []
    if not found:
        raise PairError(key, "holds no certificate in PEM; convert it with `openssl x509 -inform DER -in … -out …`")
    return found


def pem(certificates: Iterable[x509.Certificate]) -> str:
    """Certificates as nginx reads them."""
    return "".join(each.public_bytes(serialization.Encoding.PEM).decode() for each in certificates)


@dataclass(frozen=True)
class Pair:
    """What nginx gets."""

    chain: list[x509.Certificate] = field(repr=False)
    key: bytes = field(repr=False)

    @property
    def fullchain(self) -> str:
        """The certificate and its chain, without other content of the files."""
        return pem(self.chain)


def read(tls: Mapping[str, Any], load: Load) -> Pair:
    """The parts that the site config names.

    :raises PairError: for the first one that is missing or cannot be read
    """
    texts = {key: text_of(key, str(tls[key]), load) for key in PARTS if tls[key]}
    for key in ("certificate", "key"):
        if key not in texts:
            raise PairError(key, "is missing; give a PEM file on this machine, or the PEM itself from a vault")
    chain = [each for key in PARTS[:2] if key in texts for each in certificates_in(key, texts[key])]
    keys = blocks(texts["key"], "PRIVATE KEY")
    if len(keys) != 1:
        raise PairError("key", "must hold one private key in PEM; give the file that the certificate was made with")
    return Pair(chain, keys[0])


def problems(
    tls: Mapping[str, Any], names: Iterable[str], load: Load, now: datetime | None = None
) -> Iterator[Problem]:
    """The problems of the pair, each with its key of ``tls``."""
    now = now or datetime.now(UTC)
    try:
        pair = read(tls, load)
    except PairError as error:
        yield error.key, error.words
        return
    yield from _of_key(pair)
    for number, certificate in enumerate(pair.chain):
        yield from _of_dates(certificate, number, now)
    yield from _of_chain(pair.chain)
    yield from _of_names(pair.chain[0], names)


def _of_key(pair: Pair) -> Iterator[Problem]:
    try:
        key = serialization.load_pem_private_key(pair.key, password=None)
    except TypeError:
        yield "key", "has a passphrase, which nginx cannot ask for at boot; remove it: openssl pkey -in … -out …"
        return
    except (ValueError, UnsupportedAlgorithm):
        yield "key", "is damaged, or has a passphrase; openssl pkey -noout -in … says which"
        return
    public = key.public_key()
    if not isinstance(public, ALGORITHMS):
        yield "key", "is of a kind that browsers do not take; make an ECDSA or RSA key, and a certificate for it"
    elif isinstance(public, rsa.RSAPublicKey) and public.key_size < RSA_BITS:
        yield "key", f"is an RSA key of {public.key_size} bits; make one of {RSA_BITS}, and a certificate for it"
    fitting = [number for number, each in enumerate(pair.chain) if each.public_key() == public]
    if not fitting:
        yield "key", "is not that of the certificate; give the one that it was asked for with"
    elif fitting[0] != 0:
        yield "certificate", "must begin with the site's own certificate; put those of the authorities below it"


def _of_dates(certificate: x509.Certificate, number: int, now: datetime) -> Iterator[Problem]:
    whose = "" if number == 0 else f"certificate {number + 1} of the chain "
    if certificate.not_valid_after_utc <= now:
        yield "certificate", f"{whose}ended on {certificate.not_valid_after_utc:%Y-%m-%d}; get a new one"
    if certificate.not_valid_before_utc > now:
        yield (
            "certificate",
            f"{whose}begins on {certificate.not_valid_before_utc:%Y-%m-%d}, not yet; wait, or see this machine's clock",
        )


def _of_chain(chain: list[x509.Certificate]) -> Iterator[Problem]:
    for number, (each, issuer) in enumerate(itertools.pairwise(chain), 1):
        try:
            each.verify_directly_issued_by(issuer)
        except (ValueError, TypeError, InvalidSignature):
            yield (
                "chain",
                f"has a gap after certificate {number}: each must be issued by the next one; put them in order, and "
                "leave out what does not belong to it",
            )
            return


def _of_names(certificate: x509.Certificate, names: Iterable[str]) -> Iterator[Problem]:
    try:
        stated = certificate.extensions.get_extension_for_class(x509.SubjectAlternativeName).value
        covered = [name.lower() for name in stated.get_values_for_type(x509.DNSName)]
        addresses = set(stated.get_values_for_type(x509.IPAddress))
    except x509.ExtensionNotFound:
        covered, addresses = [], set()
    missing = [name for name in names if not fits(name.lower(), covered, addresses)]
    if missing:
        known = ", ".join([*covered, *map(str, addresses)]) or "no name at all"
        yield (
            "certificate",
            f"is not for {', '.join(missing)}, only for {known}; get one for all of server_names, or take them out",
        )


def fits(name: str, covered: Iterable[str], addresses: Iterable[object]) -> bool:
    """Whether a certificate for these names covers that name; a star matches one label."""
    try:
        return ipaddress.ip_address(name) in addresses
    except ValueError:
        pass
    star = "*." + name.partition(".")[2]
    return name in covered or star in covered
