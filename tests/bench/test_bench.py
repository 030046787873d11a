"""Cases, task counts and table of bench/deploy; no test measures anything."""

from __future__ import annotations

import io
import json
import sys
import tarfile
from pathlib import Path
from types import SimpleNamespace

import pytest

ROOT = Path(__file__).resolve().parents[2]
sys.path.insert(0, str(ROOT / "bench"))

from measuring import cases, report, source  # noqa: E402
from measuring.commands import BenchError  # noqa: E402
from measuring.progress import Progress  # noqa: E402
from measuring.runs import Run, read  # noqa: E402


def events(*these: dict) -> SimpleNamespace:
    return SimpleNamespace(stdout=io.StringIO("".join(json.dumps(event) + "\n" for event in these)))


def ended(kind: str, name: str, result: dict) -> dict:
    duration = {"start": "2026-01-01T00:00:00.000000Z", "end": "2026-01-01T00:00:01.500000Z"}
    return {"_event": kind, "task": {"name": name, "duration": duration}, "hosts": {"web1": result}}


def test_only_tasks_that_ran_are_counted() -> None:
    run = Run("bundle", "bare", 1)
    hosts = {"web1": {"ok": 9, "changed": 4, "skipped": 3, "failures": 0}}
    hosts["web2"] = {"ok": 1, "changed": 0, "skipped": 0, "failures": 0}
    said = read(
        events(
            ended("v2_runner_on_ok", "Install packages", {"changed": True}),
            ended("v2_runner_on_ok", "Start it", {"changed": False, "took": 1.25}),
            {"_event": "v2_playbook_on_stats", "stats": hosts},
        ),
        run,
        Progress(1),
    )
    assert list(said) == []
    assert (run.ran, run.changed, run.skipped) == (10, 4, 3)
    assert run.tasks == [(1.5, "Install packages", "changed"), (1.5, "Start it", "ok")]
    assert run.start == 1.25


def test_a_failed_run_shows_the_failed_task_but_no_other_result() -> None:
    failed = ended(
        "v2_runner_on_failed", "Build the release", {"msg": "no space left", "invocation": {"key": "secret"}}
    )
    said = "\n".join(read(events(failed), Run("bundle", "bare", 1), Progress(1)))
    assert "Build the release: no space left" in said
    assert "secret" not in said


def test_each_case_has_its_playbooks() -> None:
    named = {case.playbook(side) for case in cases.CASES.values() for side in cases.SIDES} - {""}
    assert named
    assert all((ROOT / name).is_file() for name in named)
    assert {step.case for step in cases.steps(1)} == set(cases.CASES)


def made(case: str, *seconds: float, side: str = "bundle", start: float = 0.0) -> list[Run]:
    return [Run(side, case, number, seconds=each, start=start, ran=12) for number, each in enumerate(seconds, start=1)]


def test_the_table_compares_medians() -> None:
    runs = [
        *made("ansible", 1.0, 1.5, 1.2),
        *made("nothing", 2.0, 3.0, 4.0),
        *made("nothing", 7.0, 8.0, 9.0, side="baseline"),
        *made("restart", 6.7, start=1.1),
        *made("restart", 3.0, side="baseline"),
    ]
    rows = [" ".join(row.split()) for row in report.comparison(runs).splitlines()]
    assert "| nothing to do | 3.0 (2.0-4.0) | 12 | - | 1.8 (0.8-2.8) | 8.0 (7.0-9.0) | 12 | 0.38 | 19 |" in rows
    # 6.7 without the drain of 2.5, Ansible's own 1.2 and the start of the server.
    assert "| new processes | 6.7 | 12 | 1.1 | 1.9 | 3.0 | 12 | 2.23 | - |" in rows
    assert "| Ansible alone | 1.2 (1.0-1.5) | 12 | - | - | - | - | - | - |" in rows


def test_the_drain_is_the_default_of_the_role() -> None:
    assert cases.drain() == 2.5


def test_one_side_alone_has_no_ratio() -> None:
    assert "ratio" not in report.comparison(made("bare", 2.0, side="baseline"))


@pytest.fixture
def folder(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    monkeypatch.setattr(source, "SOURCE", tmp_path / "app")
    monkeypatch.setattr(source, "ARCHIVE", tmp_path / "app.tar.gz")
    return tmp_path


def test_a_step_changes_only_its_own_part_of_the_source(folder: Path) -> None:
    def files(step: cases.Step) -> dict[str, bytes]:
        source.write(step)
        with tarfile.open(folder / "app.tar.gz") as archive:
            assert "wsgi.py" in archive.getnames()
        app = folder / "app"
        return {str(path.relative_to(app)): path.read_bytes() for path in app.rglob("*") if path.is_file()}

    def changed(one: dict[str, bytes], other: dict[str, bytes]) -> set[str]:
        return {name for name in one | other if one.get(name) != other.get(name)}

    old, new = files(cases.Step("code", 1)), files(cases.Step("deploy", 2))
    more = files(cases.Step("dependency", 2, cases.PACKAGES[0]))
    assert changed(old, new) == {"wordbook/health/routes.py"}
    assert changed(new, more) == {"requirements.txt"}
    assert all(source.locked(package).startswith(f"{package}==") for package in cases.PACKAGES)


@pytest.mark.parametrize(("step", "words"), [
    (cases.Step("deploy", 3, "pluggy"), "another revision"),
    (cases.Step("dependency", 2, "iniconfig"), "does not have the package iniconfig"),
    (cases.Step("restart", 2, "pluggy"), "still has the processes"),
    (cases.Step("nothing", 2, "pluggy"), "1 tasks"),
    (cases.Step("rollback", 2, "pluggy"), None),
])  # fmt: skip
def test_a_run_without_the_timed_effect_is_discarded(step: cases.Step, words: str | None) -> None:
    page = {"revision": 2, "packages": ["pluggy"], "server": 7}
    if words is None:
        source.check("web1", step, page, page, changed=1)
    else:
        with pytest.raises(BenchError, match=words):
            source.check("web1", step, page, page, changed=1)
