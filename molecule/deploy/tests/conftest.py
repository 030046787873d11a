"""The fixtures of this scenario: both hosts at once, newer versions of a site, and sites to be hammered."""

from __future__ import annotations

import shutil
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
from reliability import Table
from rounds import machine_of
from support import PROJECT, SITES, Machine, Site, page
from tills import KINDS, Till, at_once, make

SOURCE = PROJECT / "molecule/deploy/ledger"


@pytest.fixture(scope="session")
def east() -> Machine:
    """The host with systemd."""
    return machine_of("east")


@pytest.fixture(scope="session")
def west() -> Machine:
    """The host without."""
    return machine_of("west")


@pytest.fixture
def ledgers(east: Machine, west: Machine) -> list[Site]:
    """The site that things happen to, on both hosts."""
    return [Site(machine, "ledger", SITES["ledger"]) for machine in (east, west)]


@pytest.fixture
def version(tmp_path: Path) -> Callable[..., dict[str, Any]]:
    """Makes pages on which the ledger's code is another: ``version("two", schema=2)``."""

    def make(word: str, schema: int = 1, **keys: Any) -> dict[str, Any]:
        source = Path(shutil.copytree(SOURCE, tmp_path / word, ignore=shutil.ignore_patterns("__pycache__")))
        with (source / "wsgi.py").open("a") as code:
            code.write(f"# {tmp_path.name} {word}\n")
        text = (source / "schema.py").read_text()
        (source / "schema.py").write_text(text.replace("SCHEMA = 1", f"SCHEMA = {schema}"))
        return page(ledger={"source": {"path": str(source)}, **keys})

    return make


@pytest.fixture(scope="session")
def table() -> Table:
    """What was tried under load, and what came of it."""
    return Table(PROJECT / "build/reliability.md")


@pytest.fixture(scope="session")
def tills(east: Machine, tmp_path_factory: pytest.TempPathFactory) -> list[Till]:
    """A site of each worker class, live on the first host. They are on no page but their own."""
    tills = [make(east, kind, tmp_path_factory.mktemp("tills")) for kind in KINDS]
    at_once(tills, lambda till: till.well("deploy"))
    return tills
