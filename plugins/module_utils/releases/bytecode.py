"""Bytecode of a release: compiled before the first start, or reused for unchanged source files."""

from __future__ import annotations

import contextlib
import importlib.util
import os
import subprocess
from collections.abc import Iterator, Sequence
from pathlib import Path

from ansible_collections.wsgi.sites.plugins.module_utils.releases.uv import PATIENCE
from ansible_collections.wsgi.sites.plugins.module_utils.system import trees


def take_over_bytecode(old: Path, new: Path) -> int:
    """Hard-link bytecode of an earlier venv into a new one where both have the same source file of uv's cache.

    :param old: an unchanged venv
    :returns: the number of reused files
    """
    taken = 0
    for compiled in _compiled(old / "lib"):
        # An unusual name, or a package that the new venv lacks, is no error: such files are compiled.
        with contextlib.suppress(ValueError, OSError):
            source = Path(importlib.util.source_from_cache(str(compiled))).relative_to(old)
            if os.path.samefile(old / source, new / source):
                place = new / compiled.relative_to(old)
                place.parent.mkdir(mode=0o755, exist_ok=True)
                place.hardlink_to(compiled)
                taken += 1
    return taken


def _compiled(folder: Path) -> Iterator[Path]:
    for path, _, files in trees.walk(folder):
        if os.path.basename(path) == "__pycache__":
            yield from (Path(path, name) for name in files if name.endswith(".pyc"))


def compile_bytecode(python: Path, folders: Sequence[Path], jobs: int = 0) -> None:
    """Compile before the first start, since the site's user cannot write beside the code.

    Not by uv's ``--compile-bytecode``, which starts the venv's Python as root and runs the code in ``.pth`` files of
    packages; ``-S`` reads none. Files that do not compile (such as code templates) are ignored.

    :param jobs: number of processes, 0 for one per CPU; compiled files are only checked
    """
    command = [str(python), "-I", "-S", "-m", "compileall", "-q", "-j", str(jobs), *map(str, folders)]
    subprocess.run(command, cwd="/", capture_output=True, check=False, timeout=PATIENCE)
