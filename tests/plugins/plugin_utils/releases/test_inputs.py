"""The lock and the server of a release, checked on the controller."""

from __future__ import annotations

import subprocess
import sys
from pathlib import Path

import pytest
from releases import HASHED

from ansible_collections.wsgi.sites.plugins.module_utils.packages import lockfile
from ansible_collections.wsgi.sites.plugins.module_utils.releases import (
    venv,
)
from ansible_collections.wsgi.sites.plugins.module_utils.releases.errors import BuildError
from ansible_collections.wsgi.sites.plugins.plugin_utils.releases import inputs
from ansible_collections.wsgi.sites.plugins.plugin_utils.releases.manifest import SERVER_PACKAGES, server_package
from ansible_collections.wsgi.sites.plugins.plugin_utils.sources import InputError


def test_a_lock_that_links_out_of_the_source_reveals_nothing_of_its_target(source: Path) -> None:
    (source.parent / "vault_password").write_text("hunter2\n", encoding="utf-8")
    (source / "requirements.txt").unlink()
    (source / "requirements.txt").symlink_to("../vault_password")
    with pytest.raises(InputError, match="leads out of the source") as error:
        inputs.load_lock(source, "requirements.txt")
    assert "hunter2" not in str(error.value)


def test_a_missing_lock_is_refused_with_the_command_that_makes_it(source: Path) -> None:
    (source / "requirements.txt").unlink()
    (source / "requirements.in").write_text("flask\n", encoding="utf-8")
    with pytest.raises(InputError) as error:
        inputs.load_lock(source, "requirements.txt")
    assert "uv pip compile --universal --generate-hashes requirements.in -o requirements.txt" in str(error.value)


@pytest.mark.parametrize(
    "text",
    ["flask==3.1.3\n", HASHED + "click>=8\n", "-e .\n", "-r other.txt\n", "https://user:canary@example.com/x.whl\n"],
)
def test_an_unhashed_lock_is_refused_with_the_command_that_adds_hashes(source: Path, text: str) -> None:
    (source / "requirements.txt").write_text(text, encoding="utf-8")
    with pytest.raises(InputError) as error:
        inputs.load_lock(source, "requirements.txt")
    assert "uv pip compile --universal --generate-hashes requirements.in -o requirements.txt" in str(error.value)
    assert "canary" not in str(error.value)


def test_a_hashed_lock_is_accepted(source: Path) -> None:
    text = (
        f"--index-url https://example.com/simple\n# flask\n{HASHED}\nclick==8 ; python_version < '4' --hash=sha256:2\n"
    )
    (source / "requirements.txt").write_text(text, encoding="utf-8")
    assert inputs.load_lock(source, "requirements.txt")


def test_a_lock_outside_the_source_is_refused(source: Path) -> None:
    with pytest.raises(InputError, match="must lie in the source"):
        inputs.load_lock(source, "../requirements.txt")


@pytest.mark.parametrize("server", ["gunicorn", "uwsgi"])
def test_the_collections_own_lock_is_hashed(project: Path, server: str) -> None:
    lock = lockfile.load(project / "roles/server/files", f"{server}.txt")
    assert SERVER_PACKAGES[server] in lock.names


def test_the_distributions_server_needs_no_lock() -> None:
    assert server_package({"server": {"name": "uwsgi", "from": "distribution"}}) == ""


@pytest.mark.parametrize(("name", "lock", "found"), [
    ("requirements.txt", "gunicorn[gevent]==27 --hash=sha256:0\n", True),
    ("requirements.txt", "# gunicorn==27\ngunicorn-x==1 --hash=sha256:0\n", False),
    ("uv.lock", '[[package]]\nname = "gunicorn"\n', True),
    ("uv.lock", '[[package]]\nname = "gunicorn-x"\n', False),
])  # fmt: skip
def test_whether_a_lock_names_its_server(tmp_path: Path, name: str, lock: str, found: bool) -> None:
    (tmp_path / "pyproject.toml").touch()
    (tmp_path / name).write_text(lock, encoding="utf-8")
    assert ("gunicorn" in lockfile.load(tmp_path, name).names) is found


def test_gevent_must_be_in_the_lock() -> None:
    with pytest.raises(BuildError, match=r"the\s+line `gunicorn\[gevent\]`"):
        venv.check_extras({"gunicorn"}, "gevent")
    venv.check_extras({"gunicorn", "gevent"}, "gevent")


def test_an_unknown_worker_class_is_refused_with_the_list() -> None:
    asked = subprocess.run([sys.executable, "-c", venv.WORKER_CLASSES], capture_output=True, text=True, check=True)
    venv.check_worker_class(asked.stdout, "gthread")
    with pytest.raises(BuildError, match=r"'gtread': this gunicorn has .*gthread, sync"):
        venv.check_worker_class(asked.stdout, "gtread")
