"""Fixtures for the tests of sources."""

from __future__ import annotations

import http.server
import threading
from collections.abc import Callable, Iterator
from pathlib import Path

import pytest
from repositories import Server, Work

from ansible_collections.wsgi.sites.plugins.plugin_utils.sources.source import source_folder


@pytest.fixture
def work(tmp_path: Path) -> Work:
    """A repository with one commit, tagged v1.0."""
    made = Work(tmp_path / "shop")
    made.commit(wsgi__py="app = 1\n", requirements__txt="", backend_in_wsgi__py="app = 2\n")
    made.git("tag", "-a", "v1.0", "-m", "first")
    return made


@pytest.fixture
def fetch(tmp_path: Path) -> Callable[..., tuple[Path, str]]:
    """Requests a source as a fork of a run does; another ``run`` is another run."""

    def ask(run: str = "run", cache: str = "cache", **source: str) -> tuple[Path, str]:
        return source_folder(source, tmp_path, tmp_path / run, tmp_path / cache)

    return ask


@pytest.fixture
def server(tmp_path: Path) -> Iterator[tuple[str, type[Server]]]:
    """``http://127.0.0.1:PORT`` and its recorded requests."""
    (tmp_path / "served").mkdir()
    handler = type("Handler", (Server,), {"folder": tmp_path / "served", "seen": []})
    with http.server.ThreadingHTTPServer(("127.0.0.1", 0), handler) as running:
        threading.Thread(target=running.serve_forever, daemon=True).start()
        yield f"127.0.0.1:{running.server_port}", handler
        running.shutdown()
