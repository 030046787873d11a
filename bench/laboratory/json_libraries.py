"""JSON libraries of the sample site, measured on its word list."""

from __future__ import annotations

import json
import os
import subprocess
from collections.abc import Iterator
from pathlib import Path

from measuring.commands import ROOT, BenchError
from measuring.tables import spread, table

from laboratory import chart
from laboratory.bench import Bench, Row
from laboratory.rows import median, unique, values

TITLE = "JSON libraries"
TEXT = """The libraries that `JSON_LIBRARY` of the sample site selects: the time to write the word list, and to read it,
through the site's own provider (`app/wordbook/json_provider.py`), in one process, the libraries taking turns."""

LIBRARIES = ("json", "simplejson", "orjson")
OPERATIONS = ("write", "read")
SIZES = (10, 100, 1000)
SCRIPT = Path(__file__).with_name("json_timing.py")


def rows(quick: bool) -> list[str]:
    """The rows of the report."""
    return [f"{library}, {size} words" for size in SIZES for library in LIBRARIES]


def steps(quick: bool) -> int:
    """The number of measurements."""
    return len(SIZES)


def measure(bench: Bench) -> Iterator[Row]:
    """Each size in a separate process, which measures all libraries."""
    rounds, seconds = bench.choose((7, 0.5), (2, 0.02))
    for size in SIZES:
        bench.progress.now(f"{size} words")
        words = [bench.python, str(SCRIPT), str(size), str(rounds), str(seconds)]
        environment = {**os.environ, "PYTHONPATH": f"{bench.library}:{ROOT / 'app'}"}
        done = subprocess.run(words, env=environment, capture_output=True, text=True, check=False)
        if done.returncode:
            raise BenchError(f"the libraries could not be measured:\n{done.stderr}")
        found = json.loads(done.stdout)
        yield from found[:-1]
        yield bench.end(f"{size} words: {len(found)} figures", found[-1])


def report(rows: list[Row]) -> str:
    """A row for each library and size."""
    lines = []
    for size in unique(rows, "words"):
        for library in unique(rows, "library"):
            line = [f"{library}, {size} words"]
            for operation in OPERATIONS:
                found = values(rows, "micros", library=library, words=size, operation=operation)
                speed = micros(rows, "json", size, operation) / micros(rows, library, size, operation)
                line += [spread(found), f"{speed:.1f}"]
            lines.append(line)
    return table(["library", "write, µs", "speed relative to json", "read, µs", "speed relative to json"], lines)


def plots(rows: list[Row]) -> dict[str, str]:
    """Times for the longest list."""
    size = max(unique(rows, "words"))
    groups = [
        (library, [micros(rows, library, size, operation) for operation in OPERATIONS])
        for library in unique(rows, "library")
    ]
    return {"json": chart.bars(f"JSON of {size} words", "microseconds", OPERATIONS, groups)}


def micros(rows: list[Row], library: str, size: int, operation: str) -> float:
    """The median time of an operation."""
    return median(rows, "micros", library=library, words=size, operation=operation)
