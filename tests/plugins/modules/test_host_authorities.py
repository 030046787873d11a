"""Certificate authorities of the operator: added once, by the system's own tool."""

from __future__ import annotations

import shutil
import subprocess
from pathlib import Path

import pytest
from module_run import run

TOOL = shutil.which("update-ca-certificates", path="/usr/sbin:/usr/bin")
pytestmark = pytest.mark.skipif(
    TOOL is None or shutil.which("openssl") is None, reason="needs the distribution's ca-certificates and openssl"
)


@pytest.fixture(scope="session")
def authority(tmp_path_factory) -> str:
    """A certificate authority."""
    folder = tmp_path_factory.mktemp("authority")
    words = f"openssl req -x509 -newkey rsa:2048 -nodes -days 1 -subj /CN=ours -keyout {folder}/key -out {folder}/crt"
    subprocess.run(words.split(), check=True, capture_output=True)
    return (folder / "crt").read_text()


class Host:
    """The system's store of certificates, in a folder."""

    def __init__(self, folder: Path, module, monkeypatch) -> None:
        self.folder, self.module = folder, module
        self.own, self.bundle = folder / "own", folder / "etc/ca-certificates.crt"
        for name in ("etc", "system", "hooks"):
            (folder / name).mkdir()
        (folder / "conf").touch()
        tool = (
            f"{TOOL} --certsconf {folder}/conf --certsdir {folder}/system --localcertsdir {self.own}"
            f" --etccertsdir {folder}/etc --hooksdir {folder}/hooks"
        )
        monkeypatch.setattr(module, "FOLDER", self.own)
        monkeypatch.setattr(module, "BUNDLE", self.bundle)
        monkeypatch.setattr(module, "UPDATE", tool.split())

    def trust(self, check_mode: bool = False, **certificates: str) -> dict:
        return run(self.module, check_mode=check_mode, certificates=certificates)


@pytest.fixture
def host(tmp_path, plugin, monkeypatch) -> Host:
    return Host(tmp_path, plugin("plugins/modules/host_authorities.py"), monkeypatch)


def test_an_authority_is_added_to_the_systems_bundle_once(host: Host, authority):
    done = host.trust(ours=authority)
    assert done["changed"] and done["added"] == ["ours"]
    assert authority.strip() in host.bundle.read_text()
    assert oct((host.own / "ours.crt").stat().st_mode)[-3:] == "644"
    again = host.trust(ours=authority)
    assert not again["changed"] and again["added"] == []


def test_a_file_with_windows_line_ends_is_installed_once(host: Host, authority):
    assert host.trust(ours=authority.replace("\n", "\r\n"))["changed"]
    assert not host.trust(ours=authority.replace("\n", "\r\n"))["changed"]
    assert not host.trust(ours=f"\n{authority}\n\n")["changed"]


def test_the_next_run_completes_one_interrupted_before_the_systems_bundle(host: Host, authority):
    host.own.mkdir()
    (host.own / "ours.crt").write_text(authority)
    host.bundle.write_text("")
    assert host.trust(ours=authority)["changed"] and authority.strip() in host.bundle.read_text()


def test_a_renewed_authority_replaces_the_old_one(host: Host, authority):
    host.own.mkdir()
    (host.own / "ours.crt").write_text("old")
    host.bundle.write_text(authority)  # added by another program
    assert host.trust(ours=authority)["added"] == ["ours"]
    assert (host.own / "ours.crt").read_text() == authority


def test_check_mode_reports_and_changes_nothing(host: Host, authority):
    done = host.trust(check_mode=True, ours=authority)
    assert done["changed"] and done["added"] == ["ours"]
    assert not host.own.exists() and not host.bundle.exists()


def test_a_file_that_is_not_a_certificate_is_refused_with_the_remedy(host: Host, authority):
    done = host.trust(ours=authority, der="0\x82\x03")
    assert done["failed"] and "host_ca_certificates: der is no PEM certificate" in done["msg"]
    assert "openssl x509 -inform der" in done["msg"] and not host.own.exists()
