"""Renders nginx's files by Ansible's own templating, and runs a private nginx with them."""

from __future__ import annotations

import contextlib
import itertools
import json
import os
import random
import re
import shutil
import signal
import socket
import ssl
import subprocess
import tempfile
import threading
import time
from collections.abc import Callable, Iterator, Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any, BinaryIO

import pytest
import yaml
from ansible.parsing.dataloader import DataLoader
from ansible.plugins.loader import filter_loader
from ansible.template import Templar, trust_as_template
from project import PROJECT

from ansible_collections.wsgi.sites.plugins.module_utils.releases import public_files
from ansible_collections.wsgi.sites.plugins.module_utils.site.paths import Layout, replace_link
from ansible_collections.wsgi.sites.plugins.plugin_utils.config.reading import Reading, site_spec

NGINX = Path(shutil.which("nginx", path=os.environ["PATH"] + ":/usr/sbin") or "/usr/sbin/nginx")
HASHED_NAMES = yaml.safe_load((PROJECT / "roles/site/defaults/main.yml").read_text())["site_keys"]["hashed_names"]
needs_nginx = pytest.mark.skipif(
    not NGINX.exists() or os.geteuid() != 0, reason="needs nginx, and root for its workers' user"
)


def trusted(value: Any) -> Any:
    """Values as if they were in a file of a role: their templates are rendered."""
    if isinstance(value, dict):
        return {key: trusted(each) for key, each in value.items()}
    if isinstance(value, list):
        return [trusted(each) for each in value]
    return trust_as_template(value) if isinstance(value, str) else value


def role_variables(sites: Mapping[str, Any], **host: Any) -> dict[str, Any]:
    """The variables of the role's templates on a host with these sites."""
    files = ["nginx/defaults", "nginx/vars", "site/defaults", "site/vars"]
    variables: dict[str, Any] = {}
    for file in files:
        variables |= trusted(yaml.safe_load((PROJECT / f"roles/{file}/main.yml").read_text()))
    variables |= {"inventory_hostname": "web1", "ansible_facts": {"sites_ipv6": True}, **trusted(host)}
    read = {variables["inventory_hostname"]: {"names": list(sites), "sites": merged(sites, variables)}}
    return {**variables, "preflight_config": {"hosts": read, "chosen": ""}}


def merged(sites: Mapping[str, Any], variables: Mapping[str, Any]) -> dict[str, Any]:
    """The sites as role preflight merges them, without its checks."""
    specs = yaml.safe_load((PROJECT / "roles/site/meta/argument_specs.yml").read_text())["argument_specs"]
    given = {**variables, "sites": trusted(dict(sites))}
    return Reading(given, DataLoader(), site_spec(specs), variables["site_keys"]).entries


def evaluate(expression: str, variables: Mapping[str, Any]) -> Any:
    """An expression as a task would see it."""
    for name in ("regex_replace", "regex_escape"):
        filter_loader.get(name)
    templar = Templar(loader=DataLoader(), variables=dict(variables))
    return templar.template(trust_as_template(f"{{{{ {expression} }}}}"))


def render(sites: Mapping[str, Any], **host: Any) -> tuple[dict[str, str], dict[str, str]]:
    """Every file, and every link, that nginx gets on a host with these sites."""
    variables = role_variables(sites, **host)
    files = dict(evaluate("__nginx_files", variables))
    links: dict[str, str] = {}
    for name in sites:
        one = {**variables, "site_name": name}
        files |= evaluate("__nginx_site_files", one)
        links |= evaluate("__nginx_site.links", one)
    return files, links


# A share for each pytest worker, below the ports that the kernel gives to outgoing connections: some seconds pass until
# nginx binds a port.
SHARE = 5000
FIRST_PORT = 10000 + SHARE * (int(os.environ.get("PYTEST_XDIST_WORKER", "gw0").removeprefix("gw")) % 4)
PORTS = itertools.cycle(random.sample(range(FIRST_PORT, FIRST_PORT + SHARE), SHARE))


def free_ports(count: int) -> list[int]:
    """This many different free ports."""
    found: list[int] = []
    while len(found) < count:
        port = next(PORTS)
        with socket.socket() as probe, contextlib.suppress(OSError):
            probe.bind(("0.0.0.0", port))
            found.append(port)
    return found


def free_port() -> int:
    return free_ports(1)[0]


def whole_request(stream: BinaryIO) -> bytes:
    """nginx's raw request to an app, head and body; empty if the connection ends early."""
    heard = b""
    while not heard.endswith(b"\r\n\r\n"):
        line = stream.readline()
        if not line:
            return b""
        heard += line
    length = re.search(rb"(?i)\r\ncontent-length: (\d+)", heard)
    return heard + stream.read(int(length[1])) if length else heard


class Upstream(threading.Thread):
    """A server on a unix socket that echoes the raw request."""

    def __init__(self, path: Path) -> None:
        super().__init__(daemon=True)
        self.listener = socket.socket(socket.AF_UNIX)
        self.listener.bind(str(path))
        path.chmod(0o666)
        self.listener.listen(16)

    def run(self) -> None:
        while True:
            try:
                peer, _ = self.listener.accept()
            except OSError:
                return
            with peer, peer.makefile("rb") as stream:
                peer.sendall(self.respond(stream))

    def respond(self, stream: BinaryIO) -> bytes:
        """The response to one request; nothing if the connection closes without one."""
        seen = whole_request(stream)
        head = f"HTTP/1.1 200 OK\r\nX-Request-ID: app\r\nContent-Length: {len(seen)}\r\nConnection: close\r\n\r\n"
        return head.encode() + seen if seen else b""


class Rig:
    """A private nginx: its files below a folder, its listeners on loopback."""

    def __init__(self, folder: Path) -> None:
        self.folder = folder
        self.conf = folder / "etc/nginx"
        self.run_dir = folder / "run"
        self.log = folder / "var/log/nginx/error.log"
        self.sites: list[str] = []
        for each in (
            self.conf / "conf.d",
            self.conf / "modules-enabled",
            self.run_dir,
            self.log.parent,
            folder / "var/cache",
        ):
            each.mkdir(parents=True)
        (self.conf / "sites-enabled").mkdir()
        (self.conf / "sites-available").mkdir()
        (self.conf / "mime.types").write_text((NGINX.parents[2] / "etc/nginx/mime.types").read_text())

    @property
    def binary(self) -> Path:
        """The nginx binary without arguments: the module under test names the configuration."""
        return NGINX

    def local(self, text: str) -> str:
        """A host's file, adapted to this folder, with listeners on loopback only."""
        folders = ("/etc/nginx", "/var/log", "/run/nginx.pid", "/srv", "/var/lib/sites", "/var/cache", r"/etc/\w+/tls")
        for place in folders:
            text = re.sub(rf"(?<![\w/.-]){place}(?![\w-])", rf"{self.folder}\g<0>", text)
        text = text.replace("unix:/srv/", f"unix:{self.folder}/srv/")
        text = re.sub(r"(auth_basic_user_file )/etc/", rf"\g<1>{self.folder}/etc/", text)
        text = re.sub(r"from=/srv/", f"from={self.folder}/srv/", text)
        text = re.sub(r"listen (\d+)", r"listen 127.0.0.1:\1", text)
        return re.sub(r"listen \[::\]:", "listen [::1]:", text)

    def install(self, files: Mapping[str, str], links: Mapping[str, str]) -> None:
        for path, text in files.items():
            place = self.folder / path.lstrip("/")
            place.parent.mkdir(parents=True, exist_ok=True)
            place.write_text(self.local(text))
        for path, target in links.items():
            (self.folder / path.lstrip("/")).symlink_to(target)

    def site(self, name: str) -> Path:
        """A site's root after two deploys: release two is live, release one the previous."""
        (self.folder / f"var/log/{name}").mkdir(parents=True, exist_ok=True)
        root = self.folder / "srv" / name
        (root / "slots/blue").mkdir(parents=True)
        for release in ("one", "two"):
            (root / "releases" / release / "app/static").mkdir(parents=True)
            manifest = {"public": ["app/static", "app/errors"], "hashed_names": HASHED_NAMES}
            (root / "releases" / release / "release.json").write_text(json.dumps(manifest))
        (root / "shared/media").mkdir(parents=True)
        (root / "slots/blue/release").symlink_to("../../releases/two")
        (root / "live").symlink_to("slots/blue")
        self.sites.append(name)
        return root

    def publish(self, name: str) -> None:
        """Link the public files of the site's releases: two went live after one."""
        site = Layout(name, self.folder / "srv" / name)
        self.go_live(name, "green", "one")
        self.go_live(name, "blue", "two")
        shutil.rmtree(site.slot("green"))

    def go_live(self, name: str, slot: str, release: str) -> None:
        """Make a release live in a slot, as nginx sees it."""
        site = Layout(name, self.folder / "srv" / name)
        site.slot(slot).mkdir(exist_ok=True)
        replace_link(site.slot(slot) / "release", f"../../releases/{release}")
        public_files.publish(site, slot)
        public_files.carry_over(site, slot)
        replace_link(site.live, f"slots/{slot}")

    def test(self) -> str:
        """The output of `nginx -t`; empty without errors."""
        done = subprocess.run(
            [NGINX, "-t", "-q", "-c", self.conf / "nginx.conf"], capture_output=True, text=True, check=False
        )
        return done.stderr + ("" if done.returncode == 0 else "(failed)")

    def start(self) -> int:
        for name in self.sites:
            self.publish(name)
        done = subprocess.run([NGINX, "-c", self.conf / "nginx.conf"], capture_output=True, text=True, check=False)
        assert done.returncode == 0, done.stderr
        pid = self.pid()
        # Its pid file comes a moment before its title.
        wait_for(lambda: b"nginx: master" in Path(f"/proc/{pid}/cmdline").read_bytes())
        return pid

    def pid(self) -> int:
        wait_for(lambda: (self.run_dir / "nginx.pid").exists() and (self.run_dir / "nginx.pid").read_text().strip())
        return int((self.run_dir / "nginx.pid").read_text())

    def stop(self) -> None:
        file = self.run_dir / "nginx.pid"
        text = file.read_text().strip() if file.exists() else ""
        if text:  # `nginx -t` alone leaves an empty one
            os.kill(int(text), signal.SIGTERM)
            wait_for(lambda: not file.exists())


def wait_for(what: Callable[[], Any]) -> Any:
    deadline = time.monotonic() + 20
    while time.monotonic() < deadline:
        if found := what():
            return found
        time.sleep(0.02)
    raise AssertionError("it never came")


def ask(
    port: int,
    path: str = "/",
    host: str = "shop.example.com",
    headers: str = "",
    method: str = "GET",
    version: str = "1.1",
    **how: str,
) -> str:
    """One raw request, which no client library normalizes; the complete response."""
    head = f"{method} {path} HTTP/{version}\r\nHost: {host}\r\nConnection: close\r\n{headers}\r\n"
    return say(port, head, **how)


def say(port: int, text: str, source: str = "127.0.0.1") -> str:
    """Exactly these bytes, from an address of loopback; the complete response until nginx closes."""
    with socket.create_connection(("127.0.0.1", port), timeout=20, source_address=(source, 0)) as peer:
        answer = b""
        # nginx resets connections without a response, perhaps before it has read everything.
        with contextlib.suppress(ConnectionResetError, BrokenPipeError):
            peer.sendall(text.encode("utf-8", "surrogateescape"))
            while piece := peer.recv(65536):
                answer += piece
    return answer.decode(errors="replace")


@dataclass
class Talk:
    """The properties of a TLS connection, and the response."""

    answer: str
    version: str | None
    cipher: str
    alpn: str | None
    certificate: bytes


def client(*alpn: str, show: tuple[str, str] | None = None) -> ssl.SSLContext:
    """A client that verifies no certificate: the test checks it.

    :param show: files of a client certificate and its key
    """
    context = ssl.SSLContext(ssl.PROTOCOL_TLS_CLIENT)
    context.check_hostname, context.verify_mode = False, ssl.CERT_NONE
    if alpn:
        context.set_alpn_protocols(list(alpn))
    if show:
        context.load_cert_chain(*show)
    return context


def talk(
    port: int,
    path: str = "/",
    name: str | None = "shop.example.com",
    host: str = "",
    context: ssl.SSLContext | None = None,
    headers: str = "",
    before: str = "",
) -> Talk:
    """One raw request over TLS.

    :param name: the SNI, if any
    :param host: the request's own Host, the name and the port if empty
    :param before: the PROXY protocol line of a balancer
    """
    context = context or client()
    with contextlib.ExitStack() as stack:
        plain = stack.enter_context(socket.create_connection(("127.0.0.1", port), timeout=10))
        plain.sendall(before.encode())
        peer = stack.enter_context(context.wrap_socket(plain, server_hostname=name))
        found = Talk("", peer.version(), peer.cipher()[0], peer.selected_alpn_protocol(), peer.getpeercert(True) or b"")
        host, answer = host or f"{name}:{port}", b""
        if peer.selected_alpn_protocol() != "h2":
            peer.sendall(f"GET {path} HTTP/1.1\r\nHost: {host}\r\nConnection: close\r\n{headers}\r\n".encode())
            while piece := peer.recv(65536):
                answer += piece
        found.answer = answer.decode(errors="replace")
        return found


def private_nginx() -> Iterator[Rig]:
    """A private nginx, ended with the test; for a fixture."""
    # Not pytest's tmp_path: nginx's workers run as www-data, and pytest makes that folder private to root.
    folder = Path(tempfile.mkdtemp(prefix="nginx", dir="/tmp"))
    folder.chmod(0o755)
    made = Rig(folder)
    try:
        yield made
    finally:
        made.stop()
        shutil.rmtree(folder)
