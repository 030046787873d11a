"""Validation of the operator's certificate on the controller, without revealing the key."""

from __future__ import annotations

from pathlib import Path

import pytest
from certificates import DAY, Made, make, make_key

from ansible_collections.wsgi.sites.plugins.plugin_utils.config import certificate_files

NAMES = ["shop.example.com", "www.shop.example.com", "192.0.2.7", "2001:db8::7"]


@pytest.fixture(scope="module")
def root() -> Made:
    return make(authority=True, common_name="root")


@pytest.fixture(scope="module")
def between(root: Made) -> Made:
    return make(authority=True, by=root, common_name="between")


@pytest.fixture(scope="module")
def good(between: Made) -> Made:
    return make(*NAMES, by=between)


def judge(certificate: str, key: str, chain: str = "", names: list[str] | None = None) -> list[tuple[str, str]]:
    tls = {"certificate": certificate, "chain": chain, "key": key}
    found = list(
        certificate_files.problems(tls, NAMES if names is None else names, lambda path: Path(path).read_text())
    )
    for _, words in found:
        assert "BEGIN" not in words and not any(line in words for line in key.splitlines() if len(line) > 20)
    return found


def only(found: list[tuple[str, str]], key: str, words: str) -> None:
    assert [each[0] for each in found] == [key], found
    assert words in found[0][1], found


def test_a_valid_pair_is_accepted_in_every_form(good: Made, between: Made, tmp_path: Path) -> None:
    assert judge(good.pem, good.key, between.pem) == []
    assert judge(good.pem + between.pem, good.key) == []
    certificate, key = good.put(tmp_path, "good")
    assert judge(certificate, key, between.pem) == []
    tls = {"certificate": good.key + good.pem, "chain": between.pem, "key": key}
    pair = certificate_files.read(tls, lambda path: Path(path).read_text())
    assert pair.fullchain == good.pem + between.pem, "a key in the certificate's file is not copied"
    assert "BEGIN" not in repr(pair)


@pytest.mark.parametrize("kind", ["ecdsa", "rsa"])
def test_both_kinds_of_key_are_accepted(kind: str) -> None:
    made = make(*NAMES, key=make_key(kind))
    assert judge(made.pem, made.key) == []


def test_wildcards_cover_one_label_and_the_wildcard_name() -> None:
    made = make("*.example.com", "example.com")
    assert (
        judge(made.pem, made.key, names=["shop.example.com", "example.com", "*.example.com", "Shop.example.com"]) == []
    )
    only(judge(made.pem, made.key, names=["a.b.example.com"]), "certificate", "is not for a.b.example.com")
    only(judge(made.pem, made.key, names=["*.b.example.com"]), "certificate", "is not for *.b.example.com")


def test_a_missing_or_unreadable_file_is_named(good: Made, tmp_path: Path) -> None:
    only(judge("", good.key), "certificate", "is missing")
    only(judge(good.pem, ""), "key", "is missing")
    only(judge("no/such.pem", good.key), "certificate", "is no file on this machine")
    only(judge(good.pem, "MIGHAgEAMBMGByqGSM49\nAgEGCCqGSM49AwEHBG0w"), "key", "is no file on this machine")
    (tmp_path / "der").write_bytes(b"\x30\x82\xff")
    only(judge(str(tmp_path / "der"), good.key), "certificate", "cannot be read as PEM")
    only(judge(good.key, good.key), "certificate", "holds no certificate")
    only(judge(good.pem, good.pem), "key", "must hold one private key")
    only(judge(good.pem, good.key + good.key), "key", "must hold one private key")


def test_a_key_with_a_passphrase_is_refused(good: Made, between: Made) -> None:
    only(judge(good.pem, good.locked_key, between.pem), "key", "has a passphrase")


def test_a_key_of_another_certificate_is_refused(good: Made, between: Made) -> None:
    only(judge(good.pem, make().key, between.pem), "key", "is not that of the certificate")


def test_a_key_that_browsers_reject_is_refused() -> None:
    short, strange = make(*NAMES, key=make_key("rsa", 1024)), make(*NAMES, key=make_key("ed25519"))
    only(judge(short.pem, short.key), "key", "is an RSA key of 1024 bits")
    only(judge(strange.pem, strange.key), "key", "is of a kind that browsers do not take")


def test_an_expired_or_future_certificate_is_refused(between: Made, root: Made) -> None:
    old = make(*NAMES, by=between, begins=-9 * DAY, ends=-DAY)
    only(judge(old.pem, old.key, between.pem), "certificate", "ended on ")
    early = make(*NAMES, by=between, begins=DAY)
    only(judge(early.pem, early.key, between.pem), "certificate", "begins on ")
    gone = make(authority=True, by=root, common_name="gone", begins=-9 * DAY, ends=-DAY)
    late = make(*NAMES, by=gone)
    only(judge(late.pem, late.key, gone.pem), "certificate", "certificate 2 of the chain ended on ")


def test_a_chain_out_of_order_or_with_a_gap_is_refused(good: Made, between: Made, root: Made) -> None:
    assert judge(good.pem + between.pem + root.pem, good.key) == []
    only(judge(good.pem + root.pem + between.pem, good.key), "chain", "has a gap after certificate 1")
    only(judge(good.pem, good.key, make(authority=True, common_name="between").pem), "chain", "has a gap after")
    wrong = judge(between.pem + good.pem, good.key)
    assert ("certificate", "must begin with the site's own certificate; put those of the authorities below it") in wrong


def test_every_name_and_address_must_be_covered(good: Made, between: Made) -> None:
    missing = judge(good.pem, good.key, between.pem, names=[*NAMES, "new.example.com", "192.0.2.8"])
    only(
        missing, "certificate", "is not for new.example.com, 192.0.2.8, only for shop.example.com, www.shop.example.com"
    )
