"""Plots as SVG. Text stays text, ids are stable and no date is written, so that new figures make a small diff."""

from __future__ import annotations

import io
import math
from collections.abc import Sequence
from typing import Any

import matplotlib
from matplotlib.axes import Axes
from matplotlib.figure import Figure
from matplotlib.patches import PathPatch
from matplotlib.path import Path
from matplotlib.ticker import FuncFormatter, NullFormatter
from measuring.tables import number

# Okabe and Ito's colours, which the colour-blind can tell apart.
COLOURS = ("#0072b2", "#e69f00", "#009e73", "#d55e00", "#cc79a7", "#56b4e9", "#7f7f7f", "#000000")
LOST = "#dd0000"
WIDTH = 8.0
STYLE = {
    "svg.fonttype": "none",
    "svg.hashsalt": "wsgi.sites",
    "font.family": "sans-serif",
    "axes.axisbelow": True,
    "axes.edgecolor": "#666666",
    "axes.grid": True,
    "axes.prop_cycle": matplotlib.cycler(color=COLOURS),
    "axes.spines.right": False,
    "axes.spines.top": False,
    "figure.constrained_layout.use": True,
    "grid.color": "#dddddd",
    "legend.frameon": False,
    "path.simplify": False,
}

Point = tuple[float, float]
Request = tuple[float, float, bool]


@matplotlib.rc_context(STYLE)
def bars(title: str, unit: str, series: Sequence[str], groups: Sequence[tuple[str, Sequence[float]]]) -> str:
    """Horizontal bars: a group for each row, a colour for each of the series."""
    figure = Figure((WIDTH, 1.3 + (0.17 * len(series) + 0.13) * len(groups)))
    axes = figure.subplots()
    names, rows = zip(*groups, strict=True)
    drawn = axes.grouped_bar(
        list(zip(*rows, strict=True)),
        tick_labels=names,
        labels=series,
        colors=COLOURS,
        orientation="horizontal",
        group_spacing=0.8,
    )
    for container in drawn.bar_containers:
        axes.bar_label(container, fmt=number, padding=3, fontsize="small")
    axes.invert_yaxis()
    axes.grid(visible=False, axis="y")
    axes.margins(x=0.1, y=0.02)
    axes.set_xlabel(unit)
    axes.xaxis.set_major_formatter(FuncFormatter(plain))
    return svg(figure, title, axes)


@matplotlib.rc_context(STYLE)
def lines(
    title: str,
    across: str,
    upward: str,
    series: Sequence[tuple[str, Sequence[Point]]],
    *,
    log_up: bool = False,
    noted: tuple[float, str] | None = None,
) -> str:
    """Curves over a horizontal axis on which each step doubles, as numbers of clients and workers do.

    :param noted: a value on the horizontal axis, and its label
    """
    figure = Figure((WIDTH, 4.2))
    axes = figure.subplots()
    for name, points in series:
        axes.plot(*zip(*points, strict=True), marker="o", markersize=4, label=name)
    axes.set_xscale("log", base=2)
    axes.set_xticks(sorted({x for _, points in series for x, _ in points}))
    axes.xaxis.set_minor_formatter(NullFormatter())
    if log_up:
        axes.set_yscale("log")
    else:
        axes.set_ylim(bottom=0)
    for axis in (axes.xaxis, axes.yaxis):
        axis.set_major_formatter(FuncFormatter(plain))
    axes.set_xlabel(across)
    axes.set_ylabel(upward)
    if noted:
        axes.axvline(noted[0], color="#666666", linewidth=1)
        axes.annotate(
            noted[1], (noted[0], 1), (4, -2), xycoords=("data", "axes fraction"), textcoords="offset points", va="top"
        )
    return svg(figure, title, axes)


@matplotlib.rc_context(STYLE)
def timelines(title: str, upward: str, panels: Sequence[tuple[str, Sequence[Request], Point]]) -> str:
    """Panels on one scale, one below the other: a dot for each request, red and at the top if it was lost.

    :param panels: a title; (second, time, good) of each request; the start and the end of the change
    """
    figure = Figure((WIDTH, 1 + 1.8 * len(panels)))
    columns = figure.subplots(len(panels), sharex=True, sharey=True, squeeze=False)[:, 0]
    for axes, (name, requests, change) in zip(columns, panels, strict=True):
        axes.axvspan(*change, color="#f1f1f1", zorder=0)
        dots(axes, {pixel(at, took) for at, took, good in requests if good}, COLOURS[0], 3)
        if lost := {(round(at, 2), 0.96) for at, _, good in requests if not good}:
            dots(axes, lost, LOST, 6, transform=axes.get_xaxis_transform())
        axes.set_yscale("log")
        axes.yaxis.set_major_formatter(FuncFormatter(plain))
        axes.set_title(name, loc="left", fontsize="medium")
    columns[-1].set_xlabel("seconds")
    figure.supylabel(upward, fontsize="medium")
    return svg(figure, title)


def pixel(second: float, milliseconds: float) -> Point:
    """The place of a dot, coarse enough that dots which would hide each other are drawn once."""
    return round(second * 50) / 50, 10 ** (round(math.log10(milliseconds) * 20) / 20)


def dots(axes: Axes, points: set[Point], colour: str, size: float, **options: Any) -> None:
    """Dots as one path of zero-length lines, which takes half the bytes of as many markers."""
    path = Path([each for point in sorted(points) for each in (point, point)], [Path.MOVETO, Path.LINETO] * len(points))
    axes.add_patch(PathPatch(path, edgecolor=colour, fill=False, linewidth=size, capstyle="round", **options))


def plain(value: float, _position: int) -> str:
    """A tick's number, without an exponent."""
    return f"{value:,g}" if value < 1e6 else f"{value:,.0f}"


def svg(figure: Figure, title: str, legend: Axes | None = None) -> str:
    """The figure as a file's text; the legend is above the axes, and left out for a single series."""
    if legend and len(legend.get_legend_handles_labels()[1]) > 1:
        legend.legend(loc="lower left", bbox_to_anchor=(0, 1), ncols=4, columnspacing=1.2, fontsize="small")
    figure.suptitle(title, x=0.02, ha="left", fontweight="bold")
    text = io.StringIO()
    figure.savefig(text, format="svg", metadata={"Title": title, "Date": None, "Creator": None})
    return text.getvalue()
