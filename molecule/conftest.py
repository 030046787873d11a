"""The fixtures of all scenarios: `machine` is one host, `site` one site of the page on it."""

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
    """Each site that the page wants on the host."""
    return Site(machine, request.param, SITES[request.param])


def pytest_collection_modifyitems(items: list[pytest.Item]) -> None:
    """Tests that break something come last, in their order: the others judge what the playbook has left."""
    items.sort(key=lambda item: item.get_closest_marker("breaks") is not None)
