"""The CPUs that a process may use."""

from __future__ import annotations

from pathlib import Path

import pytest

from ansible_collections.wsgi.sites.plugins.module_utils.system import cpus


@pytest.mark.parametrize(
    ("own", "files", "expected"),
    [
        ("0::/\n", {"cpu.max": "150000 100000"}, [1.5]),
        ("0::/\n", {"cpu.max": "max 100000"}, []),
        ("0::/app/web\n", {"app/cpu.max": "50000 100000", "app/web/cpu.max": "200000 100000"}, [2.0, 0.5]),
        ("1:cpu:/app\n0::/app\n", {"cpu/cpu.cfs_quota_us": "100000", "cpu/cpu.cfs_period_us": "100000"}, [1.0]),
        ("1:cpu,cpuacct:/\n", {"cpu,cpuacct/cpu.cfs_quota_us": "-1", "cpu,cpuacct/cpu.cfs_period_us": "100000"}, []),
        ("1:memory:/\n", {}, []),
    ],
)
def test_a_cpu_quota_is_detected_with_any_mount_of_control_groups(
    tmp_path: Path, own: str, files: dict[str, str], expected: list[float]
) -> None:
    for name, content in files.items():
        (tmp_path / name).parent.mkdir(parents=True, exist_ok=True)
        (tmp_path / name).write_text(content + "\n")
    assert sorted(set(cpus.quotas(tmp_path, own)), reverse=True) == expected
