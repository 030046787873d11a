"""The fixtures of all scenarios: `machine` is one host, `site` one site of the page on it."""

from __future__ import annotations

import pytest
from support import PAGE, Machine, Site
from testinfra.host import Host

HERE = sorted(name for name, entry in PAGE["sites"].items() if entry.get("state", "present") == "present")


@pytest.fixture
def machine(host: Host) -> Machine:
    """The host of this test."""
    return Machine(host)


@pytest.fixture(params=HERE)
def site(machine: Machine, request: pytest.FixtureRequest) -> Site:
    """Each site that the page wants on the host."""
    return Site(machine, request.param, PAGE["sites"][request.param])
