"""An authority that issues no certificate: the site is up, the run reports it, and the next run repairs it."""

from __future__ import annotations

from typing import Any

import pytest
from authority import elsewhere, names_of, rows, run, served_certificate, set_dns, unreachable
from support import SITES, Machine, Run, Site, site_config, wait_until

pytestmark = pytest.mark.breaks
testinfra_hosts = ["ansible://elm"]

NAMES = ["gone.test", "late.test"]


def deploy(machine: Machine, **keys: Any) -> Run:
    """Deploy a site that only these tests have."""
    return run(
        machine, "deploy", "site=late", sites=site_config(late={**SITES["blog"], "server_names": NAMES[1:], **keys})
    )


def assert_next_run_repairs(machine: Machine, **keys: Any) -> None:
    """The next run gets the certificate, and the one after it changes nothing."""
    done = deploy(machine, **keys)
    assert done.rc == 0, done.output
    again = deploy(machine, **keys)
    assert (again.rc, again.changed) == (0, 0), again.output


def test_without_a_reachable_directory_a_new_site_is_up_with_an_untrusted_certificate(machine: Machine) -> None:
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
    assert_next_run_repairs(machine)
    assert names_of(served_certificate(machine, "late.test")) == ["late.test"]


def test_a_name_that_resolves_elsewhere_leaves_the_others_their_certificate(machine: Machine) -> None:
    set_dns(machine, "gone.test", elsewhere(machine))
    done = deploy(machine, server_names=NAMES)
    assert done.rc != 0 and "late: the site is up with the certificate that it had" in done.output
    assert "gone.test: " in done.output and "late.test: " not in done.output
    assert names_of(served_certificate(machine, "late.test")) == ["late.test"]
    assert machine.ask("/price", "gone.test").json["site"] == "late"
    set_dns(machine, "gone.test")
    assert_next_run_repairs(machine, server_names=NAMES)
    wait_until(lambda: names_of(served_certificate(machine, "gone.test")) == NAMES, "it is served")


def test_a_removed_site_leaves_no_certificate_to_renew(machine: Machine) -> None:
    done = deploy(machine, state="absent", purge=True)
    assert done.rc == 0 and machine.host.run("ls -d /etc/letsencrypt/*/late*").stdout == "", done.output
