"""What the tests of certificates are written with: a host's authority, what it is told, and what clients are shown."""

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

# Finds every private key that a host has for its sites.
KEYS = "find /etc/letsencrypt /etc/*/certificates -name 'privkey*.pem' -type f"
# And that by which it is known to the authority.
ACCOUNTS = "find /etc/letsencrypt/accounts -name private_key.json"


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


@contextmanager
def unreachable(machine: Machine) -> Iterator[None]:
    """Nobody answers where the directory was."""
    machine.output("cp /etc/hosts /root/hosts && sed 's/.*acme.test/127.0.0.66 acme.test/' /root/hosts > /etc/hosts")
    try:
        yield
    finally:
        machine.output("cat /root/hosts > /etc/hosts")


def secrets(machine: Machine) -> set[str]:
    """A line of each of these keys."""
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
    """The table, by site."""
    lines = [re.split(r" {2,}", line.strip(' |"')) for line in output.replace("\\n", "\n").splitlines()]
    return {cells[1]: cells for cells in lines if len(cells) == 7}
