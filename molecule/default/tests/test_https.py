"""A site with a certificate that its host has made."""

from __future__ import annotations

import json
import ssl

import pytest
from support import SITES, Machine, Site, run_playbook, site_config


@pytest.fixture
def wordbook(machine: Machine) -> Site:
    """The sample site."""
    return Site(machine, "wordbook", SITES["wordbook"])


def test_http_leads_to_https(wordbook: Site) -> None:
    answer = wordbook.machine.ask("/words?q=a%20b", wordbook.server_name)
    assert (answer.status, answer.headers["Location"]) == (301, f"https://{wordbook.server_name}/words?q=a%20b")


def test_the_health_page_is_asked_for_as_clients_come(wordbook: Site) -> None:
    manifest = json.loads(wordbook.machine.output("cat /srv/wordbook/live/release/release.json"))
    assert manifest["health"]["scheme"] == "https"


def test_who_trusts_the_certificate_reaches_the_site_by_its_name(wordbook: Site) -> None:
    made = wordbook.machine.output("cat /etc/wordbook/tls/fullchain.pem")
    context = ssl.create_default_context(cadata=made)
    context.set_alpn_protocols(["h2", "http/1.1"])
    with wordbook.machine.encrypted(wordbook.server_name, context=context) as peer:
        assert (peer.version(), peer.selected_alpn_protocol()) == ("TLSv1.3", "h2")


def test_the_key_is_roots_alone(wordbook: Site) -> None:
    assert wordbook.machine.output("stat --dereference --format='%U %a' /etc/wordbook/tls/privkey.pem") == "root 600"
    for user in (wordbook.user, "www-data", "nobody"):
        assert not wordbook.machine.succeeds_as(user, "cat", "/etc/wordbook/tls/privkey.pem")
        assert not wordbook.machine.succeeds_as(user, "ls", "/etc/wordbook/certificates")


def test_cookies_are_for_https_alone(wordbook: Site) -> None:
    cookie = wordbook.get("/account/login").headers["Set-Cookie"]
    assert "Secure" in cookie


def test_the_status_table_says_https(machine: Machine, wordbook: Site) -> None:
    table = run_playbook("playbooks/status.yml", machine=machine).output
    assert f" https://{wordbook.server_name}/" in table


def test_a_connection_without_a_name_gets_no_certificate(machine: Machine) -> None:
    with pytest.raises(ssl.SSLError, match=r"(?i)unrecognized.name"):
        machine.encrypted(None)


def speaks_http_3(machine: Machine) -> None:
    """To who asks for the site, and nobody else; and the app learns the port."""
    machine.output("apt-get -qq install --no-install-recommends --yes curl")
    ask = f"curl -ks --resolve wordbook.test:8443:{machine.address} https://wordbook.test:8443"
    seen = machine.output(f"{ask}/whoami --http3-only --write-out ' over %{{http_version}}'")
    told = json.loads(seen.removesuffix(" over 3"))
    assert (told["scheme"], told["host"]) == ("https", "wordbook.test:8443")
    assert 'alt-svc: h3=":8443"' in machine.output(f"{ask}/healthz --head").lower()
    stranger = ask.replace("wordbook.test", "unknown.test")
    assert machine.host.run(f"{stranger}/ --http3-only --max-time 5").rc != 0


@pytest.mark.breaks
def test_http_3_is_spoken_where_it_is_asked_for_and_nginx_has_it(machine: Machine) -> None:
    sites = site_config(wordbook={"https_port": 8443, "tls": {"mode": "selfsigned", "http3": True}})
    for changes in (True, False):
        run = run_playbook("site.yml", machine=machine, sites=sites)
        assert (run.rc, run.changed > 0) == (0, changes), run.output
    assert Site(machine, "wordbook", sites["wordbook"]).is_healthy()
    if machine.name == "debian13":
        speaks_http_3(machine)
    back = run_playbook("site.yml", machine=machine)
    assert back.rc == 0, back.output
