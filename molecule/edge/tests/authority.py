"""The ACME server of a host, its DNS, and the certificates that clients get."""

from __future__ import annotations

import http.client
import json
import re
import ssl
from collections.abc import Iterator
from contextlib import contextmanager
from typing import Any

from load_generator import LoadGenerator
from shops import stored
from support import EPHEMERAL, PLATFORMS, Machine, Run, Site, address_of, run_playbook

# Finds every private key of the sites on a host.
KEYS = "find /etc/letsencrypt /etc/*/certificates -name 'privkey*.pem' -type f"
# Finds the private key of its ACME account.
ACCOUNTS = "find /etc/letsencrypt/accounts -name private_key.json"


def set_dns(machine: Machine, name: str, *addresses: str) -> None:
    """Set the addresses of a name for the ACME server of this host, or reset them."""
    connection = http.client.HTTPConnection(machine.address, 8055, timeout=10)
    command, record = ("add-a", {"addresses": addresses}) if addresses else ("clear-a", {})
    connection.request("POST", f"/{command}", json.dumps({"host": name, **record}))
    assert connection.getresponse().status == 200
    connection.close()


def elsewhere(machine: Machine) -> str:
    """The address of another host, which does not have the challenge tokens of this one."""
    return next(address_of(name) for name in PLATFORMS if name != machine.name)


def roots(machine: Machine) -> str:
    """The root certificates that a browser would have to trust."""
    context = ssl.create_default_context(cafile=EPHEMERAL / "acme-ca.pem")
    context.check_hostname = False  # it is reached by its address
    connection = http.client.HTTPSConnection(machine.address, 15000, timeout=10, context=context)
    connection.request("GET", "/roots/0")
    text = connection.getresponse().read().decode()
    connection.close()
    return text


def served_certificate(machine: Machine, name: str) -> dict[str, Any]:
    """The certificate that a client gets that trusts the authority and checks the name."""
    context = ssl.create_default_context(cadata=roots(machine))
    with machine.encrypted(name, context=context) as peer:
        return peer.getpeercert() or {}


def names_of(certificate: dict[str, Any]) -> list[str]:
    """The names in a certificate."""
    return sorted(name for _, name in certificate["subjectAltName"])


@contextmanager
def unreachable(machine: Machine) -> Iterator[None]:
    """Make the ACME directory unreachable."""
    machine.output("cp /etc/hosts /root/hosts && sed 's/.*acme.test/127.0.0.66 acme.test/' /root/hosts > /etc/hosts")
    try:
        yield
    finally:
        machine.output("cat /root/hosts > /etc/hosts")


def secrets(machine: Machine) -> set[str]:
    """A line of each private key."""
    lines = machine.output(f"{KEYS} -exec sed -sn 2p '{{}}' +").split()
    accounts = machine.output(f"{ACCOUNTS} -exec sed 's/.*\"d\": \"//; s/\".*/\\n/' '{{}}' +").split()
    assert lines and accounts and all(len(line) > 40 for line in (*lines, *accounts))
    return {*lines, *accounts}


@contextmanager
def under_load(site: Site, *, tls: bool = True, **settings: Any) -> Iterator[None]:
    """Keep the site under load, over https or plain http; no request may fail."""
    settings = {"port": 443 if tls else 80, "tls": tls} | settings
    generator = LoadGenerator(site.machine.address, site.server_name, site.name, **settings)
    with generator, generator.event():
        yield
    report = generator.report(stored(site, generator))
    print(f"{report.requests} requests, {report.idle_closes} idle connections closed")
    assert report.harm == {} and len(report.during.durations) > 100


def run(machine: Machine, verb: str, *words: str, sites: dict[str, Any] | None = None) -> Run:
    """Run a verb's playbook on this host alone."""
    return run_playbook(
        f"playbooks/{verb}.yml", *(f"--extra-vars={word}" for word in words), machine=machine, sites=sites
    )


def rows(output: str) -> dict[str, list[str]]:
    """The rows of the table, by site."""
    lines = [re.split(r" {2,}", line.strip(' |"')) for line in output.replace("\\n", "\n").splitlines()]
    return {cells[1]: cells for cells in lines if len(cells) == 7}
