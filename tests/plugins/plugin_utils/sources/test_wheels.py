"""A wheelhouse holds the locked wheels for the host's Python; needs the package index."""

from __future__ import annotations

import platform
import re
import sys
from pathlib import Path

import pytest
from packaging.markers import default_environment
from packaging.tags import platform_tags
from project import PROJECT

from ansible_collections.wsgi.sites.plugins.module_utils.packages.lockfile import parse
from ansible_collections.wsgi.sites.plugins.module_utils.releases import host_python
from ansible_collections.wsgi.sites.plugins.plugin_utils.releases.inputs import with_server
from ansible_collections.wsgi.sites.plugins.plugin_utils.sources import InputError, wheels

CANARY = "canary-5ecret"
GUNICORN = (PROJECT / "roles/server/files/gunicorn.txt").read_text(encoding="utf-8")


def locked(*names: str, marker: str = "") -> str:
    """These packages of the project's own lock, with the hashes of all their wheels."""
    text = (PROJECT / "requirements/test.txt").read_text(encoding="utf-8")
    found = [
        re.search(rf"^{name}==[^ ]+( ;[^\\]*)? \\\n(    --hash=\S+( \\)?\n)+", text, re.MULTILINE)[0] for name in names
    ]
    return "".join(re.sub(r"( ;[^\\]*)? \\\n", f"{marker} \\\\\n", block, count=1) for block in found)


def collect(text: str, *arguments: object) -> list[Path]:
    """The wheels of one lock."""
    return wheels.collect([parse(text)], *arguments)


def host(python: str = "3.13", machine: str = "x86_64", glibc: str = "2.41") -> dict:
    """The facts of a Debian host."""
    markers = default_environment() | {"python_version": python, "python_full_version": f"{python}.5"}
    return {
        "markers": markers | {"platform_machine": machine},
        "platform": f"linux-{machine}",
        "libc": ["glibc", glibc],
    }


def test_a_host_reports_its_wheel_tags() -> None:
    found = host_python.target(Path(sys.executable))
    assert found["markers"] == default_environment()
    assert found["libc"] == list(platform.libc_ver())
    assert wheels.tags_of(found)["python"] == f"{sys.version_info[0]}.{sys.version_info[1]}"
    mine = wheels.tags_of(found)["platforms"]
    assert mine == [tag for tag in platform_tags() if not tag.endswith(("i686", "armv7l"))]


@pytest.mark.parametrize(("lie", "part"), [
    ({"platform": "linux-x86_64 --index-url=http://evil.test"}, "platform"), ({"platform": None}, "platform"),
    ({"libc": ["glibc", "2.999999999"]}, "libc"), ({"libc": "glibc"}, "libc"),
    ({"libc": ["glibc", ""]}, "libc"), ({"libc": ["--dest", "2.36"]}, "libc"),
    ({"markers": {"python_version": "3.11 --no-binary=:all:"}}, "markers"), ({"markers": []}, "markers"),
    ({"markers": {"python_version": "3.11", "os_name": "x" * 1000}}, "markers"),
])  # fmt: skip
def test_a_host_with_invalid_wheel_tags_is_refused(tmp_path: Path, lie: dict, part: str) -> None:
    with pytest.raises(InputError, match=rf"the host says of itself what no host can \({part}\)"):
        collect(locked("markupsafe"), {**host(), **lie}, "", tmp_path)


@pytest.mark.parametrize(("python", "machine", "tag"), [
    ("3.13", "x86_64", "cp313-cp313-manylinux"), ("3.11", "aarch64", "cp311-cp311-manylinux"),
])  # fmt: skip
def test_wheels_are_for_the_hosts_python_and_machine(tmp_path: Path, python: str, machine: str, tag: str) -> None:
    found = collect(locked("markupsafe"), host(python, machine), "", tmp_path)
    assert [path.name.split("-")[0].lower() for path in found] == ["markupsafe"]
    assert tag in found[0].name
    assert found[0].name.endswith(f"{machine}.whl")


def test_markers_are_evaluated_with_the_values_of_the_host(tmp_path: Path) -> None:
    old = locked("colorama", marker=" ; sys_platform == 'win32'") + locked("attrs", marker=" ; python_version < '3.13'")
    text = old + locked("idna", marker=" ; python_full_version >= '3.13'")
    found = collect(text, host("3.13"), "", tmp_path)
    assert [path.name.split("-")[0] for path in found] == ["idna"]


def test_the_servers_own_lock_is_added_if_the_sites_lock_names_none(tmp_path: Path) -> None:
    def collected(text: str, server_lock: str) -> list[Path]:
        return wheels.collect(with_server(parse(text), server_lock.encode(), "gunicorn"), host(), "", tmp_path)

    found = collected(locked("idna"), GUNICORN)
    assert sorted(path.name.split("-")[0] for path in found) == ["gunicorn", "idna"]
    found = collected(locked("gunicorn", "packaging"), "broken")
    assert sorted(path.name.split("-")[0] for path in found) == ["gunicorn", "packaging"]


def test_a_cached_wheelhouse_needs_no_network_and_a_damaged_one_is_rebuilt(tmp_path: Path, monkeypatch) -> None:
    first = collect(locked("idna"), host(), "", tmp_path)
    with monkeypatch.context() as offline:
        offline.setattr(wheels, "_pip", lambda: pytest.fail("asked the index"))
        assert collect(locked("idna"), host(), "", tmp_path) == first
    whole = first[0].read_bytes()
    first[0].write_bytes(b"damaged")
    assert collect(locked("idna"), host(), "", tmp_path)[0].read_bytes() == whole
    first[0].unlink()
    assert collect(locked("idna"), host(), "", tmp_path)[0].read_bytes() == whole


def test_another_package_than_the_locked_one_is_refused(tmp_path: Path) -> None:
    text = re.sub(r"sha256:\w{4}", "sha256:0000", locked("idna"))
    with pytest.raises(InputError, match="not the one that was locked"):
        collect(text, host(), "", tmp_path)
    assert not list((tmp_path / "wheels").glob("*/*.whl"))


def test_a_package_without_a_wheel_for_the_host_is_reported(tmp_path: Path) -> None:
    with pytest.raises(InputError, match="no wheel for the host's Python or processor"):
        collect(locked("markupsafe"), host(machine="sparc64"), "", tmp_path)


def test_an_unreachable_index_is_reported_without_its_login(tmp_path: Path, monkeypatch) -> None:
    monkeypatch.setenv("PIP_RETRIES", "0")
    monkeypatch.setenv("PIP_CONFIG_FILE", "/dev/null")
    index = f"http://me:{CANARY}@127.0.0.1:9/simple"
    for text, named in ((locked("idna"), index), (f"--index-url {index}\n{locked('idna')}", "")):
        with pytest.raises(InputError, match="packages: the wheels cannot be collected") as error:
            collect(text, host(), named, tmp_path)
        assert CANARY not in str(error.value)


def test_a_package_by_url_is_refused(tmp_path: Path) -> None:
    text = f"shop @ https://me:{CANARY}@example.com/shop-1-py3-none-any.whl --hash=sha256:{'0' * 64}\n"
    with pytest.raises(InputError, match="shop is locked by its own URL") as error:
        collect(text, host(), "", tmp_path)
    assert CANARY not in str(error.value)


def test_old_wheelhouses_are_removed(tmp_path: Path, monkeypatch) -> None:
    monkeypatch.setattr(wheels, "KEEP", 2)
    monkeypatch.setattr(wheels, "operators_pip", dict)
    monkeypatch.setattr(wheels, "_run", lambda command, *_: Path(command[command.index("--dest") + 1], "x.whl").touch())
    monkeypatch.setattr(wheels, "_is_right", lambda house, *_: house.is_dir())
    for number in range(4):
        collect(f"x=={number} --hash=sha256:00\n", host(), "", tmp_path)
    assert len([path for path in (tmp_path / "wheels").iterdir() if path.is_dir()]) == 2


UV_LOCK = """version = 1
revision = 3
requires-python = ">=3.11"

[[package]]
name = "itsdangerous"
version = "2.2.0"
source = { registry = "https://pypi.org/simple" }
wheels = [
    { url = "https://example.com/itsdangerous-2.2.0-py3-none-any.whl", hash = "sha256:HASH" },
]

[[package]]
name = "shop"
version = "1"
source = { virtual = "." }
dependencies = [
    { name = "itsdangerous" },
]

[package.metadata]
requires-dist = [{ name = "itsdangerous" }]
""".replace("HASH", "c6242fc49e35958c8b15141343aa660db5fc54d4f13a1db01a3f5891b98700ef")


def test_a_uv_lock_is_exported_by_the_controllers_uv_or_refused(tmp_path: Path, monkeypatch) -> None:
    project = '[project]\nname = "shop"\nversion = "1"\nrequires-python = ">=3.11"\ndependencies = ["itsdangerous"]\n'
    (tmp_path / "pyproject.toml").write_text(project, encoding="utf-8")
    (tmp_path / "uv.lock").write_text(UV_LOCK, encoding="utf-8")
    lock = wheels.export(tmp_path, "uv.lock", tmp_path / "place")
    assert lock.names == {"itsdangerous"}
    assert [path.name for path in wheels.collect([lock], host(), "", tmp_path)] == [
        "itsdangerous-2.2.0-py3-none-any.whl"
    ]
    assert sorted(path.name for path in tmp_path.iterdir()) == ["place", "pyproject.toml", "uv.lock", "wheels"]
    assert not list((tmp_path / "place").iterdir()), "nothing is left"
    monkeypatch.setattr(wheels.shutil, "which", lambda *_a, **_k: None)
    with pytest.raises(InputError, match="needs uv on the controller"):
        wheels.export(tmp_path, "uv.lock", tmp_path / "place")
