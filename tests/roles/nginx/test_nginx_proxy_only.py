"""Proxy-only sites: a real nginx with servers on other hosts."""

from __future__ import annotations

import contextlib
import http.client
import socket
import ssl
import threading
from collections.abc import Callable
from datetime import timedelta
from pathlib import Path

import pytest
from certificates import Made, make
from nginx_rig import NGINX, Rig, ask, free_port, needs_nginx, private_nginx, render, wait_for
from supervised import Host

from ansible_collections.wsgi.sites.plugins.module_utils.releases import deployment
from ansible_collections.wsgi.sites.plugins.module_utils.site import remote_upstream as releases_front
from ansible_collections.wsgi.sites.plugins.module_utils.system.kernel import nginx_version

NAME = "app.shop.example.com"


class Server(threading.Thread):
    """A TLS server on loopback that echoes the request, or closes the connection after it."""

    def __init__(self, folder: Path, made: Made, *, hangs_up: bool = False, port: int = 0) -> None:
        super().__init__(daemon=True)
        self.context = ssl.SSLContext(ssl.PROTOCOL_TLS_SERVER)
        self.context.load_cert_chain(*made.put(folder, f"server{port}"))
        self.context.sni_callback = lambda peer, name, context: self.asked_for.append(name)
        self.listener = socket.create_server(("127.0.0.1", port))
        self.address = f"127.0.0.1:{self.listener.getsockname()[1]}"
        self.hangs_up = hangs_up
        self.asked_for: list[str | None] = []
        self.seen: list[str] = []
        self.start()

    def run(self) -> None:
        while True:
            try:
                plain, _ = self.listener.accept()
            except OSError:
                return
            with plain, contextlib.suppress(OSError), self.context.wrap_socket(plain, server_side=True) as peer:
                self._answer(peer)

    def _answer(self, peer: ssl.SSLSocket) -> None:
        seen = b""
        while b"\r\n\r\n" not in seen and (piece := peer.recv(65536)):
            seen += piece
        if seen:
            self.seen.append(seen.decode())
        if seen and not self.hangs_up:
            head = f"HTTP/1.1 200 OK\r\nContent-Length: {len(seen)}\r\nConnection: close\r\n\r\n"
            peer.sendall(head.encode() + seen)
            peer.unwrap()


@pytest.fixture
def rig():
    yield from private_nginx()


@pytest.fixture
def authority() -> Made:
    return make(authority=True, common_name="ours")


@pytest.fixture
def front(rig: Rig, authority: Made) -> Callable[..., int]:
    """Starts nginx with a proxy-only site: `front([address], name=…)`; its port."""

    def start(servers: list[str], site: dict | None = None, **upstream) -> int:
        port = free_port()
        upstream = {"servers": servers, "ca": authority.pem, "name": NAME, **upstream}
        page = {"server_names": ["shop.example.com"], "http_port": port, "upstream": upstream, **(site or {})}
        files, links = render({"shop": page}, nginx_worker_processes=1, nginx_version=nginx_version(NGINX))
        (rig.folder / "var/log/shop").mkdir(parents=True)
        rig.install(files, links)
        rig.start()
        return port

    return start


@pytest.fixture
def server(tmp_path: Path, authority: Made):
    """Makes a server: `server(made)`, with a good certificate unless another is given."""
    made: list[Server] = []

    def start(certificate: Made | None = None, **how) -> Server:
        made.append(Server(tmp_path, certificate or make(NAME, by=authority), **how))
        return made[-1]

    yield start
    for each in made:
        each.listener.close()


@needs_nginx
def test_a_remote_server_gets_headers_that_the_client_cannot_forge(front, server) -> None:
    back = server()
    port = front([back.address])
    forged = "X-Forwarded-For: 203.0.113.9\r\nX-Forwarded-Proto: https\r\nX-Forwarded-Host: evil\r\n"
    found = ask(port, "/words?a=b", headers=forged)
    assert found.startswith("HTTP/1.1 200")
    for line in (
        "GET /words?a=b HTTP/1.1",
        "Host: shop.example.com",
        "X-Forwarded-For: 127.0.0.1",
        "X-Forwarded-Proto: http",
        "X-Real-IP: 127.0.0.1",
    ):
        assert f"{line}\r\n" in found
    assert "X-Forwarded-Host: evil" not in found
    assert back.asked_for == [NAME]


@needs_nginx
@pytest.mark.parametrize(
    ("certificate", "why"),
    [
        (lambda ours: make(NAME, by=make(authority=True, common_name="ours")), "certificate verify error"),
        (lambda ours: make(NAME), "certificate verify error"),
        (lambda ours: make(NAME, by=ours, begins=timedelta(-9), ends=timedelta(-1)), "certificate has expired"),
        (lambda ours: make("other.example.com", by=ours), f'does not match "{NAME}"'),
    ],
    ids=["of a forger", "of itself", "expired", "of another name"],
)
def test_nothing_is_sent_to_a_server_without_a_valid_certificate(front, server, rig, authority, certificate, why):
    back = server(certificate(authority))
    port = front([back.address])
    assert ask(port, method="POST", headers="Content-Length: 0\r\n").startswith("HTTP/1.1 502")
    assert back.seen == []
    log = (rig.folder / "var/log/shop/error.log").read_text()
    assert why in log and back.address in log


@needs_nginx
def test_a_self_signed_certificate_can_be_its_own_authority(front, server) -> None:
    own = make(NAME)
    assert ask(front([server(own).address], ca=own.pem)).startswith("HTTP/1.1 200")


@needs_nginx
def test_without_tls_the_remote_server_is_reached_by_http(front, rig) -> None:
    with socket.create_server(("127.0.0.1", 0)) as listener:

        def answer() -> None:
            peer, _ = listener.accept()
            with peer:
                peer.sendall(b"HTTP/1.1 200 OK\r\nContent-Length: 5\r\n\r\n" + peer.recv(4))
                peer.sendall(b"!")

        threading.Thread(target=answer, daemon=True).start()
        assert ask(front([f"127.0.0.1:{listener.getsockname()[1]}"], tls=False, ca="")).endswith("GET !")


@needs_nginx
class TestSeveral:
    """Failover between servers, without repeating non-idempotent requests."""

    def test_a_server_that_is_down_loses_no_request(self, front, server) -> None:
        back, away = server(), f"127.0.0.1:{free_port()}"
        port = front([away, back.address])
        for method in ("GET", "POST") * 10:
            assert ask(port, method=method, headers="Content-Length: 0\r\n").startswith("HTTP/1.1 200")
        assert len(back.seen) == 20

    def test_a_server_without_a_valid_certificate_loses_no_request(self, front, server) -> None:
        back, forger = server(), server(make(NAME))
        port = front([forger.address, back.address])
        for method in ("GET", "POST") * 4:
            assert ask(port, method=method, headers="Content-Length: 0\r\n").startswith("HTTP/1.1 200")
        assert (len(back.seen), forger.seen) == (8, [])

    def test_only_idempotent_requests_are_retried_on_another_server(self, front, server) -> None:
        dying = [server(hangs_up=True), server(hangs_up=True)]
        port = front([each.address for each in dying])
        assert ask(port, "/get").startswith("HTTP/1.1 502")
        assert sum("/get" in seen for each in dying for seen in each.seen) == 2
        assert ask(port, "/post", method="POST", headers="Content-Length: 0\r\n").startswith("HTTP/1.1 502")
        assert sum("/post" in seen for each in dying for seen in each.seen) == 1


def test_the_status_checks_servers_as_nginx_does(server, authority, tmp_path: Path, monkeypatch) -> None:
    def strict(cafile: str) -> ssl.SSLContext:
        """A strict TLS context, as Python's default since 3.13."""
        context = ssl.SSLContext(ssl.PROTOCOL_TLS_CLIENT)
        context.load_verify_locations(cafile)
        context.verify_flags |= ssl.VERIFY_X509_STRICT
        return context

    monkeypatch.setattr(ssl, "create_default_context", strict)
    (tmp_path / "ca.pem").write_text(authority.pem)
    health = {"path": "/healthz", "status": 200, "body": "Host: shop.example.com", "host": "shop.example.com"}
    good, forger = server(), server(make(NAME))
    where = {"servers": [good.address], "name": NAME, "ca": str(tmp_path / "ca.pem"), "health": health}
    found = releases_front.status("shop", where)
    assert (found["healthy"], found["detail"], found["problems"]) == (True, f"passed on to {good.address}", "")
    found = releases_front.status("shop", {**where, "servers": [good.address, forger.address]})
    assert found["healthy"] and found["problems"].startswith(f"{forger.address}: its certificate is refused: self")
    found = releases_front.status("shop", {**where, "servers": [forger.address]})
    assert not found["healthy"] and found["detail"].startswith(f"{forger.address}: its certificate is refused")
    assert not forger.seen
    other = releases_front.status("shop", {**where, "health": {**health, "body": "something else"}})
    assert other["detail"] == f"{good.address}: /healthz answered without the expected text"


class Clients:
    """Continuous clients on keep-alive connections, each with GET and POST in turn."""

    def __init__(self, port: int, count: int = 4) -> None:
        self.port, self.stopping = port, threading.Event()
        self.answers: list[tuple[int, str]] = []
        self.threads = [threading.Thread(target=self._ask, daemon=True) for _ in range(count)]
        for each in self.threads:
            each.start()

    def _ask(self) -> None:
        peer = http.client.HTTPConnection("127.0.0.1", self.port, timeout=30)
        number = 0
        while not self.stopping.is_set():
            number += 1
            try:
                peer.request(("GET", "POST")[number % 2], "/", headers={"Host": "shop.example.com"})
                answer = peer.getresponse()
                self.answers.append((answer.status, answer.read().decode()))
            except (OSError, http.client.HTTPException) as error:
                self.answers.append((0, repr(error)))
                peer.close()

    def stop(self) -> list[tuple[int, str]]:
        self.stopping.set()
        for each in self.threads:
            each.join()
        return self.answers


@needs_nginx
def test_a_change_of_server_and_certificate_loses_no_request(host: Host, front, rig, authority) -> None:
    """The other host, as a deploy or a restart leaves it: supervisor, launcher and gunicorn, with TLS on a listener."""
    address, pair = f"127.0.0.1:{free_port()}", host.folder / "pair.pem"

    def renew() -> Made:
        """One file with both, replaced as a whole: gunicorn reads it for each connection."""
        made, new = make(NAME, by=authority), pair.with_suffix(".new")
        new.write_text(made.pem + made.key)
        new.chmod(0o644)
        new.rename(pair)
        return made

    def deploy(release: str) -> None:
        options = [f"--certfile={pair}", f"--keyfile={pair}"]
        slot = deployment.start(host.site, host.release(release, listen=[address], tls=True, options=options))["slot"]
        deployment.switch(host.site, slot, release, drain=1)

    def shown() -> bytes:
        context = ssl.create_default_context(cadata=authority.pem)
        where = (address.partition(":")[0], int(address.partition(":")[2]))
        with socket.create_connection(where) as plain, context.wrap_socket(plain, server_hostname=NAME) as peer:
            return peer.getpeercert(True)

    renew()
    deploy("r1")
    clients = Clients(front([address]))
    wait_for(lambda: len(clients.answers) > 50)
    for release in ("r2", "r3", "r4"):
        made = renew()
        deploy(release)
        served = f'"release": "{release}"'
        wait_for(lambda served=served: served in clients.answers[-1][1])
        assert ssl.DER_cert_to_PEM_cert(shown()) == made.pem
    answers = clients.stop()
    lost = [answer for answer in answers if answer[0] != 200]
    log = (rig.folder / "var/log/shop/error.log").read_text()
    assert lost == [], f"{len(lost)} of {len(answers)}: {lost[:3]}\n{log[-3000:]}"
