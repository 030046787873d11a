"""The fixtures of this scenario."""

from __future__ import annotations

import pytest
from support import SITES, Machine, Site


@pytest.fixture
def shop(machine: Machine) -> Site:
    """The site that is hammered."""
    return Site(machine, "shop", SITES["shop"])
