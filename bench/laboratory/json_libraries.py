"""JSON: the three libraries that the sample site can use, on its word list."""

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
SIZES = (10, 100, 1000)
SCRIPT = Path(__file__).with_name("json_timing.py")


def rows(quick: bool) -> list[str]:
    """What the report has a row for."""
    return [f"{library}, {size} words" for size in SIZES for library in LIBRARIES]


def steps(quick: bool) -> int:
    """How many measurements it makes."""
    return len(SIZES)


def measure(bench: Bench) -> Iterator[Row]:
    """Each size in a process of its own, which measures all libraries."""
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
        usual = {way: median(rows, "micros", library="json", words=size, way=way) for way in ("write", "read")}
        for library in unique(rows, "library"):
            line = [f"{library}, {size} words"]
            for way in ("write", "read"):
                found = values(rows, "micros", library=library, words=size, way=way)
                line += [
                    spread(found),
                    f"{usual[way] / median(rows, 'micros', library=library, words=size, way=way):.1f}",
                ]
            lines.append(line)
    return table(["library", "write, µs", "times as fast as json", "read, µs", "times as fast as json"], lines)


def plots(rows: list[Row]) -> dict[str, str]:
    """The longest list."""
    size = max(unique(rows, "words"))
    groups = [
        (library, [median(rows, "micros", library=library, words=size, way=way) for way in ("write", "read")])
        for library in unique(rows, "library")
    ]
    return {"json": chart.bars(f"JSON of {size} words", "microseconds", ["write", "read"], groups)}
