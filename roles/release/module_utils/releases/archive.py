"""SITE-ctl as one file: the modules that it needs, zipped behind a first line that starts Python.

They are the very ones that this step runs with. Ansible has sent them along, so nothing else needs to be transferred,
and what sits on the host does a switch as the playbooks do it.
"""

from __future__ import annotations

import ast
import importlib.util
import io
import zipfile

from ansible.module_utils.releases import console as _console  # noqa: F401 - Ansible sends what is imported

ROOTS = tuple(f"ansible.module_utils.{package}" for package in ("releases", "daemons", "certificates"))
FIRST_LINE = b"#!/usr/bin/python3 -I\n"
MAIN = """# Made by role site from roles/release/module_utils/releases/console.py; edits here are lost.
import sys
from ansible.module_utils.releases.console import main
sys.exit(main(sys.argv))
"""


def needed(start: str = f"{ROOTS[0]}.console") -> list[str]:
    """The modules that one needs, itself included, by its import lines."""
    found: set[str] = set()
    todo = {start}
    while todo:
        name = todo.pop()
        found.add(name)
        for node in ast.walk(ast.parse(source(name))):
            if isinstance(node, ast.ImportFrom) and node.module in ROOTS:
                todo |= {f"{node.module}.{alias.name}" for alias in node.names}
            elif isinstance(node, ast.ImportFrom) and node.module and node.module.rpartition(".")[0] in ROOTS:
                todo.add(node.module)
        todo -= found
    return sorted(found)


def source(name: str) -> bytes:
    """A module's source, whether it lies in a folder or in Ansible's own archive."""
    spec = importlib.util.find_spec(name)
    return spec.loader.get_data(spec.origin)  # type: ignore[union-attr]


def console() -> bytes:
    """The file; the same sources make the same bytes."""
    contents = {"__main__.py": MAIN.encode()}
    for package in ("ansible", "ansible.module_utils", *ROOTS):
        contents[package.replace(".", "/") + "/__init__.py"] = b""
    for name in needed():
        contents[name.replace(".", "/") + ".py"] = source(name)
    target = io.BytesIO(FIRST_LINE)
    target.seek(0, io.SEEK_END)
    with zipfile.ZipFile(target, "a") as zipped:
        for name, content in sorted(contents.items()):
            zipped.writestr(zipfile.ZipInfo(name), content, compress_type=zipfile.ZIP_DEFLATED)
    return target.getvalue()
