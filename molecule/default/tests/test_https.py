"""A site with a certificate that its host has made."""

from __future__ import annotations

import json
import ssl

import pytest
from support import PLATFORMS, SITES, Machine, Site, machine_of, run_playbook, site_config


@pytest.fixture
def wordbook(machine: Machine) -> Site:
    """The sample site."""
    return Site(machine, "wordbook", SITES["wordbook"])


def test_http_redirects_to_https(wordbook: Site) -> None:
    answer = wordbook.machine.ask("/words?q=a%20b", wordbook.server_name)
    assert (answer.status, answer.headers["Location"]) == (301, f"https://{wordbook.server_name}/words?q=a%20b")


def test_the_health_check_uses_https(wordbook: Site) -> None:
    manifest = json.loads(wordbook.machine.output("cat /srv/wordbook/live/release/release.json"))
    assert manifest["health"]["scheme"] == "https"


def test_a_client_that_trusts_the_certificate_reaches_the_site_by_its_name(wordbook: Site) -> None:
    certificate = wordbook.machine.output("cat /etc/wordbook/tls/fullchain.pem")
    context = ssl.create_default_context(cadata=certificate)
    context.set_alpn_protocols(["h2", "http/1.1"])
    with wordbook.machine.encrypted(wordbook.server_name, context=context) as peer:
        assert (peer.version(), peer.selected_alpn_protocol()) == ("TLSv1.3", "h2")


def test_only_root_reads_the_key(wordbook: Site) -> None:
    assert wordbook.machine.output("stat --dereference --format='%U %a' /etc/wordbook/tls/privkey.pem") == "root 600"
    for user in (wordbook.user, "www-data", "nobody"):
        assert not wordbook.machine.succeeds_as(user, "cat", "/etc/wordbook/tls/privkey.pem")
        assert not wordbook.machine.succeeds_as(user, "ls", "/etc/wordbook/certificates")


def test_cookies_are_secure(wordbook: Site) -> None:
    cookie = wordbook.get("/account/login").headers["Set-Cookie"]
    assert "Secure" in cookie


def test_the_status_table_says_https(machine: Machine, wordbook: Site) -> None:
    table = run_playbook("playbooks/status.yml", machine=machine).output
    assert f" https://{wordbook.server_name}/" in table


def test_a_client_without_sni_gets_no_certificate(machine: Machine) -> None:
    with pytest.raises(ssl.SSLError, match=r"(?i)unrecognized.name"):
        machine.encrypted(None)


def assert_http_3(machine: Machine) -> None:
    """HTTP/3 serves the site's name and no other, and the app sees the port."""
    machine.output("apt-get -qq install --no-install-recommends --yes curl")
    curl = f"curl -ks --resolve wordbook.test:8443:{machine.address} https://wordbook.test:8443"
    output = machine.output(f"{curl}/whoami --http3-only --write-out ' over %{{http_version}}'")
    seen = json.loads(output.removesuffix(" over 3"))
    assert (seen["scheme"], seen["host"]) == ("https", "wordbook.test:8443")
    assert 'alt-svc: h3=":8443"' in machine.output(f"{curl}/healthz --head").lower()
    other_name = curl.replace("wordbook.test", "unknown.test")
    assert machine.host.run(f"{other_name}/ --http3-only --max-time 5").rc != 0


@pytest.mark.breaks
def test_http_3_is_served_where_it_is_configured_and_nginx_supports_it() -> None:
    sites = site_config(wordbook={"https_port": 8443, "tls": {"mode": "selfsigned", "http3": True}})
    for changes in (True, False):
        assert (run_playbook("site.yml", sites=sites).checked().changed > 0) == changes
    for name in PLATFORMS:
        assert Site(machine_of(name), "wordbook", sites["wordbook"]).is_healthy()
    assert_http_3(machine_of("debian13"))
    run_playbook("site.yml").checked()
