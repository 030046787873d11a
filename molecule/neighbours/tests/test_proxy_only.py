"""A site with nginx on one host and its server on the other, whose certificate nginx verifies."""

from __future__ import annotations

import socket
import ssl
import subprocess
from pathlib import Path

import pytest
from support import EPHEMERAL, Machine, address_of, run_playbook, site_config

testinfra_hosts = ["ansible://settled"]
pytestmark = pytest.mark.breaks

NAME = "away.test"
AUTHORITY = EPHEMERAL / "front-ca"
PLACES = "/etc/away /var/log/away /etc/logrotate.d/away /var/lib/sites/away.json /usr/local/bin/away-ctl"
LEFT = "/etc/nginx/sites-*/away.conf /etc/nginx/upstream-ca/away.pem"


def openssl(*words: str | Path) -> None:
    """Create a certificate with a new key."""
    new = ["openssl", "req", "-x509", "-nodes", "-newkey", "ec", "-pkeyopt", "ec_paramgen_curve:P-256", "-days", "9"]
    subprocess.run([*new, *map(str, words)], check=True, capture_output=True)


@pytest.fixture
def back(machine: Machine) -> str:
    """The container of the server's host."""
    return machine.container.removesuffix(machine.name) + "sudoer"


def renew(back: str) -> str:
    """Install a new certificate for the server, and return it."""
    pair = AUTHORITY.with_suffix(".site-pem"), AUTHORITY.with_suffix(".site-key")
    by = ["-CA", AUTHORITY.with_suffix(".pem"), "-CAkey", AUTHORITY.with_suffix(".key")]
    extensions = ["-addext", f"subjectAltName=DNS:{NAME}", "-addext", "basicConstraints=critical,CA:FALSE"]
    openssl(*by, "-subj", f"/CN={NAME}", *extensions, "-out", pair[0], "-keyout", pair[1])
    for path, name in zip(pair, ("away.pem", "away.key"), strict=True):
        path.chmod(0o644)
        subprocess.run(["podman", "cp", str(path), f"{back}:/etc/ssl/{name}"], check=True, capture_output=True)
    return pair[0].read_text()


def sites(**both: str) -> dict:
    """The site config, in which each of the two hosts has its half of the site."""
    names = {"server_names": [NAME], **both}
    front = {"source": {"path": ""}, "upstream": {"servers": [f"{address_of('sudoer')}:8443"]}}
    front["upstream"]["ca"] = str(AUTHORITY.with_suffix(".pem"))
    server = {
        "bind": ["0.0.0.0:8443"],
        "trusted_proxies": [address_of("settled")],
        "gunicorn": {"certfile": "/etc/ssl/away.pem", "keyfile": "/etc/ssl/away.key"},
    }
    halves = {"settled": {**names, **front}, "sudoer": {**names, **server}}
    return {**site_config(), "away": f"{{{{ {halves!r}[inventory_hostname] }}}}"}


def test_nginx_on_one_host_and_the_server_on_the_other(machine: Machine, back: str) -> None:
    openssl("-subj", "/CN=ours", "-out", AUTHORITY.with_suffix(".pem"), "-keyout", AUTHORITY.with_suffix(".key"))
    renew(back)
    run = run_playbook("playbooks/deploy.yml", sites=sites())
    assert run.rc == 0, run.output
    assert f"passed on to {address_of('sudoer')}:8443" in run.output or f"http://{NAME}/" in run.output
    answer = machine.ask("/whoami", NAME, X_Forwarded_For="203.0.113.9", X_Forwarded_Proto="https")
    seen = answer.json
    assert (seen["remote_addr"], seen["scheme"], seen["host"]) == (answer.client, "http", NAME)
    # The same server, without nginx.
    direct = ssl.create_default_context(cafile=AUTHORITY.with_suffix(".pem"))
    with (
        socket.create_connection((address_of("sudoer"), 8443), timeout=10) as plain,
        direct.wrap_socket(plain, server_hostname=NAME) as peer,
    ):
        peer.sendall(f"GET /whoami HTTP/1.0\r\nHost: {NAME}\r\nX-Forwarded-For: 203.0.113.9\r\n\r\n".encode())
        assert b"200 OK" in peer.makefile("rb").readline()
    assert machine.host.run("getent passwd away").rc != 0
    assert not machine.host.file("/srv/away").exists
    again = run_playbook("playbooks/deploy.yml", sites=sites())
    assert (again.rc, again.changed) == (0, 0), again.output

    renew(back)
    restarted = run_playbook("playbooks/restart.yml", "-e", "site=away", sites=sites())
    assert restarted.rc == 0, restarted.output
    assert "its servers are on sudoer" in restarted.output
    assert machine.ask("/whoami", NAME).status == 200
    alone = run_playbook("playbooks/restart.yml", "-e", "site=away", machine=machine, sites=sites())
    assert alone.rc != 0 and "Run this where its servers are" in alone.output
    logs = run_playbook("playbooks/logs.yml", "-e", "site=away", sites=sites())
    assert logs.rc == 0 and "/var/log/away/access.log" in logs.output
    assert machine.host.run("away-ctl status").rc == 0
    assert "on its servers' hosts" in machine.host.run("away-ctl shell").stderr

    # nginx rejects a server with a forged certificate, and the log gives the reason.
    openssl("-subj", f"/CN={NAME}", "-addext", f"subjectAltName=DNS:{NAME}", "-out", AUTHORITY.with_suffix(".f"),
            "-keyout", AUTHORITY.with_suffix(".k"))  # fmt: skip
    for suffix, name in ((".f", "away.pem"), (".k", "away.key")):
        AUTHORITY.with_suffix(suffix).chmod(0o644)
        words = ["podman", "cp", str(AUTHORITY.with_suffix(suffix)), f"{back}:/etc/ssl/{name}"]
        subprocess.run(words, check=True, capture_output=True)
    forged = run_playbook("playbooks/restart.yml", "-e", "site=away", sites=sites())
    assert "its certificate is refused" in forged.output
    assert machine.ask("/whoami", NAME).status == 502
    assert "certificate verify error" in machine.output("tail -n 3 /var/log/away/error.log")

    gone = run_playbook("playbooks/deploy.yml", sites={**site_config(), "away": {"state": "absent", "purge": True}})
    assert gone.rc == 0, gone.output
    assert machine.host.run(f"ls -d {PLACES} {LEFT}").stdout == ""
