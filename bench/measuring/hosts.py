"""Bare containers that answer on SSH, as real hosts do."""

from __future__ import annotations

import contextlib
import os
import socket
import subprocess
import time
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path

from measuring.commands import ROOT, BenchError, command, find_ansible

CERTIFICATES = sorted(Path("/usr/local/share/ca-certificates").glob("*.crt"))
# The baseline needs it on hosts behind a proxy with a CA of its own; role `host` installs such certificates itself.
SYSTEM_BUNDLE = Path("/etc/ssl/certs/ca-certificates.crt")


@dataclass(frozen=True)
class Host:
    """A bare container that answers on SSH."""

    name: str
    address: str
    key: Path


def prepare(release: str) -> str:
    """Configure podman and build the image by the tests' own recipes; return the image's name."""
    shared = ROOT / "molecule" / "shared"
    if "CONTAINERS_CONF" not in os.environ:
        os.environ["CONTAINERS_CONF"] = str(ROOT / "build" / "containers.conf")
        command(
            find_ansible().with_name("ansible"),
            "localhost",
            "-i",
            "localhost,",
            "-c",
            "local",
            "-m",
            "ansible.builtin.include_tasks",
            "-a",
            shared / "tasks" / "podman.yml",
        )
    return command(shared / "image", release, timeout=600)


@contextlib.contextmanager
def host(name: str, image: str, key: Path, longest: int) -> Iterator[Host]:
    """Start a bare container with this SSH key, and remove it afterwards."""
    # --timeout ends it even if this script is killed.
    command(
        "podman",
        "run",
        "--detach",
        "--rm",
        "--name",
        name,
        "--hostname",
        name,
        "--systemd=always",
        f"--timeout={longest}",
        image,
        "/sbin/init",
        timeout=120,
    )
    try:
        inside(name, "install -d -m 0700 /root/.ssh && cat > /root/.ssh/authorized_keys", key.with_suffix(".pub"))
        # Exit codes: 1 is `degraded` or `starting`; with --wait it means that booting is over.
        inside(name, "systemctl is-system-running --wait >/dev/null || true; systemctl start ssh")
        address = command("podman", "inspect", "--format", "{{.NetworkSettings.IPAddress}}", name)
        wait_for_ssh(address)
        yield Host(name, address, key)
    finally:
        subprocess.run(["podman", "rm", "--force", "--time", "0", name], capture_output=True, timeout=60, check=False)


def wait_for_ssh(address: str, timeout: float = 60) -> None:
    """Wait for SSH, so that no run's time includes the start of the container."""
    end = time.monotonic() + timeout
    while time.monotonic() < end:
        with contextlib.suppress(OSError), socket.create_connection((address, 22), timeout=2) as connection:
            if connection.recv(8).startswith(b"SSH-"):
                return
        time.sleep(0.2)
    raise BenchError(f"SSH at {address} does not answer within {timeout:.0f} s")


def inside(name: str, script: str, stdin: Path = Path(os.devnull)) -> str:
    """Run a shell script in a container, as root, with a file as its input."""
    with stdin.open("rb") as stream:
        return command("podman", "exec", "--interactive", name, "sh", "-ec", script, stdin=stream, timeout=90)


def trust(name: str) -> None:
    """Make pip of a baseline host trust the certificates that the bundle reads from `host_ca_certificates`."""
    # A separate file: the package ca-certificates, a dependency of pip, rewrites the system's bundle.
    inside(
        name,
        "cat > /etc/bench-ca.pem && printf '[global]\\ncert = /etc/bench-ca.pem\\n' > /etc/pip.conf",
        SYSTEM_BUNDLE,
    )
