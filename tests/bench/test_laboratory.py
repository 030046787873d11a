"""Tables and plots of bench/run. test_laboratory_runs.py runs the experiments."""

from __future__ import annotations

import difflib
import json
import re
import sys
from pathlib import Path
from xml.etree import ElementTree

import pytest

ROOT = Path(__file__).resolve().parents[2]
sys.path.insert(0, str(ROOT / "bench"))

from laboratory import blocking, chain, chart, growth, report  # noqa: E402
from laboratory.bench import WORKERS  # noqa: E402
from laboratory.cases import DEFAULT, SERVERS, TUTORIAL, VARIANTS  # noqa: E402
from measuring import tables  # noqa: E402
from measuring.commands import BenchError  # noqa: E402

SVG = "{http://www.w3.org/2000/svg}"


def drawn(svg: str) -> ElementTree.Element:
    return ElementTree.fromstring(svg)  # noqa: S314 - our own


def words(svg: str) -> list[str]:
    return [str(each.text) for each in drawn(svg).iter(f"{SVG}text")]


@pytest.mark.parametrize(("found", "text"), [
    ([1234.5], "1,234"),
    ([12.34, 5.0, 100.4], "12.3 (5.00-100)"),
    ([0.5, 0.25], "0.38 (0.25-0.50)"),
])  # fmt: skip
def test_several_rounds_are_shown_as_a_median_and_a_range(found: list[float], text: str) -> None:
    assert tables.spread(found) == text


def figures(path: ElementTree.Element) -> list[float]:
    return [float(each) for each in re.findall(r"-?[0-9.]+", str(path.get("d")))]


def filled(svg: str, colour: str) -> list[ElementTree.Element]:
    return [each for each in drawn(svg).iter(f"{SVG}path") if f"fill: {colour}" in str(each.get("style"))]


def stroked(svg: str, colour: str) -> list[list[float]]:
    return [figures(each) for each in drawn(svg).iter(f"{SVG}path") if f"stroke: {colour}" in str(each.get("style"))]


def test_the_length_of_a_bar_matches_its_figure() -> None:
    svg = chart.bars("Which <wins>?", "a second", ["one", "two"], [("a", [50, 100]), ("b", [0, 25])])
    # The first rows of each colour are bars, the last one is its mark in the legend.
    widths = [max(xs) - min(xs) for colour in chart.COLOURS[:2] for path in filled(svg, colour)[:2]
              for xs in [figures(path)[0::2]]]  # fmt: skip
    assert [round(width / widths[2], 2) for width in widths] == [0.5, 0.0, 1.0, 0.25]
    assert {"Which <wins>?", "one", "two", "a", "b", "50.0", "100", "25.0"} <= set(words(svg))


@pytest.mark.parametrize(("log_up", "share"), [(False, 0.5), (True, 0.85)])
def test_a_curve_rises_with_its_figures(log_up: bool, share: float) -> None:
    points = [(1, 1.0), (2, 50.0), (4, 100.0)]
    svg = chart.lines("Grows", "clients", "ms", [("a", points), ("b", [(1, 7.0)])], log_up=log_up, noted=(2, "two"))
    xs, ys = (next(each for each in stroked(svg, chart.COLOURS[0]) if len(each) == 6)[start::2] for start in (0, 1))
    assert xs[1] - xs[0] == pytest.approx(xs[2] - xs[1])
    assert (ys[0] - ys[1]) / (ys[0] - ys[2]) == pytest.approx(share, abs=0.01)
    assert {"Grows", "clients", "ms", "a", "b", "two"} <= set(words(svg))


def test_a_lost_request_is_marked() -> None:
    calm = [(0.0, 2.0, True), (1.0, 3.0, True)]
    svg = chart.timelines("Live", "ms", [("restart", [*calm, (0.5, 1.0, False)], (0.2, 0.8)), ("slots", calm, (0, 1))])
    dots = [len(each) // 4 for each in stroked(svg, chart.COLOURS[0])]
    assert dots == [2, 2]
    (lost,) = stroked(svg, chart.LOST)
    assert lost[1] < min(stroked(svg, chart.COLOURS[0])[0][1::2]), "above every response"


def test_a_new_figure_changes_little_of_a_plot() -> None:
    def rows(*figures: float) -> list[str]:
        groups = [(f"server {number}", [figure, 9.0]) for number, figure in enumerate(figures)]
        return chart.bars("Rate", "a second", ["one", "two"], groups).splitlines()

    before, after = rows(1, 2, 3, 4), rows(1, 2, 3.5, 4)
    assert rows(1, 2, 3, 4) == before
    changed = [line for line in difflib.ndiff(before, after) if line[0] in "+-"]
    assert 0 < len(changed) < len(before) / 10


def test_the_expected_time_follows_from_the_capacity() -> None:
    cases = {case.title: case for case in blocking.CASES}
    assert cases["development, unthreaded"].at_once == 1
    assert cases[f"gunicorn gthread, {WORKERS} workers × 4 threads"].at_once == 4 * WORKERS
    assert blocking.loads(quick=False)[:2] == ((10, 5.0), (3, 10.0))


def squeezed(table: str) -> str:
    return re.sub(" +", " ", table)


def measured(server: str, setup: str, page: str, rate: float, p99: float = 10.0) -> dict:
    return {
        "server": server, "setup": setup, "page": page, "round": 0, "rate": rate, "p50": 5.0, "p99": p99, "failed": 0,
        "wrk": 0.2,
    }  # fmt: skip


def test_the_targets_compare_the_default_chain_with_the_tutorials() -> None:
    rows = [
        measured(name, setup, page, 100)
        for page in chain.PAGES
        for name in [*SERVERS, *VARIANTS]
        for setup in (chain.SETUPS if name in SERVERS else [chain.COLLECTION])
        if (name, setup) not in {(DEFAULT, chain.COLLECTION), (DEFAULT, chain.STANDALONE), (TUTORIAL, chain.TUTORIALS)}
    ]
    for page in chain.PAGES:
        rows += [measured(DEFAULT, chain.COLLECTION, page, 900, 8.0), measured(DEFAULT, chain.STANDALONE, page, 1000)]
        rows.append(measured(TUTORIAL, chain.TUTORIALS, page, 600, 16.0))
    rows += [
        measured("files", setup, file, 50) for file in chain.FILES for setup in (chain.COLLECTION, chain.TUTORIALS)
    ]
    text = squeezed(chain.report(rows))
    assert "| tiny | 1.50 | 0.50 | 0.90 |" in text
    assert "Failed requests: none." in text


def test_saturation_is_where_more_workers_add_less_than_5_percent() -> None:
    rates = {1: 100, WORKERS: 240, 2 * WORKERS: 250}
    rows = [
        {"server": "sync", "page": page, "workers": count, "rate": rate}
        for page in growth.PAGES
        for count, rate in rates.items()
    ]
    assert f"| sync, database | {WORKERS} | 0.96 |" in squeezed(growth.saturation(rows))


@pytest.fixture
def results() -> dict:
    rows = [
        {"server": case.title, "requests": 10, "sleep": 5.0, "expected": 5.0, "took": 5.02, "failed": 0, "processes": 1,
         "threads": 10}
        for case in blocking.CASES
    ]  # fmt: skip
    return {"about": {"command": "bench/run"}, "quick": False, "experiments": {"blocking": rows}}


def test_the_published_page_is_made_from_the_json_alone(results: dict, tmp_path: Path) -> None:
    report.write(results, tmp_path / "run")
    assert json.loads((tmp_path / "run" / report.JSON).read_text()) == results
    written = report.publish(tmp_path / "run", tmp_path / "docs")
    assert "![Blocking requests](performance/blocking.svg)" in written.read_text()
    assert (tmp_path / "docs/performance/blocking.svg").exists()
    assert (tmp_path / "docs/performance" / report.JSON).read_text() == (tmp_path / "run" / report.JSON).read_text()


def test_a_scaled_down_run_is_not_published(results: dict, tmp_path: Path) -> None:
    report.write(results | {"quick": True}, tmp_path / "run")
    with pytest.raises(BenchError, match="scaled down"):
        report.publish(tmp_path / "run", tmp_path / "docs")
    assert not (tmp_path / "docs").exists()
