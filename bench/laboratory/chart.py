"""Plots as SVG, drawn by hand: they need no library, and a change of figures is a small change of the file."""

from __future__ import annotations

import math
from collections.abc import Sequence
from html import escape

# Okabe and Ito's colours, which the colour-blind can tell apart.
COLOURS = ("#0072b2", "#e69f00", "#009e73", "#d55e00", "#cc79a7", "#56b4e9", "#7f7f7f", "#000000")
WIDTH = 800
STYLE = """text{font:13px system-ui,sans-serif;fill:#222}.title{font-size:16px;font-weight:600}.quiet{fill:#666}
.grid{stroke:#ddd}.axis{stroke:#666}.line{fill:none;stroke-width:2.2}"""

Point = tuple[float, float]


def label(value: float) -> str:
    """A short number."""
    for size, letter in ((1e6, "M"), (1e3, "k")):
        if abs(value) >= 10 * size or (abs(value) >= size and value % size == 0):
            return f"{value / size:g}{letter}"
    return f"{value:,.0f}" if abs(value) >= 100 else f"{value:.3g}"


def text(x: float, y: float, words: str, anchor: str = "start", kind: str = "") -> str:
    """Words at a place."""
    return f'<text x="{x:.1f}" y="{y:.1f}" text-anchor="{anchor}" class="{kind}">{escape(words)}</text>'


def line(x: float, y: float, to_x: float, to_y: float, kind: str = "grid") -> str:
    """A straight line."""
    return f'<line x1="{x:.1f}" y1="{y:.1f}" x2="{to_x:.1f}" y2="{to_y:.1f}" class="{kind}"/>'


def svg(title: str, height: float, parts: Sequence[str]) -> str:
    """The whole picture, on white: it must read on a dark page, too."""
    return "\n".join(
        [
            f'<svg xmlns="http://www.w3.org/2000/svg" viewBox="0 0 {WIDTH} {height:.0f}" role="img">',
            f"<title>{escape(title)}</title>",
            f"<style>{STYLE}</style>",
            f'<rect width="{WIDTH}" height="{height:.0f}" rx="6" fill="#fff"/>',
            text(20, 30, title, kind="title"),
            *parts,
            "</svg>\n",
        ]
    )


def legend(names: Sequence[str], y: float = 52) -> list[str]:
    """Which colour is what; nothing where there is only one."""
    parts, x = [], 20.0
    for name, colour in zip(names if len(names) > 1 else (), COLOURS, strict=False):
        width = 30 + 7.1 * len(name)
        if x + width > WIDTH - 20:
            x, y = 20.0, y + 20
        parts.append(f'<rect x="{x:.1f}" y="{y - 10:.1f}" width="11" height="11" rx="2" fill="{colour}"/>')
        parts.append(text(x + 16, y, name))
        x += width
    return parts


def legend_height(names: Sequence[str]) -> float:
    """How much room that takes."""
    ys = [float(part.split('y="')[1].split('"')[0]) for part in legend(names) if part.startswith("<text")]
    return max(ys) - 32 if ys else 0.0


def ticks(most: float) -> list[float]:
    """Four to eight round numbers from 0 on."""
    power = 10 ** math.floor(math.log10(most or 1))
    step = next(power * factor for factor in (0.1, 0.2, 0.25, 0.5, 1, 2) if most / (power * factor) <= 6)
    return [step * number for number in range(math.floor(most / step + 1e-9) + 1)]


def bars(title: str, unit: str, series: Sequence[str], groups: Sequence[tuple[str, Sequence[float]]]) -> str:
    """Bars to the right, in groups: a row for each, a colour for each of the series."""
    left = 24 + 6.9 * max(len(name) for name, _ in groups)
    right, thick, gap = WIDTH - 70, 13, 11
    top = 62 + legend_height(series)
    each = thick * len(series) + gap
    bottom = top + each * len(groups)
    most = max(value for _, figures in groups for value in figures) or 1
    scale = (right - left) / most
    parts = legend(series)
    for tick in ticks(most):
        x = left + tick * scale
        parts += [line(x, top, x, bottom), text(x, bottom + 17, label(tick), "middle", "quiet")]
    for row, (name, figures) in enumerate(groups):
        y = top + row * each + gap / 2
        parts.append(text(left - 8, y + thick * len(series) / 2 + 4.5, name, "end"))
        for number, value in enumerate(figures):
            place, colour = y + number * thick, COLOURS[number]
            wide = max(value * scale, 1)
            parts.append(
                f'<rect x="{left:.1f}" y="{place:.1f}" width="{wide:.1f}" height="{thick - 2}" fill="{colour}"/>'
            )
            parts.append(text(left + wide + 5, place + 10, label(value), kind="quiet"))
    parts += [line(left, top, left, bottom, "axis"), text((left + right) / 2, bottom + 37, unit, "middle", "quiet")]
    return svg(title, bottom + 50, parts)


def lines(
    title: str,
    across: str,
    upward: str,
    series: Sequence[tuple[str, Sequence[Point]]],
    *,
    log_up: bool = False,
    noted: tuple[float, str] | None = None,
) -> str:
    """Curves; a step to the right doubles, as clients and workers do.

    :param noted: a place on the way to the right, and what it is
    """
    names = [name for name, _ in series]
    left, right, top = 70.0, WIDTH - 30.0, 78 + legend_height(names)
    bottom = top + 290
    xs = sorted({x for _, points in series for x, _ in points})
    ys = [y for _, points in series for _, y in points]
    low, high = math.log2(xs[0]), math.log2(xs[-1])
    marks = decades(min(ys), max(ys)) if log_up else ticks(max(ys))
    floor, ceiling = (math.log10(marks[0]), math.log10(marks[-1])) if log_up else (0.0, max(max(ys), marks[-1]))

    def place(point: Point) -> Point:
        up = math.log10(max(point[1], marks[0])) if log_up else point[1]
        x = left + (math.log2(point[0]) - low) / ((high - low) or 1) * (right - left)
        return x, bottom - (up - floor) / ((ceiling - floor) or 1) * (bottom - top)

    parts = [*legend(names), text(20, top - 12, upward, kind="quiet")]
    for mark in marks:
        y = place((xs[0], mark))[1]
        parts += [line(left, y, right, y), text(left - 8, y + 4.5, label(mark), "end", "quiet")]
    for x in xs:
        parts.append(text(place((x, marks[-1]))[0], bottom + 18, label(x), "middle", "quiet"))
    parts.append(text((left + right) / 2, bottom + 38, across, "middle", "quiet"))
    if noted:
        x = place((noted[0], marks[-1]))[0]
        parts += [line(x, top, x, bottom, "axis"), text(x, top - 6, noted[1], "middle", "quiet")]
    for (_, points), colour in zip(series, COLOURS, strict=False):
        placed = [place(point) for point in points]
        path = " ".join(f"{x:.1f},{y:.1f}" for x, y in placed)
        parts.append(f'<polyline points="{path}" class="line" stroke="{colour}"/>')
        parts += [f'<circle cx="{x:.1f}" cy="{y:.1f}" r="3" fill="{colour}"/>' for x, y in placed]
    return svg(title, bottom + 52, parts)


def decades(least: float, most: float) -> list[float]:
    """Powers of ten around these."""
    first, last = math.floor(math.log10(max(least, 1e-3))), math.ceil(math.log10(max(most, 1e-3)))
    return [10.0**power for power in range(first, max(last, first + 1) + 1)]


def timelines(title: str, upward: str, panels: Sequence[tuple[str, Sequence[tuple[float, float, bool]], Point]]) -> str:
    """Panels one below the other, on one scale: a dot for each request, red and at the top if it was lost.

    :param panels: a title, (second, time, good) of each request, and from when to when the change went on
    """
    left, right, tall, gap = 70.0, WIDTH - 30.0, 130.0, 46.0
    good = [took for _, each, _ in panels for _, took, fine in each if fine]
    marks = decades(min(good), max(good))
    floor, ceiling = math.log10(marks[0]), math.log10(marks[-1])
    begin = min(at for _, each, _ in panels for at, _, _ in each)
    end = max(at for _, each, _ in panels for at, _, _ in each)
    across = (right - left) / ((end - begin) or 1)
    parts = [text(20, 52, upward, kind="quiet")]
    for number, (name, requests, (start, stop)) in enumerate(panels):
        top = 84 + number * (tall + gap)
        bottom = top + tall
        x, wide = left + (start - begin) * across, max((stop - start) * across, 1)
        parts.append(f'<rect x="{x:.1f}" y="{top:.1f}" width="{wide:.1f}" height="{tall:.1f}" fill="#f1f1f1"/>')
        parts.append(text(left, top - 8, name))
        for mark in marks:
            y = bottom - (math.log10(mark) - floor) / (ceiling - floor) * tall
            parts += [line(left, y, right, y), text(left - 8, y + 4.5, label(mark), "end", "quiet")]
        dots = {
            (round(left + (at - begin) * across, 1), round(height(took, fine, marks, top, tall), 1), fine)
            for at, took, fine in requests
        }
        for fine, colour in ((True, COLOURS[0]), (False, "#d00")):
            path = "".join(f"M{x:g} {y:g}h0" for x, y, kind in sorted(dots) if kind == fine)
            if path:
                width = 3 if fine else 6
                parts.append(f'<path d="{path}" stroke="{colour}" stroke-width="{width}" stroke-linecap="round"/>')
    last = 84 + len(panels) * (tall + gap) - gap
    for tick in ticks(end - begin):
        parts.append(text(left + tick * across, last + 18, f"{tick:g} s", "middle", "quiet"))
    return svg(title, last + 34, parts)


def height(took: float, good: bool, marks: Sequence[float], top: float, tall: float) -> float:
    """Where a request's dot is; that of a lost one above all."""
    if not good:
        return top + 4
    share = (math.log10(max(took, marks[0])) - math.log10(marks[0])) / math.log10(marks[-1] / marks[0])
    return top + tall - share * tall
