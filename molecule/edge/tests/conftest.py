"""The fixtures of this scenario."""

from __future__ import annotations

from collections.abc import Iterator

import pytest
from scanners import Scan
from support import PLATFORMS, SITES, Machine, Site, machine_of


@pytest.fixture
def shop(machine: Machine) -> Site:
    """The site under load."""
    return Site(machine, "shop", SITES["shop"])


@pytest.fixture(scope="session", autouse=True)
def scans(request: pytest.FixtureRequest) -> Iterator[dict[str, Scan]]:
    """A scan of each host, started before the first test, since it takes as long as the other tests together."""
    wanted = any("scanner" in item.name for item in request.session.items)
    made = {name: Scan(machine_of(name)) for name in PLATFORMS} if wanted else {}
    yield made
    for scan in made.values():
        scan.stop()


@pytest.hookimpl(trylast=True)
def pytest_collection_modifyitems(items: list[pytest.Item]) -> None:
    """Run the tests that wait for a scan last."""
    items.sort(key=lambda item: "scanner" in item.name)
