"""Workers that follow the load: what the scaler sees, what it makes of that, and a site that it looks after."""

from __future__ import annotations

import os
import signal
import socket
from collections.abc import Iterator
from concurrent.futures import Future, ThreadPoolExecutor
from pathlib import Path
from types import ModuleType
from typing import Any

import pytest
import yaml
from nginx_rig import PROJECT, Rig, ask, evaluate, needs_nginx, private_nginx, role_variables, trusted
from shop_under_load import APP, Clients, Shop, booked
from slow_database import SlowDatabase, slow_database
from supervised import Host, eventually

from ansible_collections.wsgi.sites.plugins.module_utils.releases import deployment
from ansible_collections.wsgi.sites.plugins.module_utils.runtime import orphans
from ansible_collections.wsgi.sites.plugins.plugin_utils.releases import manifest


@pytest.fixture
def scaler(plugin) -> ModuleType:
    return plugin("roles/release/files/scaler.py")


# --- What it makes of what it sees ------------------------------------------------------------------------------------


class Site:
    """A gunicorn that does as it is told at once, shown to a judge four times a second."""

    def __init__(self, scaler: ModuleType, workers: int, **judge: int) -> None:
        self.module, self.workers, self.now = scaler, workers, 1000.0
        self.judge = scaler.Judge(**{"least": 1, "most": 8, "each": 1, **judge})

    def goes_on(self, seconds: float, waiting: int = 0, taken: int = 0, always: bool = False) -> list[int]:
        """How many workers there are after each look of this time.

        :param taken: how many connections are at work at every other look, or always
        """
        found = []
        for turn in range(round(seconds / self.module.INTERVAL)):
            at_work = taken if always or turn % 2 else 0
            look = self.module.Look(self.now, self.workers, frozenset(range(waiting)), at_work)
            self.workers += self.judge.judge(look)
            self.now += self.module.INTERVAL
            found.append(self.workers)
        return found

    @classmethod
    def known(cls, scaler: ModuleType, workers: int, **judge: int) -> Site:
        """One whose workers have been counted."""
        site = cls(scaler, workers, **judge)
        assert set(site.goes_on(3)) == {workers}
        return site


def test_who_waits_for_a_moment_only_is_no_reason(scaler: ModuleType) -> None:
    site = Site.known(scaler, 2)
    for number in range(40):
        look = scaler.Look(site.now, 2, frozenset({number}), 2)
        assert site.judge.judge(look) == 0
        site.now += scaler.INTERVAL


def test_who_still_waits_gets_as_many_as_needed_and_at_most_as_many_again(scaler: ModuleType) -> None:
    assert max(Site.known(scaler, 4).goes_on(1, waiting=2, taken=4)) == 6
    assert max(Site.known(scaler, 4, each=4).goes_on(1, waiting=5, taken=16)) == 6
    site = Site.known(scaler, 2)
    assert max(site.goes_on(1.5, waiting=100, taken=2)) == 4, "the others get time to start"
    assert max(site.goes_on(2, waiting=100, taken=4)) == 8
    assert set(site.goes_on(60, waiting=100, taken=8)) == {8}, "never more than there may be"


def test_they_go_one_by_one_when_nobody_has_waited_and_one_less_would_do(scaler: ModuleType) -> None:
    site = Site.known(scaler, 4, least=2)
    assert set(site.goes_on(25)) == {4}
    assert site.goes_on(10)[-1] == 3
    assert site.goes_on(31)[-1] == 2
    assert set(site.goes_on(300)) == {2}


@pytest.mark.parametrize(("taken", "left"), [(13, 4), (9, 3), (8, 2), (4, 1), (0, 1)])
def test_as_many_stay_as_have_been_at_work(scaler: ModuleType, taken: int, left: int) -> None:
    assert Site.known(scaler, 4, each=4).goes_on(400, taken=taken)[-1] == left


def test_none_goes_while_one_is_at_work(scaler: ModuleType) -> None:
    """gunicorn would take the oldest worker, whatever that is at."""
    site = Site.known(scaler, 4)
    assert set(site.goes_on(400, taken=1, always=True)) == {4}
    assert site.goes_on(1)[-1] == 3, "at once, when it is not"


def test_one_that_crashed_is_the_masters_business(scaler: ModuleType) -> None:
    site = Site.known(scaler, 3)
    site.workers = 2
    assert set(site.goes_on(2, taken=3)) == {2}
    site.workers = 3
    assert set(site.goes_on(20, taken=3)) == {3}


def test_what_somebody_else_has_told_the_master_is_put_right(scaler: ModuleType) -> None:
    fewer = Site.known(scaler, 3, least=3)
    fewer.workers = 1
    assert fewer.goes_on(10)[-1] == 3
    more = Site.known(scaler, 3, most=3)
    more.workers = 5
    assert set(more.goes_on(100, taken=3)) == {5}, "they may be ending their requests"
    assert more.goes_on(30, taken=3)[-1] == 3


def test_one_that_still_ends_its_request_is_not_counted_as_there(scaler: ModuleType) -> None:
    """It goes for good, and another one is wanted meanwhile."""
    site = Site.known(scaler, 3, most=3)
    site.goes_on(31, taken=2)
    assert site.judge.wanted == 2
    site.workers = 3
    assert set(site.goes_on(20, taken=2)) == {3}
    assert site.judge.wanted == 2
    site.goes_on(1, waiting=1, taken=2)
    assert site.judge.wanted == 3


# --- What it sees -----------------------------------------------------------------------------------------------------


def test_it_sees_who_waits_at_this_socket_alone(scaler: ModuleType, tmp_path: Path) -> None:
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
        assert scaler.crowd(sock) == (frozenset(), 0)
        with connect(), connect(), connect():
            pending, taken = scaler.crowd(sock)
            assert (len(pending), taken) == (3, 0)
            with server.accept()[0] as one:
                unread, taken = scaler.crowd(sock)
                assert (len(unread), len(unread & pending), taken) == (3, 2, 1), "taken is not yet served"
                assert one.recv(100)
                still, taken = scaler.crowd(sock)
                assert (still, taken) == (unread & pending, 1)


# --- A site that it looks after ---------------------------------------------------------------------------------------

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
        text = (PROJECT / "roles/release/files/scaler.py").read_text()
        for before, after in (
            ('RUN = Path("/run/sites")', f'RUN = Path("{host.folder}/run")'),
            ("CALM = 30.0", "CALM = 1.0"),
        ):
            assert before in text
            text = text.replace(before, after)
        self.scaler.write_text(text)
        self.scaler.chmod(0o755)
        # What it does itself is shown by the rest: it is the site's user, and starts with the live slot's number.
        self.app = APP.replace("    body =", WAITS.format(port=database.port) + "    body =")
        super().__init__(host, rig, "gunicorn")

    def local(self, text: str) -> str:
        """A file or a command of a host, for this one."""
        for there, here in (
            ("/usr/local/lib/sites/launcher", self.host.launcher),
            ("/usr/local/lib/sites/scaler", self.scaler),
            ("/var/log", self.host.folder / "log"),
        ):
            text = text.replace(there, str(here))
        return text

    def prepare(self, release_id: str, server: str = "gunicorn") -> str:
        """Another release runs, and is not live yet."""
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
        """How many the live slot has, or this one."""
        pid = self.master(slot or self.host.site.live_slot())
        return len(Path(f"/proc/{pid}/task/{pid}/children").read_text().split())

    def logs(self) -> str:
        """The ends of what nginx and gunicorn have logged, for a test that fails."""
        return "\n".join(
            path.read_text()[-2000:] for path in (*self.rig.folder.glob("var/log/**/error.log"), self.host.site.log)
        )

    def said(self) -> str:
        """The scaler's log."""
        return (self.host.folder / "log/shop/scaler.log").read_text()


def served(asked: list[Future[str]], database: SlowDatabase) -> None:
    """Let all go, also those who come when others have gone; each has its answer."""
    while not all(each.done() for each in asked):
        eventually(lambda: database.waiting or all(each.done() for each in asked))
        while database.waiting:
            database.let_go()
    assert all(each.result().startswith("HTTP/1.1 200") for each in asked)


# For each class what the page says, and how many requests three workers are at, at once.
CLASSES = {"sync": ({"worker_class": "sync"}, 3), "gthread": ({"worker_class": "gthread", "threads": 2}, 6)}


@needs_nginx
@pytest.mark.parametrize("name", CLASSES)
def test_workers_come_when_requests_wait_and_go_again_and_nothing_is_lost(
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
            assert shop.workers() == 3, "as many as there may be"
            served(asked, database)
            with Clients(shop.port, 1) as clients:
                eventually(lambda: shop.workers() == 1)
            assert clients.lost == [], shop.logs()
            assert booked(shop.book) == dict.fromkeys(clients.sent, 1)
            shop.book.write_text("")
    assert database.most == at_once
    assert "1 → 2 workers (" in shop.said()
    assert "2 → 1 workers (nobody has waited)" in shop.said()


@needs_nginx
def test_it_goes_on_after_a_switch_and_after_a_crash_of_either(host: Host, rig: Rig, database: SlowDatabase) -> None:
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


def test_the_server_of_another_release_is_none_of_its_business(
    scaler: ModuleType, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(scaler, "RUN", tmp_path)
    (tmp_path / "shop-blue.pid").write_text('{"pid": 1, "start": 2}')
    (tmp_path / "slots/blue").mkdir(parents=True)
    (tmp_path / "slots/blue/release").symlink_to("../../releases/one")
    (tmp_path / "live").symlink_to("slots/blue")
    assert scaler.live(tmp_path, "shop", "one") == ("blue", {"pid": 1, "start": 2})
    with pytest.raises(ProcessLookupError):
        scaler.live(tmp_path, "shop", "two")


def test_only_a_master_that_listens_is_told_anything(scaler: ModuleType) -> None:
    """Until gunicorn has its handlers, SIGTTIN would stop the process."""
    start = int(Path(f"/proc/{os.getpid()}/stat").read_text().rpartition(")")[2].split()[19])
    server = scaler.Server("blue", {"pid": os.getpid(), "start": start})
    assert not server.listens()
    before = {sign: signal.signal(sign, lambda *_: None) for sign in (signal.SIGTTIN, signal.SIGTTOU)}
    try:
        assert server.listens()
    finally:
        for sign, handler in before.items():
            signal.signal(sign, handler)
        server.close()
    with pytest.raises(ProcessLookupError):
        scaler.Server("blue", {"pid": os.getpid(), "start": start - 1})
