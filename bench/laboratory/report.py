"""The results as JSON, and the page made from them: tables, plots, machine, versions and command."""

from __future__ import annotations

import importlib
import json
import shutil
from pathlib import Path
from typing import Any

from measuring.commands import ROOT, WORK, BenchError, command
from measuring.machine import described, facts

from laboratory.bench import PYTHON

FOLDERS = {False: WORK / "laboratory", True: WORK / "laboratory-quick"}
MARKDOWN, JSON = "performance.md", "performance.json"
DOCS = ROOT / "docs"
PACKAGES = ("flask", "gunicorn", "pyuwsgi", "gevent", "tornado", "gunicorn-h1c", "orjson", "simplejson")
ASK_VERSIONS = f"""
import platform
from importlib.metadata import version
print("Python", ", ".join([platform.python_version(), *(f"{{name}} {{version(name)}}" for name in {PACKAGES})]))
"""

Results = dict[str, Any]


def begin(quick: bool) -> Results:
    """Results without experiments."""
    # nginx writes its version to stderr.
    nginx = command("sh", "-c", "nginx -v 2>&1").rpartition("/")[2]
    wrk = command("sh", "-c", "wrk -v 2>&1 || true").splitlines()[0].partition(" [")[0]
    about = facts("bench/run") | {"versions": f"{command(PYTHON, '-c', ASK_VERSIONS)}, nginx {nginx}, {wrk}"}
    return {"about": about, "quick": quick, "experiments": {}}


def write(results: Results, folder: Path) -> Path:
    """Write the JSON, the page and its plots, as far as there are results; return the page."""
    folder.mkdir(parents=True, exist_ok=True)
    for old in (folder / JSON, folder / MARKDOWN, *folder.glob("*.svg")):
        old.unlink(missing_ok=True)
    (folder / JSON).write_text(as_json(results), encoding="utf-8")
    return write_page(results, folder, folder)


def as_json(results: Results) -> str:
    """JSON with a line for each row, so that diffs are readable."""
    text = json.dumps(results | {"experiments": {}}, indent=1, ensure_ascii=False)
    parts = []
    for name, rows in results["experiments"].items():
        lines = ",\n".join(f"   {json.dumps(row, ensure_ascii=False)}" for row in rows)
        parts.append(f'  "{name}": [\n{lines}\n  ]')
    return text.replace('"experiments": {}', '"experiments": {\n' + ",\n".join(parts) + "\n }") + "\n"


def write_page(results: Results, folder: Path, plots: Path) -> Path:
    """Write the page into one folder and its plots into another; return the page."""
    parts = ["# Performance", ""]
    if results["quick"]:
        parts += ["**Scaled down, to show that everything runs. The figures mean nothing.**", ""]
    parts += [INTRODUCTION, "", *described(results["about"]), ""]
    for name, rows in results["experiments"].items():
        module = importlib.import_module(f"laboratory.{name}")
        parts += [f"## {module.TITLE}", "", module.TEXT, ""]
        for plot, drawn in module.plots(rows).items():
            (plots / f"{plot}.svg").write_text(drawn, encoding="utf-8")
            where = (plots / f"{plot}.svg").relative_to(folder)
            parts += [f"![{module.TITLE}]({where})", ""]
        parts += [module.report(rows), ""]
    written = folder / MARKDOWN
    written.write_text("\n".join(parts), encoding="utf-8")
    return written


def publish(folder: Path, docs: Path = DOCS) -> Path:
    """Write docs/performance.md and its plots from the JSON of a full run; return the page."""
    try:
        results = json.loads((folder / JSON).read_text(encoding="utf-8"))
    except FileNotFoundError:
        raise BenchError(f"{folder} has no results; run bench/run first") from None
    if results["quick"]:
        raise BenchError("the last run was scaled down, and its figures mean nothing; run bench/run first")
    plots = docs / "performance"
    shutil.rmtree(plots, ignore_errors=True)
    plots.mkdir(parents=True)
    (plots / JSON).write_text(as_json(results), encoding="utf-8")
    return write_page(results, docs, plots)


INTRODUCTION = """Made by `bench/run` from its figures (`performance.json`); see `bench/README.md`. Everything runs on
one machine over loopback, so servers, nginx and wrk share its CPUs. Compare figures within one run, not with those of
other machines. The figures are medians of several rounds, in which the sides take turns, with the range. Percentiles
are those of wrk."""
