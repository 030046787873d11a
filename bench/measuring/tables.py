"""Figures as text: a median with its range, and Markdown tables that a terminal shows in columns, too."""

from __future__ import annotations

import statistics
from collections.abc import Callable, Iterable, Sequence

from tabulate import tabulate

NONE = "-"


def number(value: float) -> str:
    """Three significant figures, and all digits before the point."""
    if abs(value) >= 100:
        return f"{value:,.0f}"
    return f"{value:.1f}" if abs(value) >= 10 else f"{value:.2f}"


def spread(found: Sequence[float], show: Callable[[float], str] = number) -> str:
    """The median, and the range if there is one."""
    if not found:
        return NONE
    text = show(statistics.median(found))
    return text if len(found) == 1 else f"{text} ({show(min(found))}-{show(max(found))})"


def table(head: Sequence[str], rows: Iterable[Sequence[str]]) -> str:
    """A Markdown table; all columns but the first are figures."""
    align = ["left", *["right"] * (len(head) - 1)]
    return tabulate(list(rows), head, tablefmt="pipe", colalign=align, disable_numparse=True)
