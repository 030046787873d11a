"""Run a command; a failure is a BenchError that shows its output."""

from __future__ import annotations

import os
import shlex
import shutil
import subprocess
import sys
from pathlib import Path
from typing import IO

ROOT = Path(__file__).resolve().parents[2]
WORK = ROOT / "build" / "bench"


class BenchError(Exception):
    """A run that cannot be measured."""


def command(*words: str | Path, timeout: float = 60, stdin: IO[bytes] | int = subprocess.DEVNULL) -> str:
    """Run a command and return its output."""
    try:
        done = subprocess.run(
            [str(word) for word in words], capture_output=True, text=True, timeout=timeout, stdin=stdin, cwd=ROOT
        )
    except FileNotFoundError:
        raise BenchError(f"there is no {words[0]} here; install it first") from None
    except subprocess.TimeoutExpired:
        raise BenchError(f"gave up after {timeout:.0f} s: {shlex.join(map(str, words))}") from None
    if done.returncode:
        raise BenchError(f"{shlex.join(map(str, words))}\n{(done.stderr or done.stdout).strip()}")
    return done.stdout.strip()


def find_ansible() -> Path:
    """The ansible-playbook of this environment, of the project's, or of PATH."""
    places = [Path(sys.executable).parent, ROOT / ".venv-test" / "bin", ROOT / ".venv" / "bin"]
    found = shutil.which("ansible-playbook", path=os.pathsep.join([*map(str, places), os.environ.get("PATH", "")]))
    if not found:
        raise BenchError("there is no ansible-playbook here: bin/site or bin/test sets one up, in .venv or .venv-test")
    return Path(found)
