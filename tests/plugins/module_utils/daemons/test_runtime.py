"""The modules' notes on a host, kept until the next boot."""

from __future__ import annotations

from pathlib import Path

from ansible_collections.wsgi.sites.plugins.module_utils.system import runtime


def test_only_root_can_open_the_lock_file(tmp_path: Path) -> None:
    (tmp_path / "nginx.lock").touch(mode=0o644)
    for name in ("nginx", "supervisord"):
        with runtime.alone(tmp_path, name):
            assert (tmp_path / f"{name}.lock").stat().st_mode & 0o777 == 0o600, "flock needs read access only"
