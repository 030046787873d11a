"""Where the project is, and its Python by path."""

from __future__ import annotations

import importlib
from pathlib import Path
from types import ModuleType

from ansible.plugins.loader import init_plugin_loader

PROJECT = Path(__file__).resolve().parents[2]
# The collection as Ansible finds it: `ansible_collections.wsgi.sites` is this checkout.
init_plugin_loader([str(PROJECT / "collections")])


def load(path: str) -> ModuleType:
    """Import a module or plugin of the collection by its path, e.g. ``plugins/modules/release_build.py``."""
    return importlib.import_module("ansible_collections.wsgi.sites." + path.removesuffix(".py").replace("/", "."))
