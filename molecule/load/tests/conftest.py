"""The fixtures of this scenario: the host, the shops on it, and the table of results."""

from __future__ import annotations

import pytest
from reliability import Table
from shops import SERVER_KINDS, Shop, make
from support import PROJECT, SITES, Machine, Site, machine_of


@pytest.fixture(scope="session")
def market() -> Machine:
    """The host of the shops."""
    return machine_of("market")


@pytest.fixture(scope="session")
def table() -> Table:
    """A row for each event under load."""
    return Table(PROJECT / "build/reliability.md")


@pytest.fixture(scope="session")
def shops(market: Machine, tmp_path_factory: pytest.TempPathFactory) -> list[Shop]:
    """A site of each server kind; the tests change its code and its entry in the site config."""
    return [make(market, f"shop_{kind}", tmp_path_factory.mktemp("shops")) for kind in SERVER_KINDS]


@pytest.fixture(scope="session")
def two_shops(shops: list[Shop]) -> list[Shop]:
    """One shop of each server, for events that do not depend on the worker class."""
    return [shop for shop in shops if shop.name in ("shop_gthread", "shop_uwsgi")]


@pytest.fixture(scope="session")
def neighbour(market: Machine) -> Site:
    """Another site on the host, to which nothing is deployed."""
    return Site(market, "neighbour", SITES["neighbour"])
