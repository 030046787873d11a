"""Shared by all tests: the collection's Python, importable by its real path."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path
from types import ModuleType

import pytest
from project import PROJECT, load
from xdist.scheduler import LoadScopeScheduling

# Fixtures; imported by pytest before any test, so that it rewrites their assertions.
pytest_plugins = ["supervised"]


# Their tests share costly fixtures, or must not run in parallel; other tests go to any free worker.
TOGETHER = ("test_host_authorities", "test_host_uv", "test_laboratory_runs", "test_render", "test_site_config")

# These take most of the time: they start real daemons, use a package index, or run whole playbooks.
# `bin/test` runs them, `bin/test quick` does not.
SLOW = (
    "test_autoscaler", "test_change_of_server", "test_cli", "test_host_uv", "test_laboratory_runs", "test_lock",
    "test_processes", "test_release_switch", "test_scaffold", "test_secrets", "test_supervisor_config", "test_uwsgi",
    "test_wheels", "test_worker_classes",
)  # fmt: skip


def pytest_collection_modifyitems(items: list[pytest.Item]) -> None:
    """Mark them, so that `-m "not slow"` leaves them out."""
    for item in items:
        if item.path.stem in SLOW:
            item.add_marker("slow")


class Scheduling(LoadScopeScheduling):
    """Distributes single tests, but some files as a whole."""

    def _split_scope(self, nodeid: str) -> str:
        file = nodeid.partition("::")[0]
        return file if Path(file).stem in TOGETHER else nodeid


def pytest_xdist_make_scheduler(config: pytest.Config, log: object) -> Scheduling:
    """The scheduling of pytest-xdist."""
    return Scheduling(config, log)


@pytest.fixture(scope="session")
def project() -> Path:
    """The project's root."""
    return PROJECT


@pytest.fixture(scope="session")
def plugin() -> Callable[[str], ModuleType]:
    """Imports a module or plugin of the collection by its path in the project."""
    return load
