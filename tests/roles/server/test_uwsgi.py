"""uWSGI's config as Ansible renders it, loaded by uWSGI, and the environment of the app."""

from __future__ import annotations

import contextlib
import json
import os
import signal
import socket
import subprocess
import sys
import tempfile
import threading
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest
from nginx_rig import (
    Rig,
    Upstream,
    ask,
    free_port,
    needs_nginx,
    private_nginx,
    render,
    say,
    wait_for,
)
from supervised import SlotConnection, server_files

SHOP = {"server_names": ["shop.example.com"], "source": {"path": "app"}, "server": "uwsgi"}
RUN = [sys.executable, "-c", "import pyuwsgi; pyuwsgi.run()"]
APP = """
import json, os, time
posts = []
def app(environ, start):
    path = environ["PATH_INFO"]
    if path == "/slow":
        open("slow", "w").close()
        while not os.path.exists("go on"):
            time.sleep(0.02)
    if path == "/read":
        environ["read"] = str(len(environ["wsgi.input"].read()))
    seen = {name: value for name, value in environ.items() if isinstance(value, str)}
    body = json.dumps(seen | {"pid": os.getpid(), "threads": environ["wsgi.multithread"]}).encode()
    start("200 OK", [("Content-Length", str(len(body))), ("X-Request-ID", "app")])
    return [body]
def factory(name="x", *, more=()):
    return app
class shop:
    app = staticmethod(app)
nothing = 3
"""
# As the launcher starts it: with bound sockets from descriptor 3 on.
START = """
import os, sys
handles = [os.dup(int(each)) for each in sys.argv[1].split(",")]
parked = [os.dup2(each, 50 + number) for number, each in enumerate(handles)]
for number, each in enumerate(parked, 3):
    os.dup2(each, number, inheritable=True)
os.execv(sys.argv[2], sys.argv[2:])
"""


def write_release(folder: Path, **keys: Any) -> None:
    """The files of a release that uWSGI needs."""
    (folder / "app").mkdir(exist_ok=True)
    (folder / "app/wsgi.py").write_text(APP)
    for name, text in server_files(**SHOP, **keys).items():
        (folder / name).write_text(text.replace("/srv/shop", str(folder)))


def check(folder: Path, *words: str, **environment: str) -> subprocess.CompletedProcess[str]:
    """Let uWSGI read its config."""
    counted = {"SITE_WORKERS": "2", "SITE_WORKERS_FIRST": "1", "SITE_THREADS": "2", "SITE_SLOT": "blue"}
    return subprocess.run(
        [*RUN, "--ini", str(folder / "uwsgi.ini"), "--no-server", *words],
        cwd=folder / "app", env={**os.environ, **counted, **environment},
        stdout=subprocess.PIPE, stderr=subprocess.STDOUT, text=True, timeout=60, check=False,
    )  # fmt: skip


class Server:
    """A running uWSGI, in a folder that nginx's workers can reach."""

    def __init__(self, folder: Path, workers: int = 2, threads: int = 2, first: int = 1, **keys: Any) -> None:
        self.folder = folder
        # In a slot, or everything in one folder.
        release = folder / "release" if (folder / "release").exists() else folder
        self.app = release / "app"
        write_release(release, **keys)
        self.listeners = [socket.socket(socket.AF_UNIX) for _ in range(2)]
        for listener, name in zip(self.listeners, ("sock", "uwsgi.sock"), strict=True):
            listener.bind(str(folder / name))
            (folder / name).chmod(0o666)
        self.listeners += [socket.create_server(("127.0.0.1", 0)) for _ in keys.get("bind", [])]
        for listener in self.listeners:
            listener.listen(64)
        handles = [each.fileno() for each in self.listeners]
        self.log = folder / "server.log"
        with self.log.open("wb") as log:
            self.process = subprocess.Popen(
                [sys.executable, "-c", START, ",".join(map(str, handles)), *RUN, "--ini", str(release / "uwsgi.ini")],
                cwd=self.app, pass_fds=handles, stdout=log, stderr=log,
                env={**os.environ, "SITE_WORKERS": str(workers), "SITE_WORKERS_FIRST": str(first),
                     "SITE_THREADS": str(threads), "SITE_SLOT": "blue"},
            )  # fmt: skip
        for listener in self.listeners[:2]:
            listener.close()

    def get(self, path: str = "/", **headers: str) -> dict[str, Any]:
        """The app's view of a request by the slot's HTTP socket."""
        connection = SlotConnection(self.folder / "sock")
        connection.request("GET", path, headers={"Host": "shop.example.com", **headers})
        answer = connection.getresponse()
        assert answer.getheader("Connection") == "close", "nginx would keep a connection that is closing"
        return json.loads(answer.read())

    def end(self) -> int:
        """Stop the server and wait for its end."""
        self.process.terminate()
        try:
            return self.process.wait(60)
        finally:
            self.process.kill()


@pytest.fixture
def folder() -> Iterator[Path]:
    with tempfile.TemporaryDirectory(prefix="uwsgi", dir="/tmp") as made:
        Path(made).chmod(0o755)
        yield Path(made)


@contextlib.contextmanager
def running(folder: Path, **keys: Any) -> Iterator[Server]:
    server = Server(folder, **keys)
    try:
        yield server
    finally:
        for listener in server.listeners:
            listener.close()
        server.end()


VARIANTS: dict[str, dict[str, Any]] = {
    "defaults": {},
    "fewer workers at first": {"workers_min": 1, "uwsgi": {"cheaper": "busyness", "reload_on_rss": 200}},
    "stats on a socket": {"uwsgi": {"stats": "socket"}},
    "stats on a port": {"uwsgi": {"stats": "127.0.0.1:0"}},
    "most changed": {
        "preload": True, "timeout": 0, "max_requests": 100, "max_requests_jitter": 5, "access_log": True,
        "path": "/blog", "proxy_fix": False, "locations": {"/events": {"stream": True}},
    },
}  # fmt: skip


@pytest.mark.parametrize("keys", VARIANTS.values(), ids=VARIANTS.keys())
def test_uwsgi_accepts_the_configuration(folder: Path, keys: dict[str, Any]) -> None:
    write_release(folder, **keys)
    done = check(folder)
    assert done.returncode == 0, done.stdout
    assert "no-server mode requested" in done.stdout


def test_an_option_that_uwsgi_does_not_know_is_refused(folder: Path) -> None:
    write_release(folder)
    (folder / "uwsgi.ini").write_text((folder / "uwsgi.ini").read_text() + "lazy-appz = true\n")
    done = check(folder)
    assert done.returncode != 0
    assert "lazy-appz" in done.stdout


@pytest.mark.parametrize(
    ("wsgi", "problem"),
    [
        ("wsgi:app", ""),
        ("wsgi:factory()", ""),
        ("wsgi:factory('shop', more=[1, 2])", ""),
        ("wsgi:shop.app", ""),
        ("wsgi:ap", "wsgi:ap: there is no ap in wsgi"),
        ("wsgi:nothing", "is no WSGI app, since it cannot be called"),
        ("wsgy:app", "No module named 'wsgy'"),
    ],
)
def test_an_import_error_is_reported(folder: Path, wsgi: str, problem: str) -> None:
    write_release(folder, wsgi=wsgi)
    done = subprocess.run(
        [sys.executable, "-P", "../uwsgi_app.py"], cwd=folder / "app", capture_output=True, text=True, check=False
    )
    assert (done.returncode != 0) == bool(problem), done.stderr
    assert problem in done.stderr


def test_uwsgi_has_the_given_number_of_workers_and_threads(folder: Path) -> None:
    with running(folder, workers=2, threads=3) as server:
        assert server.get()["threads"] is True
        spawned = server.log.read_text()
    assert spawned.count("cores: 3)") == 2


def test_running_requests_finish_before_uwsgi_stops_and_its_sockets_stay(folder: Path) -> None:
    answers: list[dict[str, Any]] = []
    with running(folder, uwsgi={"stats": "socket"}, graceful_timeout=50) as server:
        asking = threading.Thread(target=lambda: answers.append(server.get("/slow")))
        (folder / "shared/data").mkdir(parents=True, exist_ok=True)
        asking.start()
        wait_for((folder / "app/slow").exists)
        server.process.send_signal(signal.SIGTERM)
        wait_for(lambda: "graceful shutdown triggered" in server.log.read_text())
        assert server.process.poll() is None
        (folder / "app/go on").touch()
        assert server.process.wait(60) == 0
        asking.join(60)
    assert answers[0]["PATH_INFO"] == "/slow"


def test_forwarded_headers_of_a_listeners_client_are_not_trusted(folder: Path) -> None:
    with running(folder, bind=["127.0.0.1:9000"]) as server:
        port = server.listeners[2].getsockname()[1]
        forged = "X-Forwarded-For: 6.6.6.6\r\nX-Forwarded-Proto: https\r\nX-Forwarded-SSL: on\r\nScript-Name: /evil\r\n"
        forged += "Remote-Addr: 6.6.6.6\r\nHTTPS: on\r\nUWSGI-FILE: /etc/passwd\r\n"
        wait_for(lambda: "spawned uWSGI worker 1" in server.log.read_text())
        seen = json.loads(ask(port, headers=forged).partition("\r\n\r\n")[2])
    assert (seen["REMOTE_ADDR"], seen["wsgi.url_scheme"], seen["SCRIPT_NAME"]) == ("127.0.0.1", "http", "")


def test_a_named_proxy_on_a_listener_is_trusted(folder: Path) -> None:
    with running(folder, bind=["127.0.0.1:9000"], trusted_proxies=["127.0.0.0/8"]) as server:
        port = server.listeners[2].getsockname()[1]
        said = "X-Forwarded-For: 6.6.6.6, 192.0.2.7\r\nX-Forwarded-Proto: https\r\n"
        seen = json.loads(ask(port, headers=said).partition("\r\n\r\n")[2])
    assert (seen["REMOTE_ADDR"], seen["wsgi.url_scheme"]) == ("192.0.2.7", "https")


def test_nginx_on_the_slots_http_socket_is_trusted(folder: Path) -> None:
    with running(folder) as server:
        seen = server.get(**{"X-Forwarded-For": "192.0.2.7", "X-Forwarded-Proto": "https"})
    assert (seen["REMOTE_ADDR"], seen["wsgi.url_scheme"]) == ("192.0.2.7", "https")


FORGED = {
    "X-Forwarded-For": "6.6.6.6", "X-Forwarded-Proto": "https", "X-Forwarded-Host": "evil.example", "Forwarded": "x",
    "X-Real-IP": "6.6.6.6", "X-Request-ID": "mine", "X-Script-Name": "/evil", "X-Forwarded-Prefix": "/evil",
    "Remote-User": "root", "X-Client-Certificate-Verify": "SUCCESS", "X-Forwarded-Ssl": "on", "Proxy": "http://evil",
}  # fmt: skip


@needs_nginx
class TestBehindNginx:
    """nginx with the site's own files, and uWSGI in its live slot."""

    @pytest.fixture
    def rig(self) -> Iterator[Rig]:
        yield from private_nginx()

    def serve(self, rig: Rig, **keys: Any) -> int:
        """nginx's port for the site."""
        port = free_port()
        files, links = render({"shop": {**SHOP, "http_port": port, **keys}}, nginx_worker_processes=1)
        rig.install(files, links)
        assert rig.test() == ""
        rig.start()
        return port

    @staticmethod
    def seen(answer: str) -> dict[str, Any]:
        assert answer.startswith("HTTP/1.1 200"), answer
        return json.loads(answer.partition("\r\n\r\n")[2])

    @pytest.mark.parametrize("protocol", ["uwsgi", "http"])
    @pytest.mark.parametrize("path", ["/", "/blog"])
    def test_the_app_sees_the_client_and_no_forged_header(self, rig: Rig, protocol: str, path: str) -> None:
        root = rig.site("shop")
        port = self.serve(rig, path=path, uwsgi={"protocol": protocol})
        with running(root / "slots/blue", path=path):
            asked, cookie = f"{path.rstrip('/')}/a%20b/?x=y", "Cookie: a=b\r\n"
            plain = self.seen(ask(port, asked, headers=cookie, source="127.0.0.3"))
            forged = "".join(f"{name}: {value}\r\n" for name, value in FORGED.items())
            odd = "HTTP_X_REAL_IP: 6\r\nREMOTE_ADDR: 6\r\nX_Real_IP: 6\r\nConnection: upgrade\r\nUpgrade: websocket\r\n"
            seen = self.seen(ask(port, asked, headers=cookie + forged + odd))
        for one in (plain, seen):
            one.pop("pid")
            assert ("REMOTE_PORT" in one) is (protocol == "uwsgi"), "it came by the other protocol"
        assert plain["REMOTE_ADDR"] == plain["HTTP_X_FORWARDED_FOR"] == plain["HTTP_X_REAL_IP"] == "127.0.0.3"
        assert plain["wsgi.url_scheme"] == plain["HTTP_X_FORWARDED_PROTO"] == "http"
        assert (plain["SCRIPT_NAME"], plain["PATH_INFO"]) == (path.rstrip("/"), "/a b/")
        assert (plain["QUERY_STRING"], plain["HTTP_COOKIE"]) == ("x=y", "a=b")
        assert plain["HTTP_HOST"] == plain["HTTP_X_FORWARDED_HOST"] == "shop.example.com"
        assert seen["HTTP_X_CLIENT_FORWARDED_FOR"] == "6.6.6.6"
        said = {"HTTP_" + name.upper().replace("-", "_") for name in FORGED}
        assert {name for name in said if "6.6.6.6" in str(seen.get(name))} == set()
        new = set(seen) - set(plain)
        assert new <= {"HTTP_X_CLIENT_FORWARDED_FOR"}, new
        changed = {name for name in plain if plain[name] != seen.get(name)}
        assert changed <= {"REMOTE_ADDR", "REMOTE_PORT", "HTTP_X_FORWARDED_FOR", "HTTP_X_REAL_IP", "HTTP_X_REQUEST_ID"}

    def test_both_protocols_give_the_app_the_same_environment(self, rig: Rig) -> None:
        root = rig.site("shop")
        port = self.serve(rig, locations={"/events/": {"stream": True}})
        with running(root / "slots/blue"):
            one, two = (self.seen(ask(port, path)) for path in ("/other/", "/events/"))
        assert one.pop("REMOTE_PORT").isdecimal()
        own = {"pid", "PATH_INFO", "REQUEST_URI", "HTTP_X_REQUEST_ID", "SERVER_NAME", "SERVER_PORT", "HTTPS"}
        assert {k: v for k, v in one.items() if k not in own} == {k: v for k, v in two.items() if k not in own}

    def test_a_body_arrives_whole_and_an_unread_one_still_gets_a_response(self, rig: Rig) -> None:
        root = rig.site("shop")
        port = self.serve(rig)
        body = "x" * 3_000_000
        with running(root / "slots/blue"):
            for _ in range(5):
                head = f"Host: shop.example.com\r\nConnection: close\r\nContent-Length: {len(body)}\r\n\r\n"
                assert self.seen(say(port, f"POST /read HTTP/1.1\r\n{head}{body}"))["read"] == str(len(body))
                self.seen(say(port, f"POST /unread HTTP/1.1\r\n{head}{body}"))
            chunked = "Host: shop.example.com\r\nConnection: close\r\nTransfer-Encoding: chunked\r\n\r\n"
            seen = self.seen(say(port, f"POST /read HTTP/1.1\r\n{chunked}5\r\nhello\r\n0\r\n\r\n"))
        assert seen["read"] == "5"

    def test_the_buffer_fits_all_headers_that_nginx_accepts(self, rig: Rig) -> None:
        root = rig.site("shop")
        port = self.serve(rig)
        with running(root / "slots/blue"):
            seen = self.seen(ask(port, headers="".join(f"X-Long-{n}: {'y' * 7900}\r\n" for n in range(3))))
        assert len(seen["HTTP_X_LONG_2"]) == 7900

    def test_a_release_without_uwsgi_is_served_by_http(self, rig: Rig) -> None:
        root = rig.site("shop")
        Upstream(root / "slots/blue/sock").start()
        assert "GET /x HTTP/1.1" in ask(self.serve(rig), "/x")
        assert "uwsgi.sock" not in (rig.folder / "var/log/shop/error.log").read_text()

    def test_an_upload_that_outlasts_the_switch_to_gunicorn_arrives_once(self, rig: Rig) -> None:
        root = rig.site("shop")
        port = self.serve(rig)
        (root / "slots/green").mkdir()
        Upstream(root / "slots/green/sock").start()
        with running(root / "slots/blue"), socket.create_connection(("127.0.0.1", port), timeout=20) as peer:
            head = "Host: shop.example.com\r\nConnection: close\r\nContent-Length: 4\r\n\r\n"
            peer.sendall(f"POST /up HTTP/1.1\r\n{head}ab".encode())
            # It has decided by now, since a complete later request has a response.
            assert "HTTPS" not in self.seen(ask(port, "/other"))
            (root / "live.new").symlink_to("slots/green")
            os.replace(root / "live.new", root / "live")
            peer.sendall(b"cd")
            answer = b"".join(iter(lambda: peer.recv(65536), b"")).decode()
        assert answer.startswith("HTTP/1.1 200")
        assert "POST /up HTTP/1.1" in answer

    def test_a_request_that_uwsgi_accepted_is_not_sent_again(self, rig: Rig) -> None:
        root = rig.site("shop")
        port = self.serve(rig)
        answers: list[str] = []
        with running(root / "slots/blue", workers=1) as server:
            asking = threading.Thread(target=lambda: answers.append(ask(port, "/slow", method="POST")))
            asking.start()
            wait_for((server.app / "slow").exists)
            (server.app / "slow").unlink()
            worker = int(server.log.read_text().partition("spawned uWSGI worker 1 (pid: ")[2].partition(",")[0])
            os.kill(worker, signal.SIGKILL)
            asking.join(60)
            wait_for(lambda: server.log.read_text().count(" ready in ") == 2)
            assert not (server.app / "slow").exists()
        assert answers[0].startswith("HTTP/1.1 502")

    def test_the_app_sees_the_scheme_https(self, rig: Rig) -> None:
        port = free_port()
        balancer = {"trusted_balancers": ["127.0.0.0/8"]}
        files, links = render({"shop": {**SHOP, "http_port": port, **balancer}}, nginx_worker_processes=1)
        root = rig.site("shop")
        rig.install(files, links)
        rig.start()
        with running(root / "slots/blue", **balancer):
            seen = self.seen(ask(port, headers="X-Forwarded-Proto: https\r\nX-Forwarded-For: 192.0.2.9\r\n"))
        assert (seen["wsgi.url_scheme"], seen["HTTPS"], seen["REMOTE_ADDR"]) == ("https", "on", "192.0.2.9")


def test_statistics_show_workers_and_no_request(folder: Path) -> None:
    (folder / "shared/data").mkdir(parents=True)
    with running(folder, uwsgi={"stats": "socket"}) as server:
        server.get("/", Cookie="secret")
        with socket.socket(socket.AF_UNIX) as peer:
            peer.connect(str(folder / "shared/data/uwsgi-blue.stats"))
            told = json.loads(b"".join(iter(lambda: peer.recv(65536), b"")))
    assert len(told["workers"]) == 2
    assert "secret" not in json.dumps(told)
    assert not (folder / "shared/data/uwsgi-blue.stats").exists()


def test_uwsgi_starts_with_the_given_number_of_workers(folder: Path) -> None:
    with running(folder, workers=3, first=2, workers_min=1) as server:
        server.get()
        assert server.log.read_text().count("spawned uWSGI worker") == 2


def test_workers_are_added_under_load_and_removed_afterwards(folder: Path) -> None:
    # A worker that waits behind another one for a connection ignores signals until a request arrives or this ends.
    with running(folder, workers=3, threads=1, workers_min=1, graceful_timeout=3) as server:
        server.get()
        assert server.log.read_text().count("spawned uWSGI worker") == 1
        asking = [threading.Thread(target=server.get, args=["/slow"]) for _ in range(2)]
        for each in asking:
            each.start()
        wait_for(lambda: server.log.read_text().count("awned uWSGI worker") >= 2)
        (folder / "app/go on").touch()
        for each in asking:
            each.join(60)
        wait_for(lambda: server.log.read_text().count(" ready in ") >= 2)
        children = Path(f"/proc/{server.process.pid}/task/{server.process.pid}/children")
        wait_for(lambda: len(children.read_text().split()) == 1)
