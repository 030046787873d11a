"""SITE-ctl as one file: the modules that it needs, zipped behind a first line that starts Python.

They are the very ones that this step runs with. Ansible has sent them along, so nothing else needs to be transferred,
and what sits on the host does a switch as the playbooks do it.
"""

from __future__ import annotations

import ast
import importlib.util
import io
import zipfile

# Ansible sends to the host what is imported.
from ansible_collections.wsgi.sites.plugins.module_utils.site import cli as _cli  # noqa: F401

ENGINE = "ansible_collections.wsgi.sites.plugins.module_utils"
FIRST_LINE = b"#!/usr/bin/python3 -I\n"
MAIN = f"""# Made by role site from plugins/module_utils/site/cli.py; edits here are lost.
import sys
from {ENGINE}.site.cli import main
sys.exit(main(sys.argv))
"""


def needed(start: str = f"{ENGINE}.site.cli") -> list[str]:
    """The modules that one needs, itself included, by its import lines."""
    found: set[str] = set()
    todo = {start}
    while todo:
        name = todo.pop()
        found.add(name)
        for node in ast.walk(ast.parse(source(name))):
            if isinstance(node, ast.ImportFrom) and node.module and node.module.startswith(f"{ENGINE}."):
                todo |= set(imported(node.module, node.names))
        todo -= found
    return sorted(found)


def imported(origin: str, names: list[ast.alias]) -> list[str]:
    """The modules that `from origin import names` loads: names of a package are modules of it."""
    if origin.count(".") > ENGINE.count(".") + 1:
        return [origin]
    return [f"{origin}.{alias.name}" for alias in names]


def packages(modules: list[str]) -> set[str]:
    """Every package above these modules."""
    parts = [name.split(".") for name in modules]
    return {".".join(part[:depth]) for part in parts for depth in range(1, len(part))}


def source(name: str) -> bytes:
    """A module's source, whether it lies in a folder or in Ansible's own archive."""
    spec = importlib.util.find_spec(name)
    return spec.loader.get_data(spec.origin)  # type: ignore[union-attr]


def console() -> bytes:
    """The file; the same sources make the same bytes."""
    contents = {"__main__.py": MAIN.encode()}
    modules = needed()
    for package in packages(modules):
        contents[package.replace(".", "/") + "/__init__.py"] = b""
    for name in modules:
        contents[name.replace(".", "/") + ".py"] = source(name)
    target = io.BytesIO(FIRST_LINE)
    target.seek(0, io.SEEK_END)
    with zipfile.ZipFile(target, "a") as zipped:
        for name, content in sorted(contents.items()):
            zipped.writestr(zipfile.ZipInfo(name), content, compress_type=zipfile.ZIP_DEFLATED)
    return target.getvalue()
