"""The measuring script: what it counts, and how its table reads. No measurement is made here."""

from __future__ import annotations

import importlib.util
import io
import json
import sys
from importlib.machinery import SourceFileLoader
from pathlib import Path
from types import ModuleType, SimpleNamespace

import pytest

ROOT = Path(__file__).resolve().parent.parent


@pytest.fixture(scope="module")
def bench() -> ModuleType:
    loader = SourceFileLoader("bench_deploy", str(ROOT / "bench" / "deploy"))
    module = importlib.util.module_from_spec(importlib.util.spec_from_loader(loader.name, loader))
    sys.modules[loader.name] = module  # where dataclasses look up their annotations
    sys.dont_write_bytecode, before = True, sys.dont_write_bytecode
    loader.exec_module(module)
    sys.dont_write_bytecode = before
    return module


def events(*these: dict) -> SimpleNamespace:
    return SimpleNamespace(stdout=io.StringIO("".join(json.dumps(event) + "\n" for event in these)))


def ended(kind: str, name: str, result: dict) -> dict:
    duration = {"start": "2026-01-01T00:00:00.000000Z", "end": "2026-01-01T00:00:01.500000Z"}
    return {"_event": kind, "task": {"name": name, "duration": duration}, "hosts": {"web1": result}}


def test_tasks_are_counted_if_they_ran(bench: ModuleType) -> None:
    run = bench.Run("bundle", "bare", 1)
    hosts = {"web1": {"ok": 9, "changed": 4, "skipped": 3, "failures": 0}}
    hosts["web2"] = {"ok": 1, "changed": 0, "skipped": 0, "failures": 0}
    said = bench.read(
        events(
            ended("v2_runner_on_ok", "Install packages", {"changed": True}),
            ended("v2_runner_on_ok", "Look around", {"changed": False}),
            {"_event": "v2_playbook_on_stats", "stats": hosts},
        ),
        run,
        bench.Progress(1),
    )
    assert list(said) == []
    assert (run.ran, run.changed, run.skipped) == (10, 4, 3)
    assert run.tasks == [(1.5, "Install packages", "changed"), (1.5, "Look around", "ok")]


def test_a_failed_run_shows_what_failed_but_no_other_result(bench: ModuleType) -> None:
    failed = ended(
        "v2_runner_on_failed", "Build the release", {"msg": "no space left", "invocation": {"key": "secret"}}
    )
    said = "\n".join(bench.read(events(failed), bench.Run("bundle", "bare", 1), bench.Progress(1)))
    assert "Build the release: no space left" in said
    assert "secret" not in said


def test_the_table_compares_medians(bench: ModuleType) -> None:
    runs = [
        bench.Run(side, step, number, seconds=seconds + number, ran=12, changed=0)
        for side, seconds in (("bundle", 1.0), ("baseline", 6.0))
        for step in bench.STEPS
        for number in (1, 2, 3)
    ]
    row = bench.table(runs).splitlines()[3]
    assert row == "| nothing to do | 3.0 (2.0-4.0) | 12 | 0 | 8.0 (7.0-9.0) | 12 | 0 | 0.38 |"


def test_one_side_alone_has_nothing_to_compare(bench: ModuleType) -> None:
    runs = [bench.Run("baseline", step, 1, seconds=2.0, ran=9) for step in bench.STEPS]
    assert "÷" not in bench.table(runs)


def test_the_new_code_is_recognised_on_the_page(
    bench: ModuleType, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(bench, "SOURCE", tmp_path / "app")
    monkeypatch.setattr(bench, "ARCHIVE", tmp_path / "app.tar.gz")
    mark = bench.edit_source(7)
    assert mark in (tmp_path / "app" / "wordbook" / "health" / "routes.py").read_text(encoding="utf-8")
    assert (tmp_path / "app.tar.gz").stat().st_size > 0
