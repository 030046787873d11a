"""The table of certificates, and new ones when an operator wants them."""

from __future__ import annotations

import pytest
from authority import run, secrets, shown, under_load
from support import Machine, Site, run_playbook, site_config, wait_until

testinfra_hosts = ["ansible://oak"]


def test_there_is_no_renewing_what_is_not_there_or_not_the_host_s(machine: Machine) -> None:
    done = run(machine, "certificates", "site=shpo", "renew=yes")
    assert done.rc != 0 and "there is no such site on these hosts; did you mean shop?" in done.output
    plain = site_config(blog={"tls": {"mode": "none"}})
    done = run(machine, "certificates", "site=blog", "renew=yes", sites=plain)
    assert done.rc != 0 and "its certificate is not this host's to renew (tls.mode is none)" in done.output


def test_a_dry_run_asks_nobody(machine: Machine) -> None:
    before = shown(machine, "shop.test")
    done = run_playbook("playbooks/certificates.yml", "--check", "--extra-vars=renew=yes", machine=machine)
    assert done.rc == 0 and done.changed >= 2, done.output
    assert shown(machine, "shop.test") == before


@pytest.mark.breaks
def test_a_renewal_loses_no_request_and_shows_no_key(machine: Machine, shop: Site) -> None:
    before = shown(machine, "shop.test")
    with under_load(shop):
        done = run_playbook(
            "playbooks/certificates.yml",
            *("--extra-vars=site=shop", "--extra-vars=renew=yes", "-vvv", "--diff"),
            machine=machine,
        )
    assert done.rc == 0, done.output
    wait_until(lambda: shown(machine, "shop.test")["serialNumber"] != before["serialNumber"], "the new one is served")
    assert not any(secret in done.output for secret in secrets(machine))
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
