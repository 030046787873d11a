"""Figures of several rounds, chosen from an experiment's rows."""

from __future__ import annotations

import statistics
from collections.abc import Iterable

from laboratory.bench import Row


def values(rows: Iterable[Row], of: str, **where: object) -> list[float]:
    """One figure of all rows that match."""
    return [row[of] for row in rows if all(row.get(key) == value for key, value in where.items())]


def median(rows: Iterable[Row], of: str, **where: object) -> float:
    """The median of that figure."""
    return statistics.median(values(rows, of, **where))


def unique(rows: Iterable[Row], key: str) -> list[str]:
    """The values of a key, each once, in order of appearance."""
    return list(dict.fromkeys(row[key] for row in rows if key in row))
