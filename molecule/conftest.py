"""The fixtures of all scenarios: `machine` is one host, `site` each site on it in turn, `sites` all of them."""

from __future__ import annotations

import pytest
from support import SITES, Machine, Site
from testinfra.host import Host


@pytest.fixture
def machine(host: Host) -> Machine:
    """The host of this test."""
    return Machine(host)


@pytest.fixture(params=sorted(SITES))
def site(machine: Machine, request: pytest.FixtureRequest) -> Site:
    """Each site of the site config."""
    return Site(machine, request.param, SITES[request.param])


@pytest.fixture
def sites(machine: Machine) -> list[Site]:
    """All sites of the site config, for tests whose event affects them all at once."""
    return [Site(machine, name, SITES[name]) for name in sorted(SITES)]


def pytest_collection_modifyitems(items: list[pytest.Item]) -> None:
    """Run tests that break something last, in their order: the others judge what the playbook has left."""
    items.sort(key=lambda item: item.get_closest_marker("breaks") is not None)
