"""Where the project is, and its Python by path."""

from __future__ import annotations

import importlib.util
import sys
from pathlib import Path
from types import ModuleType

from ansible.plugins.loader import init_plugin_loader

PROJECT = Path(__file__).resolve().parents[2]
# The collection as Ansible finds it: `ansible_collections.wsgi.sites` is this checkout.
init_plugin_loader([str(PROJECT / "collections")])


def load(path: str) -> ModuleType:
    """Import a module or plugin of the collection by its path, e.g. ``plugins/modules/release_build.py``."""
    if path.startswith("plugins/"):
        return importlib.import_module("ansible_collections.wsgi.sites." + path.removesuffix(".py").replace("/", "."))
    spec = importlib.util.spec_from_file_location(Path(path).stem, PROJECT / path)
    assert spec is not None and spec.loader is not None
    module = importlib.util.module_from_spec(spec)
    sys.modules[spec.name] = module  # dataclasses look there
    spec.loader.exec_module(module)
    return module
