"""Every tls.mode, one after the other on a site under load, and invalid certificates."""

from __future__ import annotations

import http.client
import ssl
from typing import Any

import pytest
from authority import names_of, run, secrets, served_certificate, under_load
from certificates import DAY, Made, make
from support import SITES, Machine, Site, run_playbook, site_config

pytestmark = pytest.mark.breaks
testinfra_hosts = ["ansible://elm"]

NAME = "blog.test"


@pytest.fixture
def blog(machine: Machine) -> Site:
    """The site with a certificate of the authority that serves http too."""
    return Site(machine, "blog", SITES["blog"])


def certificate(machine: Machine) -> str:
    """The certificate that a client gets that verifies none."""
    with machine.encrypted(NAME) as peer:
        return ssl.DER_cert_to_PEM_cert(peer.getpeercert(binary_form=True) or b"").strip()


def test_a_site_goes_through_every_mode_and_back_and_loses_no_request(blog: Site) -> None:
    machine, authority = blog.machine, make(authority=True, common_name="authority")
    pairs = [make(NAME, by=authority) for _ in range(2)]
    provided = [
        {"mode": "provided", "certificate": made.pem, "chain": authority.pem, "key": made.key} for made in pairs
    ]
    # Few requests, since the load lasts for ten runs.
    with under_load(blog, tls=False, pause=0.1):
        for tls in (*provided, {"mode": "none"}, {"mode": "selfsigned"}, {"mode": "acme"}):
            hidden = secrets(machine)
            deploy = ("playbooks/deploy.yml", "--extra-vars=site=blog", "-vvv", "--diff")
            done = run_playbook(*deploy, machine=machine, sites=site_config(blog={"tls": tls}))
            assert done.rc == 0, done.output
            hidden |= secrets(machine) | {made.key.split()[3] for made in pairs}
            assert [secret for secret in hidden if secret in done.output] == [], "a key is printed"
            again = run(machine, "deploy", "site=blog", sites=site_config(blog={"tls": tls}))
            assert (again.rc, again.changed) == (0, 0), again.output

            match tls["mode"]:
                case "provided":
                    assert certificate(machine) == tls["certificate"].strip()
                case "none":
                    # Unknown to https now: a client gets the certificate of the site with an IP address.
                    assert machine.output("cat /etc/shop/tls/fullchain.pem").startswith(certificate(machine))
                    with pytest.raises(http.client.RemoteDisconnected):
                        machine.ask("/environ", NAME, 443, tls=True)
                case "selfsigned":
                    assert certificate(machine) == machine.output("cat /etc/blog/tls/fullchain.pem")
                    assert "/selfsigned" in machine.output("readlink /etc/blog/tls")
                case "acme":
                    assert names_of(served_certificate(machine, NAME)) == [NAME]
            if tls["mode"] != "none":
                assert machine.ask("/environ", NAME, 443, tls=True).json["environ"]["wsgi.url_scheme"] == "https"


def as_entry(made: Made, key: str = "") -> dict[str, Any]:
    """The site keys of a certificate and its key."""
    return {"tls": {"mode": "provided", "certificate": made.pem, "key": key or made.key}}


def test_all_invalid_pairs_are_reported_before_the_host_is_touched(blog: Site) -> None:
    machine, good = blog.machine, make(NAME)
    broken = as_entry(make("inside.test"))
    broken["tls"]["certificate"] = broken["tls"]["certificate"].replace("MII", "M!!", 1)
    over = make("shop.test", "www.shop.test", "192.0.2.8", begins=-9 * DAY, ends=-DAY)
    before = certificate(machine)
    done = run_playbook(
        "playbooks/deploy.yml",
        machine=machine,
        sites=site_config(blog=as_entry(good, make(NAME).key), inside=broken, shop=as_entry(over)),
    )
    assert done.rc != 0 and "no host was touched" in done.output
    for words in ("blog.tls.key: ", "inside.tls.certificate: ", "shop.tls.certificate: ended on "):
        assert words in done.output, done.output
    assert good.key.split()[3] not in done.output
    assert certificate(machine) == before and blog.is_healthy()
