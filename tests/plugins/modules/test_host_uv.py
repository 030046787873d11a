"""uv is installed from its hashed lock by Debian's pip; the tests' index is a folder."""

from __future__ import annotations

import base64
import glob
import hashlib
import subprocess
import zipfile
from pathlib import Path

import pytest
from forward_proxy import PASSWORD, USER, proxy, served
from module_run import run

MODULE = "plugins/modules/host_uv.py"


def digest(content: bytes) -> str:
    return base64.urlsafe_b64encode(hashlib.sha256(content).digest()).rstrip(b"=").decode()


class Host:
    """A host's folder for uv, and a package index with several versions."""

    def __init__(self, folder: Path, module, monkeypatch) -> None:
        self.module, self.library, self.index = module, folder / "lib", folder / "simple/uv"
        self.index.mkdir(parents=True)
        monkeypatch.setattr(module, "LIBRARY", self.library)
        # Other users cannot enter a test's folder.
        monkeypatch.setattr(module, "ACCOUNT", "")

    def publish(self, version: str) -> str:
        """Publish a version on the index; its lock."""
        wheel = self.index / f"uv-{version}-py3-none-any.whl"
        files = {
            f"uv-{version}.data/scripts/uv": f"#!/bin/sh\necho uv {version}\n",
            f"uv-{version}.dist-info/METADATA": f"Metadata-Version: 2.1\nName: uv\nVersion: {version}\n",
            f"uv-{version}.dist-info/WHEEL": "Wheel-Version: 1.0\nRoot-Is-Purelib: false\nTag: py3-none-any\n",
        }
        record = "".join(f"{name},sha256={digest(text.encode())},{len(text)}\n" for name, text in files.items())
        with zipfile.ZipFile(wheel, "w") as archive:
            for name, text in {**files, f"uv-{version}.dist-info/RECORD": record}.items():
                entry = zipfile.ZipInfo(name)
                entry.external_attr = 0o100755 << 16
                archive.writestr(entry, text)
        links = "".join(f'<a href="{path.name}">{path.name}</a>\n' for path in sorted(self.index.glob("*.whl")))
        (self.index / "index.html").write_text(f"<!DOCTYPE html><html><body>{links}</body></html>")
        return f"uv=={version} --hash=sha256:{hashlib.sha256(wheel.read_bytes()).hexdigest()}\n"

    def install(self, lock: str, check_mode: bool = False, **given: str) -> dict:
        index = {"index": self.index.parent.as_uri()}
        return run(self.module, check_mode=check_mode, requirements=lock, **index | given)

    def version(self) -> str:
        text = (self.library / "uv").read_text()
        return text.rpartition("uv ")[2].strip()


@pytest.fixture(scope="session")
def wheel(plugin) -> Path:
    """Debian's pip, as it is on a host."""
    found = sorted(glob.glob(plugin(MODULE).PIP))
    if not found:
        pytest.skip("needs Debian's python3-pip-whl")
    return Path(found[-1])


@pytest.fixture(scope="session")
def unpacked(wheel, tmp_path_factory) -> Path:
    """The same pip in a folder: from its wheel Python would compile it at each start."""
    folder = tmp_path_factory.mktemp("pip") / wheel.name
    with zipfile.ZipFile(wheel) as archive:
        archive.extractall(folder)
    subprocess.run(["/usr/bin/python3", "-m", "compileall", "-q", folder / "pip"], check=True)
    return folder


@pytest.fixture
def host(tmp_path, plugin, unpacked, monkeypatch) -> Host:
    monkeypatch.setattr(plugin(MODULE), "PIP", str(unpacked))
    return Host(tmp_path, plugin(MODULE), monkeypatch)


def test_the_locked_version_is_installed_once(host: Host, wheel, monkeypatch):
    monkeypatch.setattr(host.module, "PIP", str(wheel))
    lock = host.publish("1.0")
    host.publish("2.0")
    assert host.install(lock)["changed"]
    assert host.version() == "1.0" and (host.library / "uv").stat().st_mode & 0o777 == 0o755
    assert sorted(path.name for path in host.library.iterdir()) == ["uv", "uv.txt"]
    assert not host.install(lock)["changed"]


def test_another_lock_installs_another_uv(host: Host):
    host.install(host.publish("1.0"))
    assert host.install(host.publish("2.0"))["changed"]
    assert host.version() == "2.0"


def test_a_file_with_another_hash_is_refused_and_the_old_uv_stays(host: Host):
    old = host.publish("1.0")
    host.install(old)
    done = host.install("uv==2.0 --hash=sha256:" + "0" * 64 + "\n" if host.publish("2.0") else "")
    assert done["failed"] and "uv could not be downloaded" in done["msg"] and "host_package_index" in done["msg"]
    assert host.version() == "1.0" and not host.install(old)["changed"]
    assert sorted(path.name for path in host.library.iterdir()) == ["uv", "uv.txt"]


def test_a_lock_without_hashes_installs_nothing(host: Host):
    done = host.install(host.publish("1.0").partition(" --hash")[0])
    assert done["failed"] and "hash" in done["msg"] and not (host.library / "uv").exists()


@pytest.mark.parametrize("lost", ["uv", "uv.txt"])
def test_the_next_run_completes_one_interrupted_between_the_two_files(host: Host, lost):
    lock = host.publish("1.0")
    host.install(lock)
    (host.library / lost).unlink()
    assert host.install(lock)["changed"]
    assert host.version() == "1.0" and not host.install(lock)["changed"]


def test_check_mode_reports_and_changes_nothing(host: Host):
    assert host.install(host.publish("1.0"), check_mode=True)["changed"]
    assert not host.library.exists()


def test_a_host_without_debians_pip_is_told_the_package(host: Host, monkeypatch):
    monkeypatch.setattr(host.module, "PIP", "/nowhere/pip-*.whl")
    done = host.install(host.publish("1.0"))
    assert done["failed"] and "python3-pip-whl" in done["msg"]


def test_uv_is_downloaded_through_a_proxy_without_showing_its_password(host: Host):
    lock = host.publish("1.0")
    with served(host.index.parents[1]) as mirror, proxy() as through:
        index = f"{mirror}/simple/"
        done = host.install(lock, index=index, http_proxy=through.url.replace(USER, "stranger"), no_proxy="localhost")
        assert done["failed"] and through.refused and not through.forwarded
        assert PASSWORD not in str(done) and through.url.split("@")[0].rpartition(":")[2] not in str(done)
        assert host.install(lock, index=index, http_proxy=through.url, no_proxy="localhost")["changed"]
        assert through.forwarded and host.version() == "1.0"
