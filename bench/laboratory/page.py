"""The results as JSON, and the page made from it: tables, plots, machine, versions and command."""

from __future__ import annotations

import importlib
import json
import shutil
from pathlib import Path
from typing import Any

from measuring.commands import ROOT, WORK, command
from measuring.machine import facts, told

from laboratory.bench import PYTHON

FOLDER = WORK / "laboratory"
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
    """Results of which there are none yet, in a folder that is empty."""
    shutil.rmtree(FOLDER, ignore_errors=True)
    FOLDER.mkdir(parents=True)
    # It says its version on stderr.
    nginx = command("sh", "-c", "nginx -v 2>&1").rpartition("/")[2]
    wrk = command("sh", "-c", "wrk -v 2>&1 || true").splitlines()[0].partition(" [")[0]
    about = facts("bench/run") | {"versions": f"{command(PYTHON, '-c', ASK_VERSIONS)}, nginx {nginx}, {wrk}"}
    return {"about": about, "quick": quick, "experiments": {}}


def write(results: Results) -> None:
    """The JSON, the page and its plots, as far as there are results."""
    (FOLDER / JSON).write_text(json.dumps(results, indent=1, ensure_ascii=False) + "\n", encoding="utf-8")
    lay(results, FOLDER, FOLDER)


def lay(results: Results, folder: Path, plots: Path) -> Path:
    """Write the page into one folder and its plots into another; the page."""
    parts = ["# What it can do, measured", ""]
    if results["quick"]:
        parts += ["**Scaled down: this shows that everything runs. The figures mean nothing.**", ""]
    parts += [INTRODUCTION, "", *told(results["about"]), ""]
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


def publish() -> str:
    """docs/performance.md from the last run's JSON, with the JSON beside its plots; says what was written."""
    try:
        results = json.loads((FOLDER / JSON).read_text(encoding="utf-8"))
    except FileNotFoundError:
        raise SystemExit("error: nothing was measured here yet; run bench/run first") from None
    if results["quick"]:
        raise SystemExit("error: the last run was scaled down, and its figures mean nothing; run bench/run first")
    plots = DOCS / "performance"
    shutil.rmtree(plots, ignore_errors=True)
    plots.mkdir(parents=True)
    shutil.copy(FOLDER / JSON, plots / JSON)
    return f"Written: {lay(results, DOCS, plots)}, and {plots}"


INTRODUCTION = """Made by `bench/run` from its figures (`performance.json`); see `bench/README.md`. Everything runs on
one machine and talks over loopback, so servers, nginx and wrk share its CPUs. Compare figures of one run with each
other, not with those of other machines. Of several rounds, in which the sides take turns, the median is shown, with the
range. Percentiles are wrk's."""
