"""A program of the engine as one file: the modules that it needs, zipped behind a first line that starts Python.

They are the very ones that the present step runs with. Ansible has sent them along, so nothing else needs to be
transferred, and what lies on the host does things as the playbooks do them.
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
    """The file that runs a module's `main` with the words of the command line; the same sources make the same bytes.

    :param module: below the engine, such as `site.cli`; whoever asks for it has to import it, so that Ansible sends it
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

    :param owner: part of the temporary name, where several steps may install the same program side by side
    """
    temporary = path.with_name(f".{path.name}.{owner}new")
    temporary.unlink(missing_ok=True)
    temporary.write_bytes(content)
    temporary.chmod(0o755)
    os.replace(temporary, path)


def needed(start: str) -> list[str]:
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
