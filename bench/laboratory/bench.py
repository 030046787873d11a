"""What every experiment gets: the scale of the run, and the packages and files of the servers."""

from __future__ import annotations

import contextlib
import os
import shutil
import sqlite3
import stat
import tempfile
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from measuring.commands import ROOT, command
from measuring.progress import Progress

PYTHON = ROOT / ".venv-bench" / "bin" / "python"
SITE = Path(__file__).with_name("site")
CPUS = len(os.sched_getaffinity(0))
# The rule of thumb that `workers: auto` follows.
WORKERS = 2 * CPUS + 1

Row = dict[str, Any]


@dataclass
class Bench:
    """One run of the experiments.

    :param library: the packages of the servers, readable for every user
    :param python: its Python, by a path outside of the project, which other users may not be able to read
    """

    quick: bool
    progress: Progress
    library: Path
    python: str

    def choose(self, full: Any, quick: Any) -> Any:
        """One of these, for a full or a scaled-down run."""
        return quick if self.quick else full

    def end(self, text: str, row: Row) -> Row:
        """Report the end of a measurement, and return its row."""
        self.progress.end(text)
        return row


@contextlib.contextmanager
def opened(quick: bool, steps: int) -> Iterator[Bench]:
    """A bench whose packages the servers' users can read."""
    packages = Path(command(PYTHON, "-c", "import sysconfig; print(sysconfig.get_path('purelib'))"))
    python = command(PYTHON, "-c", "import os, sys; print(os.path.join(sys.base_prefix, 'bin', 'python3'))")
    # Compiled, as after a deploy: a server cannot write here, and would compile everything at each start.
    command(python, "-m", "compileall", "-q", packages, timeout=600)
    with contextlib.ExitStack() as stack:
        if not all(place.stat().st_mode & stat.S_IXOTH for place in packages.parents):
            copy = stack.enter_context(folder("library")) / "packages"
            packages = Path(shutil.copytree(packages, copy, ignore=shutil.ignore_patterns("pip", "setuptools", "uv")))
        yield Bench(quick, Progress(steps), packages, python)


@contextlib.contextmanager
def folder(name: str) -> Iterator[Path]:
    """A temporary folder that a site's user and nginx can read."""
    made = Path(tempfile.mkdtemp(prefix=name, dir="/tmp"))
    made.chmod(0o755)
    try:
        yield made
    finally:
        shutil.rmtree(made)


def write_site(target: Path) -> dict[str, str]:
    """Write the measured site into a release; return its environment."""
    shutil.copytree(SITE, target, dirs_exist_ok=True, ignore=shutil.ignore_patterns("__pycache__"))
    (target / "static").mkdir(exist_ok=True)
    for name, size in FILES.items():
        # Random bytes, which gzip cannot compress: both sides send as many.
        (target / "static" / name).write_bytes(os.urandom(size))
    words = target / "words.db"
    with contextlib.closing(sqlite3.connect(words)) as database:
        database.execute("CREATE TABLE words (id INTEGER PRIMARY KEY, english TEXT, chinese TEXT, example TEXT)")
        rows = [(f"word {number:04}", f"词 {number}", "The train is on time.") for number in range(1000)]
        database.executemany("INSERT INTO words (english, chinese, example) VALUES (?, ?, ?)", rows)
        database.execute("CREATE INDEX by_english ON words (english)")
        database.commit()
    return {"WORDS": str(words)}


FILES = {"small.bin": 1_000, "page.bin": 30_000, "picture.bin": 300_000}
