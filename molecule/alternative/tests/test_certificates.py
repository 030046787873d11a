"""Every way of getting a certificate, one after the other, on a site that goes on serving."""

from __future__ import annotations

import http.client
import ssl
import sys
import threading
from pathlib import Path

import pytest
from support import PROJECT, Machine, Site, page, play

sys.path.append(str(PROJECT / "tests"))
from certificates import DAY, Made, make

pytestmark = pytest.mark.breaks


class Visitor(threading.Thread):
    """Asks over plain http, again and again, and counts what is no answer; each time as somebody new."""

    def __init__(self, machine: Machine) -> None:
        super().__init__(daemon=True)
        self.machine, self.stopped = machine, threading.Event()
        self.visits, self.failures = 0, []

    def run(self) -> None:
        while not self.stopped.wait(0.02):
            self.visits += 1
            try:
                status = self.machine.ask("/healthz", "handbook.test", 8080).status
                if status not in (200, 301):
                    self.failures.append(status)
            except (OSError, http.client.HTTPException) as error:
                self.failures.append(repr(error))

    def __enter__(self) -> Visitor:
        self.start()
        return self

    def __exit__(self, *_: object) -> None:
        self.stopped.set()
        self.join()


def shown(machine: Machine) -> str:
    """The certificate that clients get."""
    with machine.encrypted("handbook.test", 8443) as peer:
        return ssl.DER_cert_to_PEM_cert(peer.getpeercert(binary_form=True) or b"")


def provided(made: Made, chain: Made) -> dict[str, str]:
    """As the page says it, the key as if from a vault."""
    return {"mode": "provided", "certificate": made.pem, "chain": chain.pem, "key": made.key}


def test_a_site_goes_through_every_mode_and_back_and_goes_on_serving(machine: Machine) -> None:
    if not machine.has_systemd:
        pytest.skip("proved on the other host")
    authority = make(authority=True, common_name="authority")
    first, second = (make("handbook.test", by=authority) for _ in range(2))
    stops = [
        # The first one installs what makes certificates; from there on, sites alone are enough.
        ("site.yml", {"mode": "selfsigned"}),
        ("playbooks/deploy.yml", provided(first, authority)),
        ("playbooks/deploy.yml", provided(second, authority)),
        ("playbooks/deploy.yml", {"mode": "none"}),
    ]
    # The scenario has it stop before it starts, which is no matter of certificates; the live release has a say in that.
    overlap = {"going_live": "overlap"}
    run = play("playbooks/deploy.yml", "--extra-vars=site=handbook", machine=machine, sites=page(handbook=overlap))
    assert run.rc == 0, run.output
    with Visitor(machine) as visitor:
        for playbook, tls in stops:
            keys = {"tls": tls, "https_port": 8443, **overlap}
            handbook = Site(machine, "handbook", page(handbook=keys)["handbook"])
            run = play(
                playbook, "--extra-vars=site=handbook", "--diff", "-vvv", machine=machine, sites=page(handbook=keys)
            )
            assert run.rc == 0, run.output
            for made in (first, second):
                assert made.key.splitlines()[1] not in run.output.replace("\\n", "\n"), "a key is never printed"
            assert handbook.get("/whoami").json["scheme"] == handbook.scheme
            again = play(playbook, "--extra-vars=site=handbook", machine=machine, sites=page(handbook=keys))
            assert (again.rc, again.changed) == (0, 0), again.output

            kept = machine.host.run("ls /etc/handbook/certificates").stdout.split()
            assert [name.partition("-")[0] for name in kept] == ([] if tls["mode"] == "none" else [tls["mode"]])
            if tls["mode"] == "provided":
                assert shown(machine) == tls["certificate"]
    assert machine.host.run("ls -d /etc/handbook/tls /etc/handbook/certificates").stdout == ""
    assert not visitor.failures and visitor.visits > 100


def test_a_certificate_that_has_ended_is_refused_and_the_site_stays_as_it_is(machine: Machine, tmp_path: Path) -> None:
    if not machine.has_systemd:
        pytest.skip("proved on the other host")
    certificate, key = make("handbook.test", begins=-9 * DAY, ends=-DAY).put(tmp_path, "old")
    tls = {"mode": "provided", "certificate": certificate, "key": key}
    run = play("playbooks/deploy.yml", machine=machine, sites=page(handbook={"tls": tls, "https_port": 8443}))
    assert run.rc != 0 and "handbook.tls.certificate: ended on " in run.output and "no host was touched" in run.output
    assert machine.ask("/healthz", "handbook.test", 8080).status == 200
