"""Builds single-file programs (zipapps) from the collection's modules.

The modules are those of the current step, which Ansible has sent already. So nothing else is transferred, and programs
on the host run the same code as the playbooks.
"""

from __future__ import annotations

import ast
import importlib.util
import io
import os
import zipfile
from pathlib import Path

ENGINE = "ansible_collections.wsgi.sites.plugins.module_utils"
FIRST_LINE = b"#!/usr/bin/python3 -I\n"
MAIN = """# Made from plugins/module_utils/{path}.py; edits here are lost.
import sys
from {engine}.{module} import main
sys.exit(main(sys.argv))
"""


def packed(module: str) -> bytes:
    """Build a program that runs a module's `main` with the command line; the same sources give the same bytes.

    :param module: below module_utils, such as `site.cli`; the caller must import it, so that Ansible sends it
    """
    main = MAIN.format(path=module.replace(".", "/"), engine=ENGINE, module=module)
    contents = {"__main__.py": main.encode()}
    modules = needed(f"{ENGINE}.{module}")
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


def install(path: Path, content: bytes, owner: str = "") -> None:
    """Write a program under a temporary name and rename it into place.

    :param owner: part of the temporary name, for steps that may install the same program concurrently
    """
    temporary = path.with_name(f".{path.name}.{owner}new")
    temporary.unlink(missing_ok=True)
    temporary.write_bytes(content)
    temporary.chmod(0o755)
    os.replace(temporary, path)


def needed(start: str) -> list[str]:
    """The modules that one needs, including itself, from its import statements."""
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
    """A module's source, from a folder or from Ansible's archive."""
    spec = importlib.util.find_spec(name)
    return spec.loader.get_data(spec.origin)  # type: ignore[union-attr]
