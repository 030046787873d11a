"""The fixtures of this scenario: both hosts, the site on each, and newer versions of it."""

from __future__ import annotations

import shutil
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
from support import PROJECT, SITES, Machine, Site, machine_of, site_config

SOURCE = PROJECT / "molecule/deploy/ledger"


@pytest.fixture(scope="session")
def east() -> Machine:
    """The host with systemd."""
    return machine_of("east")


@pytest.fixture(scope="session")
def west() -> Machine:
    """The host without systemd."""
    return machine_of("west")


@pytest.fixture
def ledgers(east: Machine, west: Machine) -> list[Site]:
    """The site `ledger` on both hosts."""
    return [Site(machine, "ledger", SITES["ledger"]) for machine in (east, west)]


@pytest.fixture
def version(tmp_path: Path) -> Callable[..., dict[str, Any]]:
    """A function that returns a site config with other code of the ledger: ``version("two", schema=2)``."""

    def make(word: str, schema: int = 1, **keys: Any) -> dict[str, Any]:
        source = Path(shutil.copytree(SOURCE, tmp_path / word, ignore=shutil.ignore_patterns("__pycache__")))
        with (source / "wsgi.py").open("a") as code:
            code.write(f"# {tmp_path.name} {word}\n")
        text = (source / "schema.py").read_text()
        (source / "schema.py").write_text(text.replace("SCHEMA = 1", f"SCHEMA = {schema}"))
        return site_config(ledger={"source": {"path": str(source)}, **keys})

    return make
