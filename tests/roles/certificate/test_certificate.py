"""A site's certificate on its host: issue, renewal and location."""

from __future__ import annotations

import os
import stat
from datetime import UTC, datetime
from pathlib import Path

import module_run
import pytest
import yaml
from ansible_run import PROJECT, run, write_inventory
from certificates import DAY, Made, make, make_key
from cryptography import x509
from cryptography.hazmat.primitives.asymmetric import ec, rsa
from cryptography.hazmat.primitives.serialization import load_pem_private_key

from ansible_collections.wsgi.sites.plugins.module_utils.certificates import validity
from ansible_collections.wsgi.sites.plugins.module_utils.certificates.folder import FULLCHAIN, PRIVKEY, Folder

NAMES = ["Shop.example.com", "*.shop.example.com", "192.0.2.7", "::1"]


@pytest.fixture
def modules(plugin, tmp_path: Path):
    """Runs a module of the role on a host in a folder."""

    def module(name: str, **arguments):
        path = f"plugins/modules/certificate_{name}.py"
        return module_run.run(plugin(path), site="shop", etc=str(tmp_path), **arguments)

    (tmp_path / "shop").mkdir()
    return module


def files(folder: Path) -> dict[str, int]:
    """Every file below a folder with its mode and owner."""
    return {
        str(p.relative_to(folder)): stat.S_IMODE(p.lstat().st_mode) for p in folder.rglob("*") if not p.is_symlink()
    }


def secret_line(key: str) -> str:
    """A line of the secret part of a key; the last lines hold the public key."""
    return key.splitlines()[1]


def pair(made: Made) -> dict[str, str]:
    return {"kind": "provided", "fullchain": made.pem, "privkey": made.key}


def test_the_pair_is_readable_by_root_only_and_linked_for_nginx(modules, tmp_path: Path) -> None:
    made = make(*NAMES)
    assert modules("install", check_mode=True, **pair(made))["changed"] and files(tmp_path / "shop") == {}
    assert modules("install", **pair(made))["changed"]
    assert (tmp_path / "shop/tls" / FULLCHAIN).read_text() == made.pem
    assert (tmp_path / "shop/tls" / PRIVKEY).read_text() == made.key
    assert not os.readlink(tmp_path / "shop/tls").startswith("/")
    assert {mode for name, mode in files(tmp_path / "shop").items() if name.endswith(".pem")} == {0o600}
    assert {mode for name, mode in files(tmp_path / "shop").items() if not name.endswith(".pem")} == {0o700}
    assert not modules("install", **pair(made))["changed"]


def test_a_key_is_never_shown(modules) -> None:
    made = make(*NAMES)
    said = repr(modules("install", **pair(made)))
    assert secret_line(made.key) not in said


def test_manual_changes_are_corrected(modules, tmp_path: Path) -> None:
    made = make(*NAMES)
    modules("install", **pair(made))
    (tmp_path / "shop/tls" / PRIVKEY).write_text("x")
    (tmp_path / "shop/tls" / FULLCHAIN).chmod(0o644)
    assert len(modules("install", **pair(made))["changes"]) == 2
    assert (tmp_path / "shop/tls" / PRIVKEY).read_text() == made.key


def test_an_interrupted_run_leaves_the_pair_in_service_intact(modules, tmp_path: Path, monkeypatch) -> None:
    old, new = make(*NAMES), make(*NAMES)
    modules("install", **pair(old))
    monkeypatch.setattr(Path, "rename", lambda *_: (_ for _ in ()).throw(OSError(5, "cut off", "here")))
    assert modules("install", **pair(new))["failed"]
    assert (tmp_path / "shop/tls" / FULLCHAIN).read_text() == old.pem
    assert (tmp_path / "shop/tls" / PRIVKEY).read_text() == old.key
    monkeypatch.undo()
    assert [path.name for path in Folder("shop", tmp_path).spare(True)] == [".new"]
    assert modules("install", **pair(new))["changed"]
    assert (tmp_path / "shop/tls" / PRIVKEY).read_text() == new.key


def test_only_the_pair_in_service_is_retained_and_none_without_https(modules, tmp_path: Path) -> None:
    old, new = make(*NAMES), make(*NAMES)
    modules("install", **pair(old))
    modules("install", **pair(new))
    before = files(tmp_path / "shop")
    assert modules("cleanup", mode="selfsigned", check_mode=True)["changed"] and files(tmp_path / "shop") == before
    assert modules("cleanup", mode="selfsigned")["changed"]
    assert len(list((tmp_path / "shop/certificates").iterdir())) == 1
    assert (tmp_path / "shop/tls" / FULLCHAIN).read_text() == new.pem
    assert not modules("cleanup", mode="selfsigned")["changed"]
    assert modules("cleanup", mode="none")["changed"]
    assert os.listdir(tmp_path / "shop") == []
    assert not modules("cleanup", mode="none")["changed"]


def test_a_link_to_another_folder_leaves_no_pair_behind(modules, tmp_path: Path) -> None:
    modules("install", **pair(make(*NAMES)))
    (tmp_path / "shop/tls").unlink()
    (tmp_path / "live").mkdir()
    (tmp_path / "shop/tls").symlink_to(tmp_path / "live")
    assert modules("cleanup", mode="selfsigned")["changed"]
    assert os.listdir(tmp_path / "shop") == ["tls"]


@pytest.mark.parametrize(
    ("made", "key_type", "why"),
    [
        ({}, "ecdsa", ""),
        ({"key": make_key("rsa")}, "rsa", ""),
        ({"names": NAMES[:2]}, "ecdsa", "the site has other names"),
        ({"names": [*NAMES, "new.example.com"]}, "ecdsa", "the site has other names"),
        ({}, "rsa", "its key is not rsa"),
        ({"begins": -300 * DAY, "ends": 110 * DAY}, "ecdsa", "it ends on "),
        ({"begins": -40 * DAY, "ends": 29 * DAY}, "ecdsa", "it ends on "),
        ({"begins": -20 * DAY, "ends": 45 * DAY}, "ecdsa", ""),
        ({"begins": 2 * DAY, "ends": 300 * DAY}, "ecdsa", "it ends on "),
    ],
)
def test_a_new_certificate_is_made_when_the_old_one_no_longer_fits(
    tmp_path: Path, made: dict, key_type: str, why: str
) -> None:
    given = make(*(name.lower() for name in made.pop("names", NAMES)), **made)
    (tmp_path / FULLCHAIN).write_text(given.pem)
    (tmp_path / PRIVKEY).write_text(given.key)
    said = validity.why_new(tmp_path, NAMES, key_type)
    assert said.startswith(why) and bool(said) == bool(why)


def test_a_new_certificate_is_made_when_the_pair_is_missing_damaged_or_mismatched(tmp_path: Path) -> None:
    assert validity.why_new(None, NAMES, "ecdsa") == "there is none yet"
    assert validity.why_new(tmp_path, NAMES, "ecdsa") == "it cannot be read"
    (tmp_path / FULLCHAIN).write_text(make(*NAMES).pem)
    (tmp_path / PRIVKEY).write_text(make().key)
    assert validity.why_new(tmp_path, NAMES, "ecdsa") == "its key is another's"


# --- The role's own tasks, with the collection's modules ------------------------------------------------------------

# The site's name is unique among the test workers.
SITE = f"tls_test_{os.getpid()}"
PLAY = f"""
- hosts: all
  gather_facts: false
  roles: [{{role: wsgi.sites.preflight, when: false}}]
- hosts: all
  gather_facts: false
  tasks:
    - ansible.builtin.include_role: {{name: wsgi.sites.certificate, rolespec_validate: false}}
      vars: {{site_name: {SITE}}}
    - ansible.builtin.include_role: {{name: wsgi.sites.certificate, tasks_from: cleanup, rolespec_validate: false}}
      vars: {{site_name: {SITE}}}
      when: certificate_placed is changed
"""


@pytest.mark.skipif(os.geteuid() != 0, reason="writes below /etc")
class TestRole:
    """The role's result in /etc/SITE."""

    HOME = Path("/etc") / SITE

    @pytest.fixture
    def role(self, tmp_path: Path):
        """Runs the role on this machine with the variables of `play`."""
        self.HOME.mkdir()
        (tmp_path / "play.yml").write_text(PLAY)

        def play(*arguments: str, check: bool = True, **tls) -> str:
            entry = {
                "server_names": NAMES,
                "tls": {"key_type": "ecdsa", "certificate": "", "chain": "", "key": ""} | tls,
            }
            inventory = write_inventory(
                tmp_path, {"site_entry": entry, "ansible_python_interpreter": "{{ ansible_playbook_python }}"}
            )
            return run(tmp_path / "play.yml", "-i", inventory, *arguments, check=check)

        yield play
        for path in sorted(self.HOME.rglob("*"), reverse=True):
            path.rmdir() if path.is_dir() and not path.is_symlink() else path.unlink()
        self.HOME.rmdir()

    def test_selfsigned_makes_a_valid_certificate_once_and_never_prints_the_key(self, role) -> None:
        output = role("-vvv", "--diff", mode="selfsigned")
        key = (self.HOME / "tls" / PRIVKEY).read_text()
        certificate = x509.load_pem_x509_certificate((self.HOME / "tls" / FULLCHAIN).read_bytes())
        assert secret_line(key) not in output
        assert isinstance(load_pem_private_key(key.encode(), None), ec.EllipticCurvePrivateKey)
        assert validity.stated(certificate) == validity._stated_by(NAMES)
        life = certificate.not_valid_after_utc - certificate.not_valid_before_utc
        assert certificate.not_valid_before_utc < datetime.now(UTC) and life <= 825 * DAY
        usage = certificate.extensions.get_extension_for_class(x509.ExtendedKeyUsage).value
        assert [each._name for each in usage] == ["serverAuth"]
        assert not certificate.extensions.get_extension_for_class(x509.BasicConstraints).value.ca
        assert set(files(self.HOME).values()) == {0o600, 0o700}
        assert "changed=0" in role(mode="selfsigned")

    def test_another_kind_of_key_and_another_mode_leave_no_old_key_behind(self, role) -> None:
        role(mode="selfsigned")
        role(mode="selfsigned", key_type="rsa")
        key = load_pem_private_key((self.HOME / "tls" / PRIVKEY).read_bytes(), None)
        assert isinstance(key, rsa.RSAPrivateKey) and key.key_size >= 2048
        made = make(*(name.lower() for name in NAMES))
        provided = {"mode": "provided", "certificate": made.pem, "key": made.key}
        output = role("-vvv", "--diff", **provided)
        assert secret_line(made.key) not in output
        assert "changed=0" in role(**provided)
        assert len(list((self.HOME / "certificates").iterdir())) == 1
        assert (self.HOME / "tls" / PRIVKEY).read_text() == made.key

    def test_check_mode_reports_the_change_and_makes_nothing(self, role) -> None:
        assert "changed=1" in role("--check", mode="selfsigned")
        assert os.listdir(self.HOME) == []


def test_every_mode_has_its_tasks() -> None:
    spec = yaml.safe_load((PROJECT / "roles/site/meta/argument_specs.yml").read_text())
    modes = spec["argument_specs"]["main"]["options"]["site_entry"]["options"]["tls"]["options"]["mode"]["choices"]
    for mode in set(modes) - {"none"}:
        assert (PROJECT / f"roles/certificate/tasks/{mode}.yml").is_file()
