"""The autoscaler: samples, decisions, and a real site."""

from __future__ import annotations

import os
import signal
import socket
from collections.abc import Iterator
from concurrent.futures import Future, ThreadPoolExecutor
from pathlib import Path
from typing import Any

import pytest
import yaml
from nginx_rig import PROJECT, Rig, ask, evaluate, needs_nginx, private_nginx, role_variables, trusted
from shop_under_load import APP, Clients, Shop, booked
from slow_database import SlowDatabase, slow_database
from supervised import Host, eventually

from ansible_collections.wsgi.sites.plugins.module_utils.autoscaler import cli
from ansible_collections.wsgi.sites.plugins.module_utils.autoscaler.cli import INTERVAL
from ansible_collections.wsgi.sites.plugins.module_utils.autoscaler.master import Master
from ansible_collections.wsgi.sites.plugins.module_utils.autoscaler.policy import Policy, Sample
from ansible_collections.wsgi.sites.plugins.module_utils.autoscaler.unix_sockets import queue
from ansible_collections.wsgi.sites.plugins.module_utils.releases import deployment
from ansible_collections.wsgi.sites.plugins.module_utils.runtime import orphans
from ansible_collections.wsgi.sites.plugins.module_utils.site import paths
from ansible_collections.wsgi.sites.plugins.plugin_utils.releases import manifest

# --- Decisions --------------------------------------------------------------------------------------------------------


class Site:
    """A simulated gunicorn that obeys at once, sampled four times a second."""

    def __init__(self, workers: int, **limits: int) -> None:
        self.workers, self.now = workers, 1000.0
        self.policy = Policy(**{"least": 1, "most": 8, "each": 1, **limits})

    def goes_on(self, seconds: float, waiting: int = 0, taken: int = 0, always: bool = False) -> list[int]:
        """The number of workers after each sample in this time.

        :param taken: connections in use in every other sample, or in all
        """
        found = []
        for turn in range(round(seconds / INTERVAL)):
            at_work = taken if always or turn % 2 else 0
            look = Sample(self.now, self.workers, frozenset(range(waiting)), at_work)
            self.workers += self.policy.decide(look)
            self.now += INTERVAL
            found.append(self.workers)
        return found

    @classmethod
    def known(cls, workers: int, **limits: int) -> Site:
        """A site whose workers have been counted."""
        site = cls(workers, **limits)
        assert set(site.goes_on(3)) == {workers}
        return site


def test_a_request_that_waits_for_a_moment_adds_no_worker() -> None:
    site = Site.known(2)
    for number in range(40):
        look = Sample(site.now, 2, frozenset({number}), 2)
        assert site.policy.decide(look) == 0
        site.now += INTERVAL


def test_waiting_requests_add_as_many_workers_as_they_need_and_at_most_as_many_again() -> None:
    assert max(Site.known(4).goes_on(1, waiting=2, taken=4)) == 6
    assert max(Site.known(4, each=4).goes_on(1, waiting=5, taken=16)) == 6
    site = Site.known(2)
    assert max(site.goes_on(1.5, waiting=100, taken=2)) == 4, "the others get time to start"
    assert max(site.goes_on(2, waiting=100, taken=4)) == 8
    assert set(site.goes_on(60, waiting=100, taken=8)) == {8}, "never more than there may be"


def test_workers_stop_one_by_one_when_no_request_has_waited_and_one_less_suffices() -> None:
    site = Site.known(4, least=2)
    assert set(site.goes_on(25)) == {4}
    assert site.goes_on(10)[-1] == 3
    assert site.goes_on(31)[-1] == 2
    assert set(site.goes_on(300)) == {2}


@pytest.mark.parametrize(("taken", "left"), [(13, 4), (9, 3), (8, 2), (4, 1), (0, 1)])
def test_recently_used_workers_are_kept(taken: int, left: int) -> None:
    assert Site.known(4, each=4).goes_on(400, taken=taken)[-1] == left


def test_no_worker_stops_during_a_request() -> None:
    """gunicorn would stop the oldest worker, even a busy one."""
    site = Site.known(4)
    assert set(site.goes_on(400, taken=1, always=True)) == {4}
    assert site.goes_on(1)[-1] == 3, "at once, when it is not"


def test_a_worker_that_crashed_is_left_to_the_master() -> None:
    site = Site.known(3)
    site.workers = 2
    assert set(site.goes_on(2, taken=3)) == {2}
    site.workers = 3
    assert set(site.goes_on(20, taken=3)) == {3}


def test_a_number_of_workers_outside_the_limits_is_corrected() -> None:
    fewer = Site.known(3, least=3)
    fewer.workers = 1
    assert fewer.goes_on(10)[-1] == 3
    more = Site.known(3, most=3)
    more.workers = 5
    assert set(more.goes_on(100, taken=3)) == {5}, "they may be finishing their requests"
    assert more.goes_on(30, taken=3)[-1] == 3


def test_a_worker_that_ends_its_last_request_is_not_counted() -> None:
    """A worker that stops for good needs a replacement."""
    site = Site.known(3, most=3)
    site.goes_on(31, taken=2)
    assert site.policy.wanted == 2
    site.workers = 3
    assert set(site.goes_on(20, taken=2)) == {3}
    assert site.policy.wanted == 2
    site.goes_on(1, waiting=1, taken=2)
    assert site.policy.wanted == 3


# --- Samples ----------------------------------------------------------------------------------------------------------


def test_it_reads_the_queue_of_its_own_socket_only(tmp_path: Path) -> None:
    def listen(name: str) -> socket.socket:
        made = socket.socket(socket.AF_UNIX)
        made.bind(str(tmp_path / name))
        made.listen()
        return made

    def connect() -> socket.socket:
        made = socket.socket(socket.AF_UNIX)
        made.connect(str(tmp_path / "sock"))
        made.sendall(b"GET /")
        return made

    sock = tmp_path / "sock"
    with listen("sock.new") as server, listen("other") as other, socket.socket(socket.AF_UNIX) as elsewhere:
        (tmp_path / "sock.new").rename(tmp_path / "sock")
        elsewhere.connect(other.getsockname())
        assert queue(sock) == (frozenset(), 0)
        with connect(), connect(), connect():
            pending, taken = queue(sock)
            assert (len(pending), taken) == (3, 0)
            with server.accept()[0] as one:
                unread, taken = queue(sock)
                assert (len(unread), len(unread & pending), taken) == (3, 2, 1), (
                    "an accepted connection is not yet a response"
                )
                assert one.recv(100)
                still, taken = queue(sock)
                assert (still, taken) == (unread & pending, 1)


# --- A real site ------------------------------------------------------------------------------------------------------

WAITS = """
    if path == "/wait":
        import socket
        with socket.create_connection(("127.0.0.1", {port})) as peer:
            peer.recv(1)
"""


@pytest.fixture
def rig() -> Iterator[Rig]:
    yield from private_nginx()


@pytest.fixture
def database() -> Iterator[SlowDatabase]:
    yield from slow_database()


class Busy(Shop):
    """A site with one to three workers, whose releases are as they are rendered."""

    def __init__(self, host: Host, rig: Rig, database: SlowDatabase, **keys: Any) -> None:
        site = {"server_names": ["shop.example.com"], "workers": 3, "workers_min": 1, **keys}
        site |= {"root": str(host.site.root), "graceful_timeout": 5}
        variables = role_variables({"shop": site}, site_name="shop", inventory_hostname="one")
        variables |= trusted(yaml.safe_load((PROJECT / "roles/release/vars/main.yml").read_text()))
        self.files = evaluate("release_files", variables)
        self.brings = manifest.worker_settings(evaluate("site_entry", variables))
        self.brings |= {"processes": evaluate("__release_process_manifest", variables)}
        self.scaler = host.folder / "scaler"
        calm = ("from {engine}.autoscaler import policy", "policy.CALM = 1.0")
        host.install("scaler", *calm, module="autoscaler.cli")
        # The launcher's own part, user and initial number of workers, is tested elsewhere.
        self.app = APP.replace("    body =", WAITS.format(port=database.port) + "    body =")
        super().__init__(host, rig, "gunicorn")

    def local(self, text: str) -> str:
        """A host's file or command, adapted to this folder."""
        for there, here in (
            ("/usr/local/lib/sites/launcher", self.host.launcher),
            ("/usr/local/lib/sites/scaler", self.scaler),
            ("/var/log", self.host.folder / "log"),
        ):
            text = text.replace(there, str(here))
        return text

    def prepare(self, release_id: str, server: str = "gunicorn") -> str:
        """Start another release without switching to it."""
        folder = self.host.site.release(release_id)
        scaler = self.brings["processes"]["scaler"]
        command = [self.local(word) for word in scaler["command"]]
        own = {**self.brings, "processes": {"scaler": {**scaler, "command": command}}}
        run = ["/usr/bin/python3", "-m", "gunicorn", "--config", str(folder / "gunicorn.conf.py"), "wsgi:app"]
        self.host.release(release_id, command=run, **own)
        (folder / "app/wsgi.py").write_text(self.app.format(book=str(self.book)))
        for name in ("gunicorn.conf.py", "wsgi_middleware.py", "program-scaler.conf"):
            (folder / name).write_text(self.local(self.files[name]))
        return deployment.start(self.host.site, release_id)["slot"]

    def master(self, slot: str) -> int:
        """PID of a slot's master."""
        return orphans.orphan(self.host.site, slot)

    def workers(self, slot: str = "") -> int:
        """The number of workers of the live slot, or of this one."""
        pid = self.master(slot or self.host.site.live_slot())
        return len(Path(f"/proc/{pid}/task/{pid}/children").read_text().split())

    def logs(self) -> str:
        """The ends of the logs of nginx and gunicorn, for the message of a failed test."""
        return "\n".join(
            path.read_text()[-2000:] for path in (*self.rig.folder.glob("var/log/**/error.log"), self.host.site.log)
        )

    def said(self) -> str:
        """The scaler's log."""
        return (self.host.folder / "log/shop/scaler.log").read_text()


def served(asked: list[Future[str]], database: SlowDatabase) -> None:
    """Release all waiting requests, also later ones; each gets its response."""
    while not all(each.done() for each in asked):
        eventually(lambda: database.waiting or all(each.done() for each in asked))
        while database.waiting:
            database.let_go()
    assert all(each.result().startswith("HTTP/1.1 200") for each in asked)


# For each class: its keys in the site config, and the simultaneous requests of three workers.
CLASSES = {"sync": ({"worker_class": "sync"}, 3), "gthread": ({"worker_class": "gthread", "threads": 2}, 6)}


@needs_nginx
@pytest.mark.parametrize("name", CLASSES)
def test_workers_are_added_for_waiting_requests_and_removed_without_loss(
    host: Host, rig: Rig, database: SlowDatabase, name: str
) -> None:
    keys, at_once = CLASSES[name]
    shop = Busy(host, rig, database, **keys)
    shop.deploy("gunicorn")
    assert shop.workers() == 1
    with ThreadPoolExecutor(2 * at_once) as pool:
        for _ in range(2):
            asked = [pool.submit(ask, shop.port, "/wait") for _ in range(2 * at_once)]
            eventually(lambda: len(database.waiting) == at_once)
            assert shop.workers() == 3, "the maximum"
            served(asked, database)
            with Clients(shop.port, 1) as clients:
                eventually(lambda: shop.workers() == 1)
            assert clients.lost == [], shop.logs()
            assert booked(shop.book) == dict.fromkeys(clients.sent, 1)
            shop.book.write_text("")
    assert database.most == at_once
    assert "1 → 2 workers (" in shop.said()
    assert "2 → 1 workers (no request has waited)" in shop.said()


@needs_nginx
def test_scaling_continues_after_a_switch_and_after_a_crash(host: Host, rig: Rig, database: SlowDatabase) -> None:
    shop = Busy(host, rig, database, worker_class="sync")
    shop.deploy("gunicorn")
    with ThreadPoolExecutor(3) as pool:

        def rises() -> list[Future[str]]:
            asked = [pool.submit(ask, shop.port, "/wait") for _ in range(3)]
            eventually(lambda: len(database.waiting) == 3)
            assert shop.workers() == 3
            return asked

        asked = rises()
        slot = shop.prepare("next")
        assert eventually(lambda: shop.workers(slot) == 3), "the next release begins with as many"
        served(asked, database)
        deployment.switch(host.site, slot, "next", drain=0.2)
        eventually(lambda: shop.workers() == 1)

        pid = orphans.orphan(host.site, "scaler-1")
        assert f"\nUid:\t{os.stat(shop.book).st_uid or 65534}\t" in Path(f"/proc/{pid}/status").read_text()
        os.kill(pid, signal.SIGKILL)
        eventually(lambda: orphans.orphan(host.site, "scaler-1") not in (None, pid))
        asked = rises()

        os.kill(shop.master(slot), signal.SIGKILL)
        while database.waiting:
            database.let_go()
        for each in asked:
            each.exception()
        eventually(lambda: shop.workers() == 1)
        served(rises(), database)


def test_the_server_of_another_release_is_left_alone(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(paths, "RUN", tmp_path)
    (tmp_path / "shop-blue.pid").write_text('{"pid": 1, "start": 2}')
    (tmp_path / "slots/blue").mkdir(parents=True)
    (tmp_path / "slots/blue/release").symlink_to("../../releases/one")
    (tmp_path / "live").symlink_to("slots/blue")
    site = paths.Layout("shop", tmp_path)
    assert cli.live(site, "one") == ("blue", {"pid": 1, "start": 2})
    with pytest.raises(ProcessLookupError):
        cli.live(site, "two")


def test_a_master_without_signal_handlers_gets_no_signal() -> None:
    """Until gunicorn has its handlers, SIGTTIN would stop the process."""
    start = int(Path(f"/proc/{os.getpid()}/stat").read_text().rpartition(")")[2].split()[19])
    server = Master("blue", {"pid": os.getpid(), "start": start})
    assert not server.takes_signals()
    before = {sign: signal.signal(sign, lambda *_: None) for sign in (signal.SIGTTIN, signal.SIGTTOU)}
    try:
        assert server.takes_signals()
    finally:
        for sign, handler in before.items():
            signal.signal(sign, handler)
        server.close()
    with pytest.raises(ProcessLookupError):
        Master("blue", {"pid": os.getpid(), "start": start - 1})
