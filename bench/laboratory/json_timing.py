"""Times the sample site's JSON libraries, with the packages of that site. Arguments: WORDS ROUNDS SECONDS."""

from __future__ import annotations

import itertools
import json
import sys
import time
from collections.abc import Callable
from datetime import UTC, datetime
from typing import Any

from wordbook.json_provider import LIBRARIES
from wordbook.samples import SAMPLES


def word_list(size: int) -> list[dict[str, Any]]:
    """Words as the API returns them."""
    added = datetime(2026, 1, 1, 12, 0, tzinfo=UTC)
    return [
        {"id": number, "english": english, "chinese": chinese, "example": example, "meaning": meaning, "added": added}
        for number, (english, chinese, example, meaning) in zip(range(size), itertools.cycle(SAMPLES), strict=False)
    ]


def micros(what: Callable[[], object], seconds: float) -> float:
    """Microseconds of one call: the mean of all calls within these seconds."""
    calls, end, began = 0, time.perf_counter() + seconds, time.perf_counter()
    while time.perf_counter() < end:
        what()
        calls += 1
    return (time.perf_counter() - began) / calls * 1e6


def main(size: int, rounds: int, seconds: float) -> list[dict[str, Any]]:
    """Every library and operation, in turn."""
    words, rows = {"words": word_list(size)}, []
    for turn in range(rounds):
        for name, library in LIBRARIES.items():
            text = library.dumps(words)
            for operation, what in (
                ("write", lambda library=library: library.dumps(words)),
                ("read", lambda library=library, text=text: library.loads(text)),
            ):
                took = round(micros(what, seconds), 2)
                rows.append({"library": name, "words": size, "operation": operation, "round": turn, "micros": took})
    return rows


print(json.dumps(main(int(sys.argv[1]), int(sys.argv[2]), float(sys.argv[3]))))
