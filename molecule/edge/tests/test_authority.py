"""Certificates from an authority, as each release of Debian gets them and renews them by itself."""

from __future__ import annotations

import pytest
from authority import KEYS, names_of, rows, run, served_certificate, under_load
from support import Machine, Site, wait_until

SHOP = ["shop.test", "www.shop.test"]


def test_a_client_that_trusts_the_authority_reaches_each_name(machine: Machine) -> None:
    for name in SHOP:
        assert names_of(served_certificate(machine, name)) == SHOP
    assert names_of(served_certificate(machine, "blog.test")) == ["blog.test"]


def test_http_serves_the_site_and_the_acme_challenges(machine: Machine, shop: Site) -> None:
    assert machine.ask("/price", "shop.test").json["site"] == "shop"
    assert machine.ask("/.well-known/acme-challenge/nothing", "shop.test").status == 404


def test_only_root_reads_the_keys(machine: Machine) -> None:
    keys = machine.output(KEYS).split()
    assert len(keys) >= 5
    assert set(machine.output(f"stat --format='%U %a' {' '.join(keys)}").splitlines()) == {"root 600"}
    for user in ("shop", "www-data", "nobody"):
        assert not any(machine.succeeds_as(user, "cat", key) for key in keys)


def test_the_host_renews_certificates_on_a_timer(machine: Machine) -> None:
    if machine.has_systemd:
        assert machine.host.service("certbot.timer").is_running and machine.host.service("certbot.timer").is_enabled
    else:
        machine.output("pidof cron")
        assert "certbot -q renew" in machine.output("cat /etc/cron.d/certbot")


def test_the_table_lists_issuer_and_expiry(machine: Machine) -> None:
    done = run(machine, "certificates")
    assert (done.rc, done.changed) == (0, 0), done.output
    table = rows(done.output)
    assert table["shop"][2:5] == ["acme", table["shop"][3], ", ".join(SHOP)] and "Pebble" in table["shop"][3]
    assert int(table["shop"][5]) > 1000
    assert table["shop"][6].startswith("by timer from" if machine.has_systemd else "by cron from")
    assert table["inside"][2:5] == ["selfsigned", "itself", "inside.test"]


@pytest.mark.breaks
def test_a_renewal_is_served_even_if_that_of_another_site_fails(machine: Machine, shop: Site) -> None:
    def change(expression: str, *names: str) -> None:
        machine.output(f"sed -i '{expression}' {' '.join(f'/etc/letsencrypt/renewal/{name}.conf' for name in names)}")

    before = {name: served_certificate(machine, f"{name}.test")["serialNumber"] for name in ("blog", "shop")}
    # A name that leads elsewhere would not do: Pebble believes one that it has seen before, once in a hundred times.
    change("s#^server = .*/dir$#&/nowhere#", "blog")
    change("s/^renew_before_expiry = 720 hours$/renew_before_expiry = 20 years/", "blog", "shop")
    try:
        with under_load(shop):
            # What timer or crontab run, without the hours that they wait first.
            by_hand = "certbot -q renew --no-random-sleep-on-renew"
            done = machine.host.run("systemctl start certbot.service" if machine.has_systemd else by_hand)
            # The host tells that one of them failed.
            assert done.rc != 0, machine.output("tail -n 200 /var/log/letsencrypt/letsencrypt.log")
    finally:
        change("s#/nowhere$##", "blog")
        change("s/^renew_before_expiry = 20 years$/renew_before_expiry = 720 hours/", "blog", "shop")
    wait_until(lambda: served_certificate(machine, "shop.test")["serialNumber"] != before["shop"], "it is served")
    assert served_certificate(machine, "blog.test")["serialNumber"] == before["blog"]
    again = run(machine, "deploy")
    assert (again.rc, again.changed) == (0, 0), again.output
