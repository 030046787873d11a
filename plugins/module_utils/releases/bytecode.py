"""Bytecode of a release: compiled before the first start, or taken over where the source is the same file."""

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
    """Link what was compiled for an earlier venv into a new one, where the source is the same file of uv's cache.

    :param old: a venv whose files are as they were built
    :returns: how many files need not be compiled again
    """
    taken = 0
    for compiled in _compiled(old / "lib"):
        # Another name than Python gives, a package that the new venv has not: no reason to fail, that gets compiled.
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
    """Compile before the first start: afterwards the site's user may not write beside the code.

    Not by uv's ``--compile-bytecode``, which starts the venv's Python as root, and so the code in any ``.pth`` file of
    a package; ``-S`` reads none. Files that do not compile (templates of code, say) are not this step's business.

    :param jobs: processes at work, 0 for one a CPU; what is already compiled is only looked at
    """
    command = [str(python), "-I", "-S", "-m", "compileall", "-q", "-j", str(jobs), *map(str, folders)]
    subprocess.run(command, cwd="/", capture_output=True, check=False, timeout=PATIENCE)
