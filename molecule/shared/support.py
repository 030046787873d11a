"""Hosts, sites, requests from outside and playbook runs, for the tests of all scenarios."""

from __future__ import annotations

import copy
import http.client
import json
import os
import re
import socket
import ssl
import subprocess
import time
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path
from typing import Any, TypeVar

import pytest
import testinfra
import yaml
from testinfra.host import Host

PROJECT = Path(__file__).resolve().parents[2]
SCENARIO = os.environ["MOLECULE_SCENARIO_NAME"]
EPHEMERAL = Path(os.environ["MOLECULE_EPHEMERAL_DIRECTORY"])
PLATFORMS = {
    platform["name"]: platform
    for platform in yaml.safe_load(Path(os.environ["MOLECULE_FILE"]).read_text())["platforms"]
}
CONFIG: dict[str, Any] = yaml.safe_load((PROJECT / "molecule" / SCENARIO / "group_vars" / "all.yml").read_text())
# The sites of the site config, merged with site_defaults.
SITES: dict[str, dict[str, Any]] = {
    name: {**CONFIG.get("site_defaults", {}), **entry} for name, entry in CONFIG["sites"].items()
}

T = TypeVar("T")


def wait_until(condition: Callable[[], T], what: str, timeout: float = 180) -> T:
    """Evaluate a condition until it is true, and return its value."""
    end, pause = time.monotonic() + timeout, 0.1
    while True:
        value = None
        try:
            value = condition()
            shown = repr(value)
        except (OSError, AssertionError, RuntimeError, http.client.HTTPException) as error:
            shown = repr(error)
        if value:
            return value
        if time.monotonic() > end:
            pytest.fail(f"not within {timeout:.0f} s: {what}. The last value was {shown}")
        # Less and less often: each look at a host costs it as much CPU time as what it waits for needs.
        time.sleep(pause)
        pause = min(1.5 * pause, 1)


def address_of(name: str) -> str:
    """The IP address of a host of the scenario."""
    instances = yaml.safe_load(Path(os.environ["MOLECULE_INSTANCE_CONFIG"]).read_text())
    return next(item["address"] for item in instances if item["instance"] == name)


@dataclass
class Answer:
    """The response to a client."""

    status: int
    headers: http.client.HTTPMessage
    body: bytes
    client: str

    @property
    def json(self) -> Any:
        """The body, which must be JSON."""
        return json.loads(self.body)


class Machine:
    """A host: a container that serves requests, runs commands and can be rebooted."""

    def __init__(self, host: Host) -> None:
        self.host = host
        self.name = host.backend.host
        self.address = address_of(self.name)
        run_name = EPHEMERAL.name.replace("molecule.", "mol-").replace(".", "-")
        self.container = f"{run_name}-{self.name}"
        self.platform = PLATFORMS[self.name]
        self.has_systemd = "systemd" in self.platform["groups"]

    @property
    def cpus(self) -> int:
        """How many CPUs it may use."""
        return int(self.platform.get("cpus", os.cpu_count() or 1))

    def ask(
        self, path: str, name: str, port: int = 80, timeout: float = 10, tls: bool = False, **headers: str
    ) -> Answer:
        """Send a request over the network as any client does; header names have `_` for `-`."""
        connection = http.client.HTTPConnection(self.address, port, timeout=timeout)
        try:
            if tls:
                connection.sock = self.encrypted(name, port, timeout)
            sent = {key.replace("_", "-"): value for key, value in headers.items()}
            connection.request("GET", path, headers={"Host": name, **sent})
            client = connection.sock.getsockname()[0]
            response = connection.getresponse()
            return Answer(response.status, response.headers, response.read(), client)
        finally:
            connection.close()

    def encrypted(
        self, name: str | None, port: int = 443, timeout: float = 10, context: ssl.SSLContext | None = None
    ) -> ssl.SSLSocket:
        """A TLS connection; without a context it accepts any certificate."""
        if context is None:
            context = ssl.SSLContext(ssl.PROTOCOL_TLS_CLIENT)
            context.check_hostname, context.verify_mode = False, ssl.CERT_NONE
            context.set_alpn_protocols(["http/1.1"])
        plain = socket.create_connection((self.address, port), timeout)
        try:
            return context.wrap_socket(plain, server_hostname=name)
        except OSError:
            plain.close()
            raise

    def output(self, command: str, *args: str) -> str:
        """The output of a command, which must succeed."""
        return self.host.check_output(command, *args)

    def succeeds_as(self, user: str, *argv: str) -> bool:
        """Whether a command succeeds as another user of the host."""
        return self.host.run("runuser -u %s -- " + " ".join(["%s"] * len(argv)), user, *argv).rc == 0

    def restart(self) -> None:
        """Reboot, and wait until SSH answers again."""
        subprocess.run(["podman", "restart", "--time=20", self.container], check=True, capture_output=True)
        # The old SSH connection is dead.
        (EPHEMERAL / "ssh" / self.address).unlink(missing_ok=True)
        wait_until(lambda: self.host.run("true").rc == 0, f"{self.name} is up again")


def machine_of(name: str) -> Machine:
    """A host of the scenario by its name."""
    return Machine(testinfra.get_host(f"ansible://{name}?ansible_inventory={os.environ['MOLECULE_INVENTORY_FILE']}"))


LOOK = """sh -euc '
readlink "$1/live"; readlink -f "$1/live/release"; id --user "$2"
supervisorctl status || true; echo; ps -e -o pid=,ppid=,uid=
' - %s %s"""


@dataclass
class Snapshot:
    """The processes of a site on a host at one moment."""

    slot: str
    release: str
    # The status of each program in supervisor: its state and, if it runs, `pid PID, uptime …`.
    supervised: dict[str, list[str]]
    programs: dict[str, str]
    background: dict[str, int]
    master: int
    workers: set[int]
    processes: set[int]

    @classmethod
    def at(cls, machine: Machine, name: str, root: str, user: str) -> Snapshot:
        """Query the host once for all of it, since each command over SSH takes a while."""
        told, _, table = machine.output(LOOK, root, user).partition("\n\n")
        live, release, uid, *lines = told.splitlines()
        slot = live.rpartition("/")[2]
        said = {program: words for program, *words in map(str.split, lines) if program.startswith(f"{name}-")}
        pids = {program: int(words[2].rstrip(",")) for program, words in said.items() if words[0] == "RUNNING"}
        slots = said.keys() & {f"{name}-blue", f"{name}-green"}
        master = pids.get(f"{name}-{slot}", 0)
        processes = [tuple(map(int, line.split())) for line in table.splitlines()]
        return cls(
            slot=slot,
            release=release.rpartition("/")[2],
            supervised=said,
            programs={program: said[program][0] for program in slots},
            background={
                program.removeprefix(f"{name}-").rpartition(":")[2]: pid
                for program, pid in pids.items()
                if program not in slots
            },
            master=master,
            workers={pid for pid, parent, _ in processes if parent == master != 0},
            processes={pid for pid, _, owner in processes if owner == int(uid)},
        )

    @property
    def strays(self) -> set[int]:
        """Processes of its user that belong neither to the live slot's server nor to its background processes."""
        return self.processes - {self.master, *self.workers, *self.background.values()}


@dataclass
class Site:
    """A site on one host."""

    machine: Machine
    name: str
    entry: dict[str, Any]

    @property
    def root(self) -> str:
        """Its root directory."""
        return self.entry.get("root", f"/srv/{self.name}")

    @property
    def user(self) -> str:
        """The user that it runs as."""
        return self.entry.get("user", self.name)

    @property
    def server_name(self) -> str:
        """Its first server name."""
        return self.entry["server_names"][0]

    @property
    def scheme(self) -> str:
        """The scheme of its URL."""
        return "http" if self.entry.get("tls", {}).get("mode", "none") == "none" else "https"

    @property
    def port(self) -> int:
        """The port that nginx serves it on."""
        default = {"http": 80, "https": 443}[self.scheme]
        return self.entry.get(f"{self.scheme}_port", default)

    def get(self, path: str, timeout: float = 10, **headers: str) -> Answer:
        """Send it a request through nginx."""
        tls = self.scheme == "https"
        return self.machine.ask(path, self.server_name, self.port, timeout, tls, **headers)

    @property
    def slot(self) -> str:
        """The live slot."""
        return self.snapshot().slot

    @property
    def release(self) -> str:
        """The live release, by the files on the host."""
        return self.snapshot().release

    @property
    def answering_release(self) -> str:
        """The live release, by the response of the app."""
        answer = self.get("/healthz")
        assert answer.status == 200, f"{self.name} answers {answer.status}"
        assert answer.json["site"] == self.name
        return answer.json["release"]

    @property
    def programs(self) -> dict[str, str]:
        """The programs of its slots, with their states."""
        return self.snapshot().programs

    @property
    def background(self) -> dict[str, int]:
        """The PIDs of its running background processes and jobs, by name."""
        return self.snapshot().background

    @property
    def master(self) -> int:
        """The PID of the live slot's server, which supervisor started."""
        return self.snapshot().master

    @property
    def workers(self) -> set[int]:
        """The PIDs of the server's workers."""
        return self.snapshot().workers

    @property
    def processes(self) -> set[int]:
        """The PIDs of all processes of its user."""
        return self.snapshot().processes

    def snapshot(self) -> Snapshot:
        """All of these at one moment."""
        return Snapshot.at(self.machine, self.name, self.root, self.user)

    def is_healthy(self) -> bool:
        """The live release answers, one slot and the background processes run, and no other process of its user."""
        answering, now = self.answering_release, self.snapshot()
        assert answering == now.release
        assert list(now.programs.values()) == ["RUNNING"]
        assert set(self.entry.get("processes", {})) <= set(now.background)
        assert now.strays == set()
        return True

    def environment(self) -> dict[str, str]:
        """The environment that its server was started with."""
        text = self.machine.output("cat %s/live/release/environment", self.root)
        return {name: json.loads(value) for name, _, value in (line.partition("=") for line in text.splitlines())}


@dataclass
class Run:
    """The result of a playbook run."""

    rc: int
    output: str

    def checked(self) -> Run:
        """The same run, which must have succeeded."""
        assert self.rc == 0, self.output
        return self

    @property
    def changed(self) -> int:
        """How many tasks changed something, over all hosts."""
        return sum(int(count) for count in re.findall(r"\bchanged=(\d+)", self.output))


def command_of(
    playbook: str, *args: str, machine: Machine | None = None, sites: dict[str, Any] | None = None
) -> list[str]:
    """The command of a playbook run as an operator starts it, on one host or all, perhaps with another site config."""
    command = ["ansible-playbook", f"--inventory={os.environ['MOLECULE_INVENTORY_FILE']}"]
    command += [f"--inventory={PROJECT}/molecule/shared/inventory", *args]
    if machine is not None:
        command.append(f"--limit={machine.name}")
    if sites is not None:
        command.append("--extra-vars=" + json.dumps({"sites": sites}))
    return [*command, str(PROJECT / playbook)]


def run_playbook(playbook: str, *args: str, machine: Machine | None = None, sites: dict[str, Any] | None = None) -> Run:
    """Run a playbook to its end."""
    result = subprocess.run(
        command_of(playbook, *args, machine=machine, sites=sites),
        cwd=PROJECT,
        capture_output=True,
        text=True,
        stdin=subprocess.DEVNULL,
    )
    return Run(result.returncode, result.stdout + result.stderr)


def site_config(**changes: dict[str, Any]) -> dict[str, Any]:
    """The sites of the scenario with some keys changed: ``site_config(wordbook={"workers": 1})``."""
    sites = copy.deepcopy(CONFIG["sites"])
    for name, keys in changes.items():
        sites[name] = {**sites.get(name, {}), **keys}
    return sites
