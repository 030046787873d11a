"""Fixtures for the tests of releases."""

from __future__ import annotations

import os
from pathlib import Path

import pytest
from releases import HASHED

from ansible_collections.wsgi.sites.plugins.module_utils.releases import (
    decision,
)
from ansible_collections.wsgi.sites.plugins.module_utils.site import paths


@pytest.fixture
def source(tmp_path: Path) -> Path:
    """A small site, with files that must not be packed."""
    folder = tmp_path / "source"
    for name, content in {
        "wsgi.py": "def app(environ, start_response): return []\n",
        "static/style.css": "body {}\n",
        "shop/instance/code.py": "",
        "requirements.txt": HASHED,
        ".git/config": "",
        "__pycache__/wsgi.pyc": "",
        "shop/__pycache__/x.pyc": "",
        "stray.pyc": "",
        ".venv/bin/python": "",
        "node_modules/x/index.js": "",
        ".pytest_cache/x": "",
        "instance/local.sqlite": "",
    }.items():
        path = folder / name
        path.parent.mkdir(parents=True, exist_ok=True)
        path.write_text(content, encoding="utf-8")
    (folder / "run").write_text("#!/bin/sh\n", encoding="utf-8")
    (folder / "run").chmod(0o755)
    (folder / "css").symlink_to("static")
    return folder


@pytest.fixture
def site(tmp_path: Path, monkeypatch) -> paths.Layout:
    """A site on a host in a folder."""
    monkeypatch.setattr(paths, "RUN", tmp_path / "run")
    monkeypatch.setattr(paths, "PROGRAMS", tmp_path / "programs")
    (tmp_path / "programs").mkdir()
    monkeypatch.setattr(decision, "healthy", lambda *_: (True, ""))
    if os.geteuid() != 0:
        monkeypatch.setattr(os, "fchown", lambda *_: None)
    return paths.Layout("shop", tmp_path / "srv")
