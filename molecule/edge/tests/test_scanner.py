"""Scanners and slow clients against a deployed site. The figures are in build/edge/."""

from __future__ import annotations

import pytest
from attackers import NAME
from load_generator import LoadGenerator
from scanners import Scan, Table, attack, served, summary
from shops import stored
from support import SITES, Machine, Site, machine_of, wait_until

pytestmark = pytest.mark.breaks

SCANS = Table("testssl", ("host", "good", "neither", "anything else"))
SLOW = Table(
    "slow",
    ("attack", "connections open at the most", "requests of another client", "of them failed or wrong",
     "before and after: p50 / p99 / slowest, ms", "during: p50 / p99 / slowest, ms"),
)  # fmt: skip
# Findings that the test authority causes: its certificates are valid for five years and name no revocation list.
AUTHORITY = {"cert_revocation", "cert_validityPeriod", "cert_extlifeSpan"}


@pytest.mark.parametrize(
    ("what", "path", "how"),
    [
        ("slow heads", "/environ", ("-H", "-i 2", "-x 24")),
        ("slow bodies", "/orders/slow", ("-B", "-i 2", "-s 8192", "-x 10")),
        ("slow reading", "/media/large", ("-X", "-w 512", "-y 1024", "-n 2", "-z 32", "-k 3")),
    ],
)
def test_slow_clients_delay_no_other_client(what: str, path: str, how: tuple[str, ...]) -> None:
    oak, elm = machine_of("oak"), machine_of("elm")
    target = Site(oak, "target", SITES["target"])
    elm.output("dpkg -s slowhttptest >/dev/null 2>&1 || apt-get -qq install --no-install-recommends -y slowhttptest")
    oak.output("truncate --size=64M /srv/target/shared/media/large")
    workers = target.workers
    generator = LoadGenerator(oak.address, NAME, "target", port=443, tls=True, clients=4)
    with generator, generator.event():
        most = attack(elm, path, *how)
    report = generator.report(stored(target, generator))
    SLOW.add(what, most, *served(report))
    assert report.harm == {} and len(report.during.durations) > 100
    assert most >= 100
    assert target.workers == workers
    wait_until(target.is_healthy, "the site is healthy")


def test_a_scanner_finds_nothing_worse_than_low(machine: Machine, scans: dict[str, Scan]) -> None:
    scan = scans[machine.name]
    system = machine.output('. /etc/os-release && nginx -v 2>&1 | sed "s,.*/,$PRETTY_NAME; nginx ,"')
    findings = scan.findings
    SCANS.add(system, *summary(scan))
    assert len(findings) > 80 and "scanProblem" not in findings
    assert findings["cert_chain_of_trust"][0] == "OK" and findings["HSTS_time"][0] == "OK"
    worse = {name: found for name, found in findings.items() if found[0] not in ("OK", "INFO", "LOW", "WARN")}
    assert {name: found for name, found in worse.items() if name not in AUTHORITY} == {}
