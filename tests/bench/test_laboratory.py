"""The laboratory: how its tables and plots read. What it measures is run by test_laboratory_runs.py."""

from __future__ import annotations

import json
import sys
from pathlib import Path
from xml.etree import ElementTree

import pytest

ROOT = Path(__file__).resolve().parents[2]
sys.path.insert(0, str(ROOT / "bench"))

from laboratory import blocking, chain, chart, growth, page, tables  # noqa: E402
from laboratory.bench import MANY  # noqa: E402
from laboratory.cases import DEFAULT, SERVERS, TUTORIAL, VARIANTS  # noqa: E402
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
def test_several_rounds_read_as_a_median_and_a_range(found: list[float], text: str) -> None:
    assert tables.spread(found) == text


def test_a_bar_is_as_long_as_its_figure() -> None:
    svg = chart.bars("Who <wins>?", "a second", ["one", "two"], [("a", [50, 100]), ("b", [0, 25])])
    bars = [each for each in drawn(svg).iter(f"{SVG}rect") if each.get("height") == "11" and each.get("rx") is None]
    assert [round(float(str(each.get("width"))) / float(str(bars[1].get("width"))), 2) for each in bars] == [
        0.5, 1.0, 0.0, 0.25,
    ]  # fmt: skip
    assert {"Who <wins>?", "one", "two", "a", "b", "50", "100", "25"} <= set(words(svg))


@pytest.mark.parametrize("log_up", [False, True])
def test_a_curve_stays_within_its_picture(log_up: bool) -> None:
    svg = chart.lines(
        "Grows", "clients", "ms", [("a", [(1, 0.5), (512, 900.0)]), ("b", [(1, 7.0)])], log_up=log_up, noted=(2, "two")
    )
    tall = float(str(drawn(svg).get("viewBox")).split()[3])
    dots = [(float(str(each.get("cx"))), float(str(each.get("cy")))) for each in drawn(svg).iter(f"{SVG}circle")]
    assert len(dots) == 3
    assert all(0 < x < chart.WIDTH and 0 < y < tall for x, y in dots)
    assert dots[0][1] > dots[1][1], "more is higher"


def test_a_lost_request_is_marked() -> None:
    calm = [(0.0, 2.0, True), (1.0, 3.0, True)]
    svg = chart.timelines("Live", "ms", [("restart", [*calm, (0.5, 1.0, False)], (0.2, 0.8)), ("slots", calm, (0, 1))])
    colours = [each.get("stroke") for each in drawn(svg).iter(f"{SVG}path")]
    assert colours == [chart.COLOURS[0], "#d00", chart.COLOURS[0]]


@pytest.mark.parametrize("most", [0.003, 1, 4.9, 10, 77, 3125, 1e6])
def test_an_axis_has_some_round_marks(most: float) -> None:
    marks = chart.ticks(most)
    assert 4 <= len(marks) <= 8
    assert 0.7 * most <= marks[-1] <= most * 1.0001


def test_expected_is_what_has_to_stand_in_line() -> None:
    cases = {case.title: case for case in blocking.CASES}
    assert cases["development, unthreaded"].at_once == 1
    assert cases[f"gunicorn gthread, {MANY} workers × 4 threads"].at_once == 4 * MANY
    assert blocking.loads(quick=False)[:2] == ((10, 5.0), (3, 10.0))


def seen(server: str, way: str, page: str, rate: float, p99: float = 10.0) -> dict:
    return {
        "server": server, "way": way, "page": page, "round": 0, "rate": rate, "p50": 5.0, "p99": p99, "failed": 0,
        "wrk": 0.2,
    }  # fmt: skip


def test_the_aims_compare_the_default_chain_with_the_tutorials() -> None:
    rows = [
        seen(name, way, asked, 100)
        for asked in chain.PAGES
        for name in [*SERVERS, *VARIANTS]
        for way in (chain.WAYS if name in SERVERS else [chain.OURS])
        if (name, way) not in {(DEFAULT, chain.OURS), (DEFAULT, chain.BARE), (TUTORIAL, chain.TUTORIALS)}
    ]
    for asked in chain.PAGES:
        rows += [seen(DEFAULT, chain.OURS, asked, 900, 8.0), seen(DEFAULT, chain.BARE, asked, 1000)]
        rows.append(seen(TUTORIAL, chain.TUTORIALS, asked, 600, 16.0))
    rows += [seen("files", way, file, 50) for file in chain.FILES for way in (chain.OURS, chain.TUTORIALS)]
    text = chain.report(rows)
    assert "| tiny | 1.50 | 0.50 | 0.90 |" in text
    assert "Failed requests: none." in text


def test_the_knee_is_where_more_workers_bring_next_to_nothing() -> None:
    rates = {1: 100, MANY: 240, 2 * MANY: 250}
    rows = [
        {"server": "sync", "page": asked, "workers": count, "rate": rate}
        for asked in growth.PAGES
        for count, rate in rates.items()
    ]
    assert f"| sync, database | {MANY} | 0.96 |" in growth.knees(rows)


@pytest.fixture
def results() -> dict:
    rows = [
        {"server": case.title, "requests": 10, "sleep": 5.0, "expected": 5.0, "took": 5.02, "failed": 0, "processes": 1,
         "threads": 10}
        for case in blocking.CASES
    ]  # fmt: skip
    return {"about": {"command": "bench/run"}, "quick": False, "experiments": {"blocking": rows}}


def test_the_projects_page_is_made_from_the_figures_alone(results: dict, tmp_path: Path) -> None:
    page.write(results, tmp_path / "run")
    assert json.loads((tmp_path / "run" / page.JSON).read_text()) == results
    written = page.publish(tmp_path / "run", tmp_path / "docs")
    assert "![Blocking requests](performance/blocking.svg)" in written.read_text()
    assert (tmp_path / "docs/performance/blocking.svg").exists()
    assert (tmp_path / "docs/performance" / page.JSON).read_text() == (tmp_path / "run" / page.JSON).read_text()


def test_a_scaled_down_run_is_not_published(results: dict, tmp_path: Path) -> None:
    page.write(results | {"quick": True}, tmp_path / "run")
    with pytest.raises(BenchError, match="scaled down"):
        page.publish(tmp_path / "run", tmp_path / "docs")
    assert not (tmp_path / "docs").exists()
