"""The environment of a release: its format, and the values that are masked."""

from __future__ import annotations

import json
from pathlib import Path

import pytest
from releases import NASTY

from ansible_collections.wsgi.sites.plugins.module_utils.launcher.release import Release
from ansible_collections.wsgi.sites.plugins.module_utils.releases import (
    environment,
)
from ansible_collections.wsgi.sites.plugins.module_utils.site import paths


def test_the_environment_survives_the_round_trip() -> None:
    text = environment.format_environment(NASTY)
    assert environment.parse_environment(text) == NASTY
    assert len(text.splitlines()) == len(NASTY), "one value a line, however lines are counted"


def test_the_launcher_reads_the_same_environment(tmp_path: Path) -> None:
    (tmp_path / "environment").write_text(environment.format_environment(NASTY), encoding="utf-8")
    release = Release(paths.Layout("shop", tmp_path), tmp_path, {"user": "shop"})
    assert NASTY.items() <= release.environment().items()


def test_values_of_the_operator_take_precedence() -> None:
    values = environment.release_environment({"SITE_NAME": "mine"}, "shop", "ID", Path("/srv/shop"), 1024)
    assert values == {
        "SITE_NAME": "mine",
        "SITE_RELEASE": "ID",
        "SITE_SHARED": "/srv/shop/shared",
        "SITE_MAX_BODY": "1024",
    }


def test_secrets_are_masked_in_all_their_forms() -> None:
    values = {
        "TOKEN": "first-line\nsecond-line",
        "DATABASE_URL": "postgres://me:p%40ssword@db/x",
        "QUOTED": 'it\'s "quoted"',
    }
    text = "\n".join([
        repr(values["TOKEN"]), json.dumps(values["TOKEN"]), "only second-line here", values["DATABASE_URL"],
        "wrong password p@ssword for user me", json.dumps(values["QUOTED"]), repr(values["QUOTED"]),
        "os.environ['TOKEN']",
        "TOKENIZER is another word", "SECRET_KEY is not set",
    ])  # fmt: skip
    masked = environment.mask(text, {**values, "SECRET_KEY": "0123456789abcdef"})
    for secret in ("first-line", "second-line", "p@ss", "p%40ss", "quoted", "'TOKEN'"):
        assert secret not in masked
    assert "TOKENIZER" in masked
    assert "SECRET_KEY is not set" in masked


def test_values_become_text_and_errors_show_neither_name_nor_value() -> None:
    assert environment.as_texts({"A": 1, "B": True, "C": "x"}) == {"A": "1", "B": "true", "C": "x"}
    for bad in (
        {"A": ["canary"]},
        {"canary-name": "x"},
        {"A": "canary\0"},
        {"A": "canary\udc80"},
        ["canary"],
        "canary",
    ):
        with pytest.raises(environment.EnvironmentFault) as error:
            environment.as_texts(bad)
        assert "canary" not in str(error.value)
