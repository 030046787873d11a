"""Installation of the launcher and the autoscaler."""

from __future__ import annotations

import subprocess
from pathlib import Path

import pytest

from ansible_collections.wsgi.sites.plugins.module_utils.site import paths
from ansible_collections.wsgi.sites.plugins.module_utils.system.program import ENGINE, needed
from ansible_collections.wsgi.sites.plugins.modules.launcher_install import PROGRAMS, ensure


@pytest.fixture
def library(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    monkeypatch.setattr(paths, "LIBRARY", tmp_path / "sites")
    return tmp_path / "sites"


def test_both_programs_are_installed_once_and_replaced_when_they_differ(library: Path) -> None:
    both = [library / "launcher", library / "scaler"]
    assert ensure(check_mode=True) == both
    assert not library.exists()
    assert ensure(check_mode=False) == both
    assert ensure(check_mode=False) == []
    assert sorted(path.name for path in library.iterdir()) == ["launcher", "scaler"]
    (library / "scaler").chmod(0o700)
    (library / "launcher").write_bytes(b"older")
    assert ensure(check_mode=True) == both
    assert ensure(check_mode=False) == both
    assert (library / "scaler").stat().st_mode & 0o777 == 0o755


def test_each_program_needs_the_systems_python_only(library: Path) -> None:
    ensure(check_mode=False)
    for name in PROGRAMS:
        done = subprocess.run([library / name], capture_output=True, text=True, check=False, env={}, cwd="/")
        assert done.returncode == 1
        assert done.stderr.startswith(f"usage: {name} ROOT ")


@pytest.mark.parametrize("module", PROGRAMS.values())
def test_neither_program_contains_unused_modules(module: str) -> None:
    names = {name.removeprefix(f"{ENGINE}.") for name in needed(f"{ENGINE}.{module}")}
    assert module in names
    assert not {name for name in names if name.startswith(("daemons.", "packages.", "certificates."))}
    assert "runtime.supervisor" not in names, "a slow start for every slot"
