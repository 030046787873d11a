"""Each experiment of bench/run runs, scaled down, and its report has every row. No figure is checked."""

from __future__ import annotations

import importlib
import json
import os
import re
import shutil
import subprocess
import sys
from pathlib import Path
from xml.etree import ElementTree

import pytest
from nginx_rig import NGINX

ROOT = Path(__file__).resolve().parents[2]
sys.path.insert(0, str(ROOT / "bench"))

from laboratory.__main__ import EXPERIMENTS  # noqa: E402

pytestmark = [
    pytest.mark.skipif(os.geteuid() != 0, reason="starts servers as other users, so it needs to be root"),
    pytest.mark.skipif(not (shutil.which("wrk") and NGINX.exists()), reason="needs nginx and wrk"),
]


@pytest.mark.parametrize("name", EXPERIMENTS)
def test_an_experiment_runs_and_reports_every_row(name: str, tmp_path: Path) -> None:
    words = [ROOT / "bench/run", "--quick", "--only", name, "--into", tmp_path]
    done = subprocess.run(words, capture_output=True, text=True, check=False)
    assert done.returncode == 0, done.stderr
    module = importlib.import_module(f"laboratory.{name}")
    report = (tmp_path / "performance.md").read_text()
    assert [row for row in module.rows(quick=True) if not re.search(rf"(?m)^\| {re.escape(row)} +\|", report)] == []
    # The announced number of measurements, each with a final line.
    total = module.steps(quick=True)
    assert f"[{total}/{total}, " in done.stderr
    assert f"[{total + 1}/" not in done.stderr
    assert json.loads((tmp_path / "performance.json").read_text())["experiments"][name]
    plots = re.findall(r"!\[.*\]\((.*)\)", report)
    assert plots
    for plot in plots:
        ElementTree.parse(tmp_path / plot)  # noqa: S314 - our own
