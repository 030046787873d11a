"""Certificates from an authority: got, renewed, refused, and got after all, on sites that go on serving."""

from __future__ import annotations

import http.client
import json
import re
import ssl
from collections.abc import Iterator
from contextlib import contextmanager
from typing import Any

import pytest
from hammer import Hammer
from support import EPHEMERAL, PLATFORMS, SITES, Machine, Run, Site, address_of, page, play, until

SHOP = ["shop.test", "www.shop.test"]
# A line of a private key in PEM.
KEY = "find /etc/letsencrypt /etc/*/certificates -name 'privkey*.pem' -type f"


@pytest.fixture
def shop(machine: Machine) -> Site:
    """The site that is hammered."""
    return Site(machine, "shop", SITES["shop"])


def tell_dns(machine: Machine, name: str, *addresses: str) -> None:
    """Where the ACME server of this host finds a name from now on."""
    connection = http.client.HTTPConnection(machine.address, 8055, timeout=10)
    what, told = ("add-a", {"addresses": addresses}) if addresses else ("clear-a", {})
    connection.request("POST", f"/{what}", json.dumps({"host": name, **told}))
    assert connection.getresponse().status == 200
    connection.close()


def elsewhere(machine: Machine) -> str:
    """The address of another host, which knows nothing of this one's tokens."""
    return next(address_of(name) for name in PLATFORMS if name != machine.name)


def roots(machine: Machine) -> str:
    """Whom a browser would have to believe for the sites' certificates."""
    context = ssl.create_default_context(cafile=EPHEMERAL / "acme-ca.pem")
    context.check_hostname = False  # it is asked by its address
    connection = http.client.HTTPSConnection(machine.address, 15000, timeout=10, context=context)
    connection.request("GET", "/roots/0")
    text = connection.getresponse().read().decode()
    connection.close()
    return text


def shown(machine: Machine, name: str) -> dict[str, Any]:
    """The certificate that a client gets who believes the authority, and looks at the name."""
    context = ssl.create_default_context(cadata=roots(machine))
    with machine.encrypted(name, context=context) as peer:
        return peer.getpeercert() or {}


def names_of(certificate: dict[str, Any]) -> list[str]:
    """Whom it is for."""
    return sorted(name for _, name in certificate["subjectAltName"])


def run(machine: Machine, verb: str, *words: str, sites: dict[str, Any] | None = None) -> Run:
    """Run a verb's playbook on this host alone."""
    return play(f"playbooks/{verb}.yml", *(f"--extra-vars={word}" for word in words), machine=machine, sites=sites)


def rows(output: str) -> dict[str, list[str]]:
    """The table, by site."""
    lines = [re.split(r" {2,}", line.strip(' |"')) for line in output.replace("\\n", "\n").splitlines()]
    return {cells[1]: cells for cells in lines if len(cells) == 7}


def test_a_client_who_believes_the_authority_reaches_each_name(machine: Machine) -> None:
    for name in SHOP:
        assert names_of(shown(machine, name)) == SHOP
    assert names_of(shown(machine, "blog.test")) == ["blog.test"]


def test_http_serves_besides_the_authority_s_questions(machine: Machine, shop: Site) -> None:
    assert machine.ask("/price", "shop.test").json["site"] == "shop"
    assert machine.ask("/.well-known/acme-challenge/nothing", "shop.test").status == 404


def test_keys_are_roots_alone(machine: Machine) -> None:
    keys = machine.output(KEY).split()
    assert len(keys) >= 5
    assert set(machine.output(f"stat --format='%U %a' {' '.join(keys)}").splitlines()) == {"root 600"}
    for user in ("shop", "www-data", "nobody"):
        assert not any(machine.succeeds_as(user, "cat", key) for key in keys)


def test_the_host_renews_by_itself(machine: Machine) -> None:
    if machine.has_systemd:
        assert machine.host.service("certbot.timer").is_running and machine.host.service("certbot.timer").is_enabled
    else:
        machine.output("pidof cron")
        assert "certbot -q renew" in machine.output("cat /etc/cron.d/certbot")


def test_the_table_says_whose_certificate_is_good_for_how_long(machine: Machine) -> None:
    done = run(machine, "certificates")
    assert (done.rc, done.changed) == (0, 0), done.output
    table = rows(done.output)
    assert table["shop"][2:5] == ["acme", table["shop"][3], ", ".join(SHOP)] and "Pebble" in table["shop"][3]
    assert int(table["shop"][5]) > 1000
    assert table["shop"][6].startswith("by timer from" if machine.has_systemd else "by cron from")
    assert table["inside"][2:5] == ["selfsigned", "itself", "inside.test"]


def test_there_is_no_renewing_what_is_not_there_or_not_the_host_s(machine: Machine) -> None:
    done = run(machine, "certificates", "site=shpo", "renew=yes")
    assert done.rc != 0 and "there is no such site on these hosts; did you mean shop?" in done.output
    plain = page(blog={"tls": {"mode": "none"}})
    done = run(machine, "certificates", "site=blog", "renew=yes", sites=plain)
    assert done.rc != 0 and "its certificate is not this host's to renew (tls.mode is none)" in done.output


def test_a_dry_run_asks_nobody(machine: Machine) -> None:
    before = shown(machine, "shop.test")
    done = play("playbooks/certificates.yml", "--check", "--extra-vars=renew=yes", machine=machine)
    assert done.rc == 0 and done.changed >= 2, done.output
    assert shown(machine, "shop.test") == before


@contextmanager
def hammered(shop: Site) -> Iterator[None]:
    """Ask the site over https all the while; nobody may notice anything."""
    hammer = Hammer(shop.machine.address, shop.server_name, shop.name, port=443, tls=True, clients=6)
    with hammer, hammer.change():
        yield
    booked = shop.machine.output("grep -F %s %s/shared/data/sales || true", hammer.name, shop.root).splitlines()
    report = hammer.report(booked)
    print(f"{report.requests} requests, {report.idle_closes} idle connections closed")
    assert report.harm == {} and len(report.during.taken) > 200


@pytest.mark.breaks
def test_a_renewal_loses_no_request_and_shows_no_key(machine: Machine, shop: Site) -> None:
    before = shown(machine, "shop.test")
    with hammered(shop):
        done = play(
            "playbooks/certificates.yml",
            *("--extra-vars=site=shop", "--extra-vars=renew=yes", "-vvv", "--diff"),
            machine=machine,
        )
    assert done.rc == 0, done.output
    until(lambda: shown(machine, "shop.test")["serialNumber"] != before["serialNumber"], "the new one is served")
    lines = machine.output(f"{KEY} -exec sed -n 2p '{{}}' +").split()
    assert lines and not any(line in done.output for line in lines)
    assert machine.output("ls /etc/shop/certificates").count("\n") == 0, "the one before is gone"
    again = run(machine, "deploy", "site=shop")
    assert (again.rc, again.changed) == (0, 0), again.output


@pytest.mark.breaks
def test_a_selfsigned_one_is_made_anew_on_demand(machine: Machine) -> None:
    before = machine.output("readlink /etc/inside/tls")
    done = run(machine, "certificates", "site=inside", "renew=yes")
    assert done.rc == 0 and machine.output("readlink /etc/inside/tls") != before, done.output
    again = run(machine, "deploy", "site=inside")
    assert (again.rc, again.changed) == (0, 0), again.output


@pytest.mark.breaks
def test_the_host_s_own_renewal_serves_the_new_one_though_another_site_s_fails(machine: Machine, shop: Site) -> None:
    def renew_before_end(now: str, then: str) -> None:
        expression = f"s/^renew_before_expiry = {now}$/renew_before_expiry = {then}/"
        machine.output(f"sed -i '{expression}' /etc/letsencrypt/renewal/blog.conf /etc/letsencrypt/renewal/shop.conf")

    before = {name: shown(machine, f"{name}.test")["serialNumber"] for name in ("blog", "shop")}
    tell_dns(machine, "blog.test", elsewhere(machine))
    renew_before_end("720 hours", "20 years")
    try:
        with hammered(shop):
            # What timer or crontab run, without the hours that they wait first.
            by_hand = "certbot -q renew --no-random-sleep-on-renew"
            done = machine.host.run("systemctl start certbot.service" if machine.has_systemd else by_hand)
            assert done.rc != 0, "the host tells that one of them failed"
    finally:
        tell_dns(machine, "blog.test")
        renew_before_end("20 years", "720 hours")
    until(lambda: shown(machine, "shop.test")["serialNumber"] != before["shop"], "the new one is served")
    assert shown(machine, "blog.test")["serialNumber"] == before["blog"]
    again = run(machine, "deploy")
    assert (again.rc, again.changed) == (0, 0), again.output


@contextmanager
def unreachable(machine: Machine) -> Iterator[None]:
    """Nobody answers where the directory was."""
    machine.output("cp /etc/hosts /root/hosts && sed 's/.*acme.test/127.0.0.66 acme.test/' /root/hosts > /etc/hosts")
    try:
        yield
    finally:
        machine.output("cat /root/hosts > /etc/hosts")


@pytest.mark.breaks
def test_a_directory_that_is_down_costs_nothing_but_trust_and_the_next_run_heals_it(machine: Machine) -> None:
    late = {**SITES["blog"], "server_names": ["late.test"]}
    sites = page(late=late)
    site = Site(machine, "late", late)
    with unreachable(machine):
        done = run(machine, "deploy", "site=late", sites=sites)
    assert done.rc != 0 and "failed=1" in done.output
    assert "late: the site is up, but its certificate is NOT TRUSTED" in done.output
    assert "Connection refused" in done.output
    until(site.is_well, "the site is up")
    table = rows(run(machine, "certificates", "site=late", sites=sites).output)
    assert table["late"][3] == "itself" and table["late"][6].startswith("STANDS IN")

    done = run(machine, "deploy", "site=late", sites=sites)
    assert done.rc == 0, done.output
    assert names_of(shown(machine, "late.test")) == ["late.test"]
    again = run(machine, "deploy", "site=late", sites=sites)
    assert (again.rc, again.changed) == (0, 0), again.output

    gone = run(machine, "deploy", "site=late", sites=page(late={"state": "absent", "purge": True}))
    assert gone.rc == 0 and machine.host.run("ls -d /etc/letsencrypt/*/late*").stdout == "", gone.output


@pytest.mark.breaks
def test_a_name_that_fails_keeps_the_old_certificate_and_the_next_run_heals_it(machine: Machine) -> None:
    names = ["blog.test", "gone.test"]
    sites = page(blog={"server_names": names})
    tell_dns(machine, "gone.test", elsewhere(machine))
    done = run(machine, "deploy", "site=blog", sites=sites)
    assert done.rc != 0 and "blog: the site is up with the certificate that it had" in done.output
    assert "gone.test: " in done.output
    assert names_of(shown(machine, "blog.test")) == ["blog.test"]
    assert machine.ask("/price", "gone.test").json["site"] == "blog"

    tell_dns(machine, "gone.test")
    done = run(machine, "deploy", "site=blog", sites=sites)
    assert done.rc == 0, done.output
    until(lambda: names_of(shown(machine, "gone.test")) == names, "the new one is served")
    again = run(machine, "deploy", "site=blog", sites=sites)
    assert (again.rc, again.changed) == (0, 0), again.output
