"""Certificates by ACME: the arguments of certbot, the files for nginx, and the status table."""

from __future__ import annotations

import os
import subprocess
from datetime import UTC, datetime, timedelta
from pathlib import Path

import pytest
from certificates import DAY, Made, make, make_key, place
from cryptography.hazmat.primitives.serialization import Encoding
from nginx_rig import NGINX, Rig, evaluate, free_port, needs_nginx, private_nginx, talk, wait_for

from ansible_collections.wsgi.sites.plugins.module_utils.certificates import inspection, threshold
from ansible_collections.wsgi.sites.plugins.module_utils.certificates.folder import FULLCHAIN, PRIVKEY, Folder
from ansible_collections.wsgi.sites.plugins.module_utils.certificates.lineage import Lineage, reason
from ansible_collections.wsgi.sites.plugins.module_utils.certificates.lineage import spare as unused
from ansible_collections.wsgi.sites.plugins.module_utils.certificates.renewal import take
from ansible_collections.wsgi.sites.plugins.module_utils.certificates.request import CertificateRequest
from ansible_collections.wsgi.sites.plugins.module_utils.daemons import nginx

NAMES = ["shop.example.com", "www.shop.example.com"]
DIRECTORY = "https://ca.test/dir"


@pytest.fixture
def folder(tmp_path: Path) -> Folder:
    (tmp_path / "etc/shop").mkdir(parents=True)
    return Folder("shop", tmp_path / "etc")


@pytest.fixture
def lineage(tmp_path: Path) -> Lineage:
    return Lineage("shop", tmp_path / "letsencrypt")


@pytest.fixture
def certificate_request(folder: Folder, lineage: Lineage) -> CertificateRequest:
    return CertificateRequest(folder, lineage, [*NAMES, "192.0.2.1"], "ecdsa", DIRECTORY, "", 30)


def give(lineage: Lineage, made: Made, **settings: str) -> None:
    """The files of certbot after it has got a certificate."""
    place(lineage.live, made)
    lineage.settings.parent.mkdir(exist_ok=True)
    told = {"renew_hook": lineage.hook, "server": DIRECTORY, **settings}
    text = "".join(f"{key} = {value}\n" for key, value in told.items())
    lineage.settings.write_text("# renew_before_expiry = 30 days\nversion = 2.1.0\n\n[renewalparams]\n" + text)


def do(_words: str) -> bool:
    return True


def nowhere(tmp_path: Path) -> nginx.Places:
    """An nginx that does not run."""
    return nginx.Places(pid_file=tmp_path / "none.pid", state_dir=tmp_path / "run")


@pytest.mark.parametrize(
    ("made", "settings", "why"),
    [
        ({}, {}, ""),
        ({"names": NAMES[:1]}, {}, "the site has other names"),
        ({"key": make_key("rsa")}, {}, "its key is not ecdsa"),
        ({}, {"server": "https://other.test"}, "it is of another directory"),
        ({"begins": -61 * DAY, "ends": 29 * DAY}, {}, "it ends on "),
        ({"begins": -59 * DAY, "ends": 31 * DAY}, {}, ""),
        # A certificate for six days is not renewed before half of them have passed.
        ({"begins": -2 * DAY, "ends": 4 * DAY}, {}, ""),
        ({"begins": -4 * DAY, "ends": 2 * DAY}, {}, "it ends on "),
    ],
)
def test_a_certificate_is_requested_when_the_old_one_no_longer_fits(
    certificate_request: CertificateRequest, made: dict, settings: dict, why: str
) -> None:
    assert certificate_request.why() == "there is none yet"
    give(certificate_request.lineage, make(*made.pop("names", NAMES), **made), **settings)
    assert certificate_request.why().startswith(why) and bool(certificate_request.why()) == bool(why)


def test_nothing_is_requested_while_the_certificate_is_installed_and_renews(
    certificate_request: CertificateRequest, tmp_path: Path
) -> None:
    made = make(*NAMES, begins=-1 * DAY, ends=89 * DAY)
    give(certificate_request.lineage, made)
    assert not certificate_request.is_settled()
    take(certificate_request.folder, certificate_request.lineage, do, nowhere(tmp_path))
    assert not certificate_request.is_settled()
    certificate_request.lineage.set_renewal(certificate_request.interval())
    assert certificate_request.is_settled()
    assert certificate_request.lineage.settings.read_text().startswith("renew_before_expiry = 720 hours\nversion")
    assert certificate_request.lineage.settings.read_text().count("renew_before_expiry") == 1
    (certificate_request.folder.link / PRIVKEY).chmod(0o644)
    assert not certificate_request.is_settled(), "others can read the key"


def test_certbot_gets_the_names_only_and_runs_without_prompts(
    certificate_request: CertificateRequest, monkeypatch, tmp_path: Path
) -> None:
    monkeypatch.setattr(
        "ansible_collections.wsgi.sites.plugins.module_utils.certificates.request.WEBROOT", tmp_path / "web"
    )
    asked: list[list[str]] = []
    busy = iter([(1, "", "Another instance of Certbot is already running."), (0, "", "")])

    def run(command: list[str]) -> tuple[int, str, str]:
        asked.append(command)
        return next(busy)

    before = os.umask(0o077)
    assert certificate_request.send(run) == "" and len(asked) == 2, "the host's timer may be running"
    os.umask(before)
    words = asked[0]
    assert [words[at + 1] for at, word in enumerate(words) if word == "--domain"] == NAMES
    assert "--non-interactive" in words and "--register-unsafely-without-email" in words
    assert (tmp_path / "web").stat().st_mode & 0o001, "nginx's workers can enter"


def test_a_certificate_of_the_same_name_by_another_owner_is_left_alone(certificate_request: CertificateRequest) -> None:
    give(certificate_request.lineage, make(*NAMES), renew_hook="systemctl reload apache2")
    assert "is not this site's" in certificate_request.send(lambda _: pytest.fail("certbot was called"))
    assert unused("none", certificate_request.folder, certificate_request.lineage) == []


FAILED = """
Saving debug log to /var/log/letsencrypt/letsencrypt.log
Requesting a certificate for shop.test and bad.test

Certbot failed to authenticate some domains (authenticator: webroot). The Certificate Authority reported these problems:
  Domain: bad.test
  Type:   unauthorized
  Detail: 192.0.2.7: Invalid response from http://bad.test/.well-known/acme-challenge/x: 404

Hint: The Certificate Authority failed to download the temporary challenge files created by Certbot.

Some challenges have failed.
Ask for help or search for solutions at https://community.letsencrypt.org. See the logfile
"""
DOWN = """
Saving debug log to /var/log/letsencrypt/letsencrypt.log
An unexpected error occurred:
ValueError: Requesting localhost/dir: Connection refused
Ask for help or search for solutions at https://community.letsencrypt.org. See the logfile
"""


def test_errors_of_certbot_are_reported_in_short(certificate_request: CertificateRequest) -> None:
    bad = reason(FAILED)
    assert bad == "bad.test: 192.0.2.7: Invalid response from http://bad.test/.well-known/acme-challenge/x: 404"
    assert reason(DOWN) == "ValueError: Requesting localhost/dir: Connection refused"
    assert reason("") == "certbot says nothing"
    assert reason("An unexpected error occurred:\nof the authority: \x1b[2J\x9b") == "of the authority: \\x1b[2J\\x9b"
    told = certificate_request.message(bad)
    assert "NOT TRUSTED" in told and DIRECTORY in told and bad in told and "port 80" in told
    certificate_request.folder.place(
        "acme", {name: text.encode() for name, text in pair(make(*NAMES, ends=9 * DAY)).items()}, do
    )
    assert f"which ends on {datetime.now(UTC) + 9 * DAY:%Y-%m-%d}" in certificate_request.message(bad)


def pair(made: Made) -> dict[str, str]:
    return {FULLCHAIN: made.pem, PRIVKEY: made.key}


def test_certbots_files_are_removed_when_the_mode_changes(folder: Folder, lineage: Lineage, tmp_path: Path) -> None:
    give(lineage, make(*NAMES))
    take(folder, lineage, do, nowhere(tmp_path))
    assert unused("acme", folder, lineage) == []
    assert unused("provided", folder, lineage) == [lineage.settings, lineage.live]
    assert unused("none", folder, lineage)[-2:] == [lineage.settings, lineage.live]


@needs_nginx
class TestRunningNginx:
    """What a running nginx serves."""

    @pytest.fixture
    def rig(self):
        yield from private_nginx()

    def test_a_renewed_certificate_is_served_at_once_and_leaves_nothing_to_do(self, rig: Rig, plugin) -> None:
        module = plugin("plugins/modules/nginx_config.py")
        port, state = free_port(), rig.folder / "run/sites"
        folder, lineage = Folder("shop", rig.folder / "etc"), Lineage("shop", rig.folder / "letsencrypt")
        places = nginx.Places(rig.conf, NGINX, rig.run_dir / "nginx.pid", rig.log, state)
        tls = rig.folder / "etc/shop/tls"
        text = (
            f"# Made from a test; edits here are lost.\npid {places.pid_file};\nerror_log {rig.log};\n"
            "user www-data;\nworker_processes 1;\n"
            f"events {{}}\nhttp {{ access_log off; server {{ listen 127.0.0.1:{port} ssl;\n"
            f"ssl_certificate {tls}/fullchain.pem;\nssl_certificate_key {tls}/privkey.pem;\nreturn 204; }} }}\n"
        )
        options = {"links": {}, "absent": [], "stock_links": [], "assumed": {}, "test_only": False}
        options |= {"passwords": {}, "passwords_like": "", "unused_caches": []}
        wanted = {"files": {str(rig.conf / "nginx.conf"): text}, **options}

        old, new = make(*NAMES), make(*NAMES)
        folder.link.parent.mkdir(parents=True)
        folder.place("selfsigned", {name: text.encode() for name, text in pair(old).items()}, do)
        module.ensure(wanted, places)
        rig.start()
        assert not module.ensure(wanted, places)["changed"]

        give(lineage, new)
        said: list[str] = []
        take(folder, lineage, lambda words: said.append(words) or True, places)
        # Old workers accept connections for a short time.
        wait_for(lambda: talk(port).certificate == new.certificate.public_bytes(Encoding.DER))
        assert "reload nginx" in said and len(list(folder.certificates.iterdir())) == 1
        assert not module.ensure(wanted, places)["changed"], "the next run finds nothing to do"
        said.clear()
        take(folder, lineage, lambda words: said.append(words) or True, places)
        assert said == []


# --- The table ------------------------------------------------------------------------------------------------------


def openssl(command: list[str]) -> tuple[int, str, str]:
    done = subprocess.run(command, capture_output=True, text=True, check=False)
    return done.returncode, done.stdout, done.stderr


def test_issuer_names_and_expiry_are_read_from_the_certificate(tmp_path: Path) -> None:
    authority = make(authority=True, common_name="Test, E7")
    place(tmp_path / "one", make(*NAMES, "192.0.2.1", by=authority, ends=41 * DAY))
    seen = inspection.inspect(tmp_path / "one", openssl)
    assert (seen.issuer.replace("\\", ""), seen.names) == ("Test, E7", [*NAMES, "192.0.2.1"])
    assert seen.days(datetime.now(UTC)) == 40
    place(tmp_path / "two", make(*NAMES))
    assert inspection.inspect(tmp_path / "two", openssl).issuer == "itself"
    assert inspection.inspect(tmp_path / "none", openssl) is None


NOW = datetime(2026, 11, 21, tzinfo=UTC)


@pytest.mark.parametrize(
    ("kind", "left", "timer", "words"),
    [
        ("acme", 40, "timer", "by timer from 2026-12-01"),
        ("acme", 29, "cron", "by cron, now due"),
        ("acme", 26, "timer", "OVERDUE since 2026-11-17: see /var/log/letsencrypt/letsencrypt.log"),
        ("acme", 40, "", "NOT RENEWED: neither certbot.timer nor cron runs; due 2026-12-01"),
        ("provided", 40, "", "by you"),
        ("provided", -1, "", "ENDED: provide a new one"),
        ("selfsigned", 80, "", "by a run from 2027-01-10"),
        ("selfsigned", 29, "", "by a run, now due"),
    ],
)
def test_the_table_shows_how_and_when_it_renews(kind: str, left: int, timer: str, words: str) -> None:
    ends = NOW + timedelta(days=left)
    seen = inspection.CertificateInfo("Somebody", NAMES, ends - timedelta(days=90), ends)
    assert inspection.renewal(kind, seen, "720 hours", timer, NOW) == words


def test_a_temporary_certificate_is_shown_as_such(plugin, folder: Folder, lineage: Lineage) -> None:
    status = plugin("plugins/modules/certificate_status.py")
    assert status.report(folder, lineage, "acme", openssl, NOW)["renewal"].startswith("NONE YET")
    folder.place("selfsigned", {name: text.encode() for name, text in pair(make(*NAMES)).items()}, do)
    found = status.report(folder, lineage, "acme", openssl, NOW)
    assert (found["issuer"], found["renewal"]) == ("itself", "STANDS IN: there is none by acme yet; run again")


def test_a_certificate_renews_at_half_its_lifetime_at_the_earliest() -> None:
    assert threshold.asked_for(30)(90 * DAY) == 30 * DAY
    assert threshold.asked_for(30)(6 * DAY) == 3 * DAY
    assert [threshold.made_here(days * DAY) / DAY for days in (365, 60, 30)] == [365 / 3, 30, 15]


def test_the_table_is_one_line_a_site() -> None:
    rows = [
        {"site": "shop", "mode": "acme", "issuer": "CA", "names": NAMES, "days": 60, "renewal": "by timer"},
        {"site": "blog", "mode": "none", "issuer": "", "names": [], "days": -1, "renewal": ""},
    ]
    variables = {"ansible_play_hosts": ["web1"], "hostvars": {"web1": {"certificate_status": {"sites": rows}}}}
    text = evaluate("lookup('wsgi.sites.table', 'certificates')", variables)
    assert [" ".join(line.split()) for line in text.splitlines() if line.strip()] == [
        "HOST SITE MODE ISSUER NAMES DAYS LEFT RENEWAL",
        "web1 shop acme CA shop.example.com, www.shop.example.com 60 by timer",
        "web1 blog none - - - -",
    ]
