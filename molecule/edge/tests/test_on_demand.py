"""Renewals on demand, by playbooks/certificates.yml."""

from __future__ import annotations

import pytest
from authority import run, secrets, served_certificate, under_load
from support import Machine, Site, run_playbook, site_config, wait_until

testinfra_hosts = ["ansible://oak"]


def test_a_certificate_that_the_host_does_not_manage_cannot_be_renewed(machine: Machine) -> None:
    done = run(machine, "certificates", "site=shpo", "renew=yes")
    assert done.rc != 0 and "there is no such site on these hosts; did you mean shop?" in done.output
    plain = site_config(blog={"tls": {"mode": "none"}})
    done = run(machine, "certificates", "site=blog", "renew=yes", sites=plain)
    assert done.rc != 0 and "its certificate is not this host's to renew (tls.mode is none)" in done.output


def test_a_dry_run_requests_no_certificate(machine: Machine) -> None:
    before = served_certificate(machine, "shop.test")
    done = run_playbook("playbooks/certificates.yml", "--check", "--extra-vars=renew=yes", machine=machine)
    assert done.rc == 0 and done.changed >= 2, done.output
    assert served_certificate(machine, "shop.test") == before


@pytest.mark.breaks
def test_a_renewal_loses_no_request_and_shows_no_key(machine: Machine, shop: Site) -> None:
    before = served_certificate(machine, "shop.test")
    with under_load(shop):
        done = run_playbook(
            "playbooks/certificates.yml",
            *("--extra-vars=site=shop", "--extra-vars=renew=yes", "-vvv", "--diff"),
            machine=machine,
        )
    assert done.rc == 0, done.output
    wait_until(
        lambda: served_certificate(machine, "shop.test")["serialNumber"] != before["serialNumber"],
        "it is served",
    )
    assert not any(secret in done.output for secret in secrets(machine))
    assert machine.output("ls /etc/shop/certificates").count("\n") == 0, "the previous one is gone"
    again = run(machine, "deploy", "site=shop")
    assert (again.rc, again.changed) == (0, 0), again.output


@pytest.mark.breaks
def test_a_self_signed_certificate_is_replaced_on_demand(machine: Machine) -> None:
    before = machine.output("readlink /etc/inside/tls")
    done = run(machine, "certificates", "site=inside", "renew=yes")
    assert done.rc == 0 and machine.output("readlink /etc/inside/tls") != before, done.output
    again = run(machine, "deploy", "site=inside")
    assert (again.rc, again.changed) == (0, 0), again.output
