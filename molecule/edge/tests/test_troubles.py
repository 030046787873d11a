"""An authority that gives no certificate: the site is up, the run says so, and the next one heals it."""

from __future__ import annotations

from typing import Any

import pytest
from authority import elsewhere, names_of, rows, run, shown, tell_dns, unreachable
from support import SITES, Machine, Run, Site, site_config, wait_until

pytestmark = pytest.mark.breaks
testinfra_hosts = ["ansible://elm"]

NAMES = ["gone.test", "late.test"]


def deploy(machine: Machine, **keys: Any) -> Run:
    """A run for a site that is on no other page."""
    return run(
        machine, "deploy", "site=late", sites=site_config(late={**SITES["blog"], "server_names": NAMES[1:], **keys})
    )


def heals(machine: Machine, **keys: Any) -> None:
    """The next run gets the certificate, and the one after it finds nothing to do."""
    done = deploy(machine, **keys)
    assert done.rc == 0, done.output
    again = deploy(machine, **keys)
    assert (again.rc, again.changed) == (0, 0), again.output


def test_a_directory_that_is_down_or_none_costs_a_new_site_nothing_but_trust(machine: Machine) -> None:
    with unreachable(machine):
        done = deploy(machine)
    assert done.rc != 0 and "failed=1" in done.output
    assert "late: the site is up, but its certificate is NOT TRUSTED" in done.output
    assert "Connection refused" in done.output
    site = Site(machine, "late", {**SITES["blog"], "server_names": NAMES[1:]})
    wait_until(site.is_healthy, "the site is up")
    table = rows(run(machine, "certificates", "site=late", sites=site_config(late=site.entry)).output)
    assert table["late"][3] == "itself" and table["late"][6].startswith("STANDS IN")
    nowhere = "https://acme.test:14000/nowhere"
    done = deploy(machine, tls={"acme": {"directory": nowhere}})
    assert done.rc != 0 and "late: the site is up, but its certificate is NOT TRUSTED" in done.output
    assert nowhere in done.output and site.is_healthy()
    heals(machine)
    assert names_of(shown(machine, "late.test")) == ["late.test"]


def test_a_name_that_leads_elsewhere_leaves_the_others_their_certificate(machine: Machine) -> None:
    tell_dns(machine, "gone.test", elsewhere(machine))
    done = deploy(machine, server_names=NAMES)
    assert done.rc != 0 and "late: the site is up with the certificate that it had" in done.output
    assert "gone.test: " in done.output and "late.test: " not in done.output
    assert names_of(shown(machine, "late.test")) == ["late.test"]
    assert machine.ask("/price", "gone.test").json["site"] == "late"
    tell_dns(machine, "gone.test")
    heals(machine, server_names=NAMES)
    wait_until(lambda: names_of(shown(machine, "gone.test")) == NAMES, "the new one is served")


def test_nobody_renews_the_certificate_of_a_site_that_is_gone(machine: Machine) -> None:
    done = deploy(machine, state="absent", purge=True)
    assert done.rc == 0 and machine.host.run("ls -d /etc/letsencrypt/*/late*").stdout == "", done.output
