"""What several rounds say together, in Markdown."""

from __future__ import annotations

import statistics
from collections.abc import Callable, Iterable, Sequence

from laboratory.bench import Row


def values(rows: Iterable[Row], of: str, **where: object) -> list[float]:
    """One figure of all rows that are of this kind."""
    return [row[of] for row in rows if all(row.get(key) == value for key, value in where.items())]


def middle(rows: Iterable[Row], of: str, **where: object) -> float:
    """Its median."""
    return statistics.median(values(rows, of, **where))


def number(value: float) -> str:
    """Three figures that count, and all before the point."""
    if abs(value) >= 100:
        return f"{value:,.0f}"
    return f"{value:.1f}" if abs(value) >= 10 else f"{value:.2f}"


def spread(found: Sequence[float], show: Callable[[float], str] = number) -> str:
    """The median, and the range if there is one."""
    text = show(statistics.median(found))
    return text if len(found) == 1 else f"{text} ({show(min(found))}-{show(max(found))})"


def table(head: Sequence[str], rows: Iterable[Sequence[str]]) -> str:
    """A Markdown table; all but the first column are figures."""
    lines = [list(head), ["---", *["---:"] * (len(head) - 1)], *map(list, rows)]
    return "\n".join(f"| {' | '.join(line)} |" for line in lines)


def in_order(rows: Iterable[Row], key: str) -> list[str]:
    """What stands under a key, each once, as first met."""
    return list(dict.fromkeys(row[key] for row in rows if key in row))
