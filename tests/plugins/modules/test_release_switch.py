"""Start, health check, switch and abort of a release."""

from __future__ import annotations

import contextlib
import errno
import http.client
import json
import os
import pwd
import shutil
import signal
import socket
import subprocess
import threading
import time
from collections.abc import Callable, Iterator
from pathlib import Path
from types import ModuleType

import pytest
from module_run import run
from supervised import USER, Host, SlotConnection, each_server, eventually, get

from ansible_collections.wsgi.sites.plugins.module_utils.releases import deployment, health, slots
from ansible_collections.wsgi.sites.plugins.module_utils.runtime import history, supervisor
from ansible_collections.wsgi.sites.plugins.module_utils.runtime.lock import Busy, site_lock
from ansible_collections.wsgi.sites.plugins.module_utils.site import paths
from ansible_collections.wsgi.sites.plugins.module_utils.site.status import status
from ansible_collections.wsgi.sites.plugins.module_utils.system import ports, process, sockets
from ansible_collections.wsgi.sites.plugins.modules import release_choose, release_switch


def at_rest(host: Host, release_id: str) -> None:
    """Exactly one program runs: the live one, and it responds."""
    slot = host.site.live_slot()
    assert host.programs() == [f"shop-{slot}.conf"]
    assert host.state("green" if slot == "blue" else "blue") == "absent"
    assert not list((host.folder / "run").glob("*.token"))
    assert get(host.sock)["release"] == release_id


class Clients:
    """Continuous clients on keep-alive connections that resolve the live path each time, as nginx does."""

    def __init__(self, path: Path, count: int = 4) -> None:
        self.path, self.served, self.lost = path, set(), []
        self.total = 0
        self.stop = threading.Event()
        self.threads = [threading.Thread(target=self.work) for _ in range(count)]

    def work(self) -> None:
        while not self.stop.is_set():
            connection, until = SlotConnection(self.path), time.monotonic() + 0.1
            try:
                while time.monotonic() < until:
                    connection.request("GET", "/")
                    self.served.add(json.loads(connection.getresponse().read())["release"])
                    self.total += 1
            except Exception as error:  # noqa: BLE001 - whatever it is, it is a lost request
                self.lost.append(repr(error))
            finally:
                connection.close()

    def __enter__(self) -> Clients:
        for thread in self.threads:
            thread.start()
        return self

    def __exit__(self, *_: object) -> None:
        self.stop.set()
        for thread in self.threads:
            thread.join()


@each_server
def test_the_first_release_goes_live(host: Host) -> None:
    release_id = host.release("r1")
    started = deployment.start(host.site, release_id)
    assert started.pop("took") > 0
    assert started == {"changed": True, "slot": "blue", "health": "/healthz answered 200", "downtime": 0}
    assert host.site.live_slot() is None
    switched = deployment.switch(host.site, "blue", release_id, drain=60)  # nothing to drain at the first
    assert switched == {"changed": True, "slot": "blue", "previous": "", "downtime": 0, "problems": []}
    assert host.site.live.readlink() == Path("slots/blue")
    at_rest(host, "r1")


@each_server
def test_no_request_is_lost_over_three_switches(host: Host) -> None:
    host.deploy("r1")
    with Clients(host.sock) as clients:
        for release_id in ("r2", "r3", "r4"):
            host.deploy(release_id)
        eventually(lambda: "r4" in clients.served)
    assert clients.lost == []
    assert clients.served == {"r1", "r2", "r3", "r4"}
    assert host.site.previous.read_text() == "r3\n"
    at_rest(host, "r4")


@each_server
def test_the_old_server_finishes_its_running_requests(host: Host) -> None:
    host.deploy("r1")
    found = []
    thread = threading.Thread(target=lambda: found.append(get(host.sock, "/slow")["release"]))
    thread.start()
    host.deploy("r2")
    thread.join()
    assert found == ["r1"]
    at_rest(host, "r2")


@each_server
def test_a_restart_is_the_same_release_in_the_other_slot(host: Host) -> None:
    host.deploy("r1")
    before = get(host.sock)["pid"]
    slot = deployment.start(host.site, "r1")["slot"]
    deployment.switch(host.site, slot, "r1", drain=0)
    assert get(host.sock)["pid"] != before
    at_rest(host, "r1")


def test_hashed_files_of_the_previous_release_stay_available(host: Host) -> None:
    for release, file in (("r1", "a.11111111.js"), ("r2", "b.22222222.js")):
        host.release(release, public=["app/static"], hashed_names=r"\w\.\d{8}\.js")
        static = host.site.release(release) / "app/static"
        static.mkdir()
        (static / file).write_text(release)

    def go_live(release: str) -> list[str]:
        deployment.switch(host.site, deployment.start(host.site, release)["slot"], release, drain=0)
        return sorted(path.name for path in (host.site.live / "public/app/static").iterdir())

    assert go_live("r1") == ["a.11111111.js"]
    assert go_live("r2") == ["a.11111111.js", "b.22222222.js"]
    for number in (1, 2):  # new processes, in either slot
        assert go_live("r2") == ["a.11111111.js", "b.22222222.js"], f"after {number} restarts"
    assert go_live("r1") == ["a.11111111.js", "b.22222222.js"], "after the rollback"
    assert not (host.site.slot(host.site.idle_slot()) / "public").exists()


def test_an_aborted_start_leaves_no_public_files(host: Host) -> None:
    host.deploy("r1")
    deployment.start(host.site, host.release("r2"))
    public = host.site.public("green")
    assert str(public) in deployment.abort(host.site, check_mode=True)["removed"]["green"]
    deployment.abort(host.site)
    assert not public.exists()
    before = host.site.slot("green") / "before"
    before.symlink_to("../../releases/r1")
    assert slots.traces(host.site, "green") == [str(before)], (
        "a link of an older version, also when nothing else is left"
    )
    deployment.abort(host.site)
    assert not before.is_symlink()


def test_the_health_check_sends_the_request_of_nginx(host: Host) -> None:
    host.deploy("r1", top="import builtins", health={"scheme": "https", "body": '"proto": "https"'})
    with pytest.raises(deployment.StepError, match=r"without the text '\"proto\": \"http\"'"):
        deployment.start(
            host.site, host.release("r2", health={"scheme": "https", "body": '"proto": "http"', "timeout": 8})
        )
    host.deploy("r3", health={"body": '"host": "shop.example.com"'})


@each_server
def test_an_unhealthy_release_leaves_no_trace(host: Host) -> None:
    host.deploy("r1")
    release_id = host.release(
        "r2", status="503 Not Now", health={"timeout": 8}, top='print("says open-sesame!", flush=True)'
    )
    with pytest.raises(deployment.StepError) as caught:
        deployment.start(host.site, release_id)
    message = str(caught.value)
    assert "shop: release r2 did not become healthy in slot green: /healthz answered 503, not 200" in message
    assert "Release r1 stays live." in message
    assert "Listening at" in message or "WSGI app 0" in message, "the log's last lines"
    assert "says ********!" in message
    assert "open-sesame" not in message
    assert slots.traces(host.site, "green") == []
    at_rest(host, "r1")


@each_server
def test_a_release_that_cannot_be_imported_fails_before_the_timeout(host: Host) -> None:
    release_id = host.release("r1", top="import no_such_thing", health={"timeout": 600})
    with pytest.raises(deployment.StepError, match=r"(?s)the server exited 3 times.*No module named 'no_such_thing'"):
        deployment.start(host.site, release_id)
    assert host.programs() == []


def test_an_incomplete_release_is_not_a_candidate(host: Host) -> None:
    (host.site.release(host.release("r1")) / ".complete").unlink()
    with pytest.raises(deployment.StepError, match="r1 is not on this host or incomplete"):
        deployment.start(host.site, "r1")


def test_check_mode_changes_nothing(host: Host) -> None:
    assert deployment.start(host.site, "never-built", check_mode=True)["slot"] == "blue"
    release_id = host.release("r1")
    assert deployment.start(host.site, release_id, check_mode=True)["changed"]
    assert deployment.switch(host.site, "blue", release_id, check_mode=True)["changed"]
    assert not deployment.abort(host.site, check_mode=True)["changed"]
    assert host.programs() == []
    assert not host.site.slot("blue").exists()


def test_check_mode_writes_no_history(host: Host) -> None:
    host.deploy("r1")
    asked = {"site": "shop", "root": str(host.site.root), "slot": "blue", "release": "r9"}
    assert "slot blue is live with release r1, not r9" in run(release_switch, check_mode=True, **asked)["msg"]
    assert history.read(host.site) == []
    assert run(release_switch, **asked)["failed"]
    assert history.read(host.site)[-1]["result"] == "failed"


def test_removing_a_started_slot_reports_changed(host: Host) -> None:
    host.deploy("r1")
    deployment.start(host.site, host.release("r2"))
    asked = {"site": "shop", "root": str(host.site.root), "user": "nobody", "wanted": "r1"}
    assert run(release_choose, **asked)["changed"]
    at_rest(host, "r1")
    assert not run(release_choose, **asked)["changed"]


def test_a_broken_file_of_another_site_is_named(host: Host, monkeypatch: pytest.MonkeyPatch) -> None:
    host.deploy("r1")
    neighbour = host.folder / "conf.d/blog.conf"
    neighbour.write_text("[program:blog]\nnumprocs = many\n")
    (host.folder / "conf.d/mail.conf").write_text("[program:mail]\ncommand = /bin/sleep 60\n")
    # Detected before any file is installed, not only by the reread.
    with (
        monkeypatch.context() as patch,
        pytest.raises(deployment.StepError, match=r"cannot read: \S+/blog.conf: ") as caught,
    ):
        patch.delattr(supervisor.Supervisor, "add")
        deployment.start(host.site, host.release("r2"))
    assert "mail.conf" not in str(caught.value)
    at_rest(host, "r1")
    # It must not block a deploy, either.
    neighbour.unlink()
    slot = deployment.start(host.site, "r2")["slot"]
    neighbour.write_text("this is no ini file\n")
    deployment.switch(host.site, slot, "r2", drain=0)
    at_rest(host, "r2")


@pytest.mark.parametrize("broken", ["[program:blog]\ncommand = %(nobody)s\n", "no section\n", "[program:x]\n"])
def test_a_reread_that_fails_names_the_file(host: Host, broken: str) -> None:
    (host.folder / "conf.d/a blog.conf").write_text(broken)
    (host.folder / "conf.d/group.conf").write_text("[group:both]\nprograms = mail\n")
    (host.folder / "conf.d/mail.conf").write_text("[program:mail]\ncommand = /bin/sleep 60\nautostart = false\n")
    with pytest.raises(supervisor.SupervisorError, match=r"cannot read: \S+conf.d/a blog.conf: "):
        supervisor.Supervisor().add("shop-blue")
    assert list(supervisor.broken_files(supervisor.program_files())) == [host.folder / "conf.d/a blog.conf"]


def test_other_sites_are_not_touched(host: Host) -> None:
    (host.folder / "conf.d/mail.conf").write_text("[program:mail]\ncommand = /bin/sleep 600\n")
    supervisor.Supervisor().add("mail")
    pid = supervisor.Supervisor().info("mail")["pid"]
    # A change that its owner has not loaded yet stays unloaded.
    (host.folder / "conf.d/mail.conf").write_text("[program:mail]\ncommand = /bin/sleep 700\n")
    host.deploy("r1")
    host.deploy("r2")
    assert supervisor.Supervisor().info("mail")["pid"] == pid


@pytest.mark.parametrize(
    ("text", "words"),
    [
        ("[program:shop-blue]\nstartsecs = soon\n", "supervisor cannot read the program file"),
        (
            "[program:shop-blue]\ncommand = x\n[program:more]\ncommand = y\n",
            "and nothing else, but it defines more, shop",
        ),
        ("", "but it defines no program"),
    ],
)
def test_a_broken_program_file_is_never_placed(host: Host, text: str, words: str) -> None:
    (host.site.release(host.release("r1")) / "program-blue.conf").write_text(text)
    with pytest.raises(deployment.StepError, match=words):
        deployment.start(host.site, "r1")
    assert host.programs() == []


def test_a_host_without_supervisord_is_reported_with_the_remedy(bare_host: Host) -> None:
    bare_host.release("r1")
    with pytest.raises(deployment.StepError, match=r"supervisord is not running.*systemctl start supervisor"):
        deployment.start(bare_host.site, "r1")
    (bare_host.folder / "sock").touch()
    assert not supervisor.Supervisor().running()


def test_a_port_in_use_is_reported(host: Host) -> None:
    host.deploy("r1")
    with socket.create_server(("127.0.0.1", 0), reuse_port=True) as taken:
        port = taken.getsockname()[1]
        with pytest.raises(
            deployment.StepError, match=rf"\(PID {os.getpid()}\) already listens on 127.0.0.1 port {port}"
        ):
            deployment.start(host.site, host.release("r2", listen=[f"0.0.0.0:{port}"]))
    at_rest(host, "r1")


def test_an_address_of_another_host_is_refused(host: Host) -> None:
    with pytest.raises(deployment.StepError, match=r"cannot listen on 192.0.2.1:8000: Cannot assign requested address"):
        deployment.start(host.site, host.release("r1", listen=["192.0.2.1:8000"]))


@each_server
def test_clients_of_a_port_reach_only_the_live_release(host: Host) -> None:
    with socket.create_server(("127.0.0.1", 0)) as free:
        port = free.getsockname()[1]

    def asked() -> set[str]:
        found = set()
        for _ in range(30):  # one connection each: if both slots listened, half would reach the other one
            connection = http.client.HTTPConnection("127.0.0.1", port, timeout=10)
            connection.request("GET", "/")
            found.add(json.loads(connection.getresponse().read())["release"])
            connection.close()
        return found

    host.deploy("r1", listen=[f"127.0.0.1:{port}"])
    for old, new in (("r1", "r2"), ("r2", "r3")):
        slot = deployment.start(host.site, host.release(new, listen=[f"127.0.0.1:{port}"]))["slot"]
        assert asked() == {old}
        deployment.switch(host.site, slot, new, drain=0)
        assert asked() == {new}


FORKS = """
import signal, time
if not os.fork():
    os.setsid()
    if os.fork():
        os._exit(0)
    signal.signal(signal.SIGTERM, signal.SIG_IGN)
    time.sleep(600)
    os._exit(0)
"""


def test_forked_processes_of_a_stopped_release_keep_no_port(host: Host) -> None:
    with socket.create_server(("127.0.0.1", 0)) as free:
        port = free.getsockname()[1]
    address = [f"127.0.0.1:{port}"]
    host.deploy("r1", listen=address, top=FORKS, options=["--preload"])
    eventually(lambda: ports.listeners(port))
    host.deploy("r2", listen=address)
    assert len(ports.listeners(port)) == 1
    connection = http.client.HTTPConnection("127.0.0.1", port, timeout=10)
    connection.request("GET", "/")
    assert json.loads(connection.getresponse().read())["release"] == "r2"
    connection.close()
    at_rest(host, "r2")


SQUAT = """
import os, socket, sys, time
way = sys.argv[2]
taken = socket.socket(socket.AF_INET6 if way == "mapped" else socket.AF_INET)
if way in ("listening", "mapped"):
    taken.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
    taken.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEPORT, 1)
while True:
    try:
        taken.bind(("::ffff:127.0.0.1" if way == "mapped" else "127.0.0.1", int(sys.argv[1])))
        break
    except OSError as error:
        print(error.errno, flush=True)
        time.sleep(0.02)
if way == "connected":
    server = socket.create_server(("127.0.0.1", 0))
    taken.connect(server.getsockname())
    other = server.accept()
elif way != "bound":
    taken.listen()
print("taken", flush=True)
time.sleep(600)
"""


@contextlib.contextmanager
def squatter(host: Host, port: int, way: str = "listening") -> Iterator[subprocess.Popen]:
    """Code of the site `blog` that takes another site's port as soon as possible."""
    account = pwd.getpwnam("games")  # used as its user
    (host.folder / "registry/blog.json").write_text(json.dumps({"name": "blog", "root": "/srv/blog", "user": "games"}))
    command = ["/usr/bin/python3", "-c", SQUAT, str(port), way]
    with subprocess.Popen(command, user=account.pw_uid, group=account.pw_gid, extra_groups=[], cwd="/",
                          stdout=subprocess.PIPE, text=True) as process:  # fmt: skip
        try:
            yield process
        finally:
            process.kill()


def free_port() -> int:
    """An unused port."""
    with socket.create_server(("127.0.0.1", 0)) as free:
        return free.getsockname()[1]


def test_a_site_gets_no_port_of_another_site(host: Host) -> None:
    port = free_port()
    host.deploy("r1", listen=[f"127.0.0.1:{port}"])
    with squatter(host, port) as blog:
        assert blog.stdout.readline().strip() == str(errno.EADDRINUSE)
        host.deploy("r2", listen=[f"127.0.0.1:{port}"])
        assert [listener.uid for listener in ports.listeners(port)] == [0]
        assert not ports._strange([f"127.0.0.1:{port}"])


# How code of a site can hold a port: a listener, an IPv4-mapped IPv6 listener, a bound socket that does not listen.
WAYS = ("listening", "mapped", "bound", "connected")


def await_taken(squatter: subprocess.Popen) -> None:
    """Wait until it has the port."""
    while (line := squatter.stdout.readline().strip()) != "taken":
        assert line == str(errno.EADDRINUSE)


def test_the_live_release_reclaims_its_port_from_another_site(host: Host) -> None:
    port = free_port()
    address = [f"127.0.0.1:{port}"]
    host.deploy("r1", listen=address)
    with squatter(host, port) as blog:
        assert blog.stdout.readline().strip() == str(errno.EADDRINUSE)
        supervisor.Supervisor().stop(f"shop-{host.site.live_slot()}")
        await_taken(blog)
        host.deploy("r2", listen=address)
        assert blog.poll() == -signal.SIGKILL
    at_rest(host, "r2")
    supervisor.Supervisor().stop(f"shop-{host.site.live_slot()}")
    for way in WAYS:
        with squatter(host, port, way) as blog:
            await_taken(blog)
            uid = pwd.getpwnam(USER).pw_uid
            ports.take_back(address, uid)
            assert ports.problem(address[0], uid, address) == "", way
            assert eventually(blog.poll) == -signal.SIGKILL, way


def test_a_restarted_server_reclaims_its_port(host: Host) -> None:
    port = free_port()
    host.deploy("r1", listen=[f"127.0.0.1:{port}"])
    slot = f"shop-{host.site.live_slot()}"
    with squatter(host, free_port(), "bound") as bystander:
        await_taken(bystander)
        for way in WAYS:
            with squatter(host, port, way) as blog:
                supervisor.Supervisor().stop(slot)
                await_taken(blog)
                supervisor.Supervisor().start(slot)
                assert eventually(blog.poll) == -signal.SIGKILL, way
            eventually(lambda: get(host.sock)["release"] == "r1")
            assert [listener.uid for listener in ports.listeners(port)] == [0]
        assert bystander.poll() is None


def test_a_new_port_of_another_site_is_refused_with_its_name(host: Host) -> None:
    host.deploy("r1")
    for way in WAYS:
        port = free_port()
        with squatter(host, port, way) as blog:
            await_taken(blog)
            words = ports.problem(f"127.0.0.1:{port}", pwd.getpwnam(USER).pw_uid)
            assert f"PID {blog.pid}) of the site blog (user games) " in words, way
            assert "`blog-ctl restart`" in words
            if way != "listening":
                continue
            with pytest.raises(
                deployment.StepError, match=rf"PID {blog.pid}\) of the site blog \(user games\) listens"
            ):
                host.deploy("r3", listen=[f"127.0.0.1:{port}"])
            assert blog.poll() is None
    at_rest(host, "r1")


# Background processes of a release; every second one ignores SIGTERM.
HELPERS = """
import subprocess, sys
helpers = [subprocess.Popen(["sh", "-c", trap + "echo on; while :; do sleep 0.1; done"], stdout=subprocess.PIPE)
           for trap in ("", "trap '' TERM; ") if "--check-config" not in sys.argv]
assert all(helper.stdout.readline() for helper in helpers)
"""


@each_server
def test_processes_started_by_a_stopped_release_end_with_it(host: Host) -> None:
    host.deploy("r1", top=HELPERS)
    server = get(host.sock)["pid"]
    uid = process.user(server)
    assert len(process.group(server, uid)) >= 4, "the server, a worker, and two helpers"
    host.deploy("r2")
    assert process.group(server, uid) == []
    at_rest(host, "r2")


def test_an_unreadable_socket_counts_as_the_sites_if_its_live_release_binds_it(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    monkeypatch.setattr(ports, "holders", lambda _: [])
    with socket.create_server(("127.0.0.1", 0), reuse_port=True) as taken:
        address = f"127.0.0.1:{taken.getsockname()[1]}"
        assert ports.problem(address, 65534, [address]) == ""
        assert "a process that this host does not show already listens" in ports.problem(address, 65534, [])


def test_overlapping_addresses_are_recognized() -> None:
    assert sockets.overlap("0.0.0.0", "127.0.0.1")
    assert sockets.overlap("::", "127.0.0.1")
    assert sockets.overlap("::ffff:127.0.0.1", "127.0.0.1")
    assert not sockets.overlap("127.0.0.1", "127.0.0.2")
    assert not sockets.overlap("::1", "127.0.0.1")
    assert sockets.split("[::1]:80") == ("::1", 80)


def test_the_health_check_of_a_tls_server_uses_tls(host: Host) -> None:
    if not shutil.which("openssl"):
        pytest.skip("needs openssl")
    key, certificate = host.folder / "key.pem", host.folder / "cert.pem"
    subprocess.run(
        [
            "openssl",
            "req",
            "-x509",
            "-newkey",
            "rsa:2048",
            "-nodes",
            "-days",
            "2",
            "-subj",
            "/CN=x",
            "-keyout",
            key,
            "-out",
            certificate,
        ],
        check=True,
        capture_output=True,
    )
    key.chmod(0o644)
    release_id = host.release(
        "r1",
        tls=True,
        options=[f"--certfile={certificate}", f"--keyfile={key}"],
        health={"scheme": "https", "body": '"tls": "https"'},
    )
    assert deployment.start(host.site, release_id)["health"] == "/healthz answered 200"


def test_the_next_run_completes_one_interrupted_before_the_switch(host: Host) -> None:
    host.deploy("r1")
    deployment.start(host.site, host.release("r2"))
    assert host.programs() == ["shop-blue.conf", "shop-green.conf"]
    assert set(status(host.site)["unfinished"]) == {"green"}
    assert deployment.abort(host.site)["changed"]
    at_rest(host, "r1")
    assert deployment.abort(host.site) == {"changed": False, "removed": {}, "remark": "", "downtime": 0}


@each_server
def test_the_next_run_completes_one_interrupted_after_the_rename(host: Host, monkeypatch: pytest.MonkeyPatch) -> None:
    host.deploy("r1")
    slot = deployment.start(host.site, host.release("r2"))["slot"]

    def killed(_: float) -> None:
        raise KeyboardInterrupt

    with monkeypatch.context() as patch:
        patch.setattr(deployment.time, "sleep", killed)
        with pytest.raises(KeyboardInterrupt):
            deployment.switch(host.site, slot, "r2", drain=1)
    assert host.programs() == ["shop-blue.conf", "shop-green.conf"]
    assert deployment.switch(host.site, slot, "r2")["changed"]
    at_rest(host, "r2")
    assert not deployment.switch(host.site, slot, "r2")["changed"]


def test_the_next_deploy_cleans_up_after_an_interrupted_one(host: Host) -> None:
    host.deploy("r1")
    deployment.start(host.site, host.release("r2"))
    assert host.deploy("r3") == "green"
    at_rest(host, "r3")


@each_server
def test_after_a_restart_of_supervisord_during_a_switch_only_the_live_slot_runs(host: Host) -> None:
    host.deploy("r1")
    deployment.start(host.site, host.release("r2"))
    host.stop()
    host.boot()
    eventually(lambda: get(host.sock)["release"] == "r1")
    eventually(lambda: host.state("green") == "EXITED")
    assert not host.site.socket("green").exists() or get_fails(host.site.socket("green"))
    deployment.abort(host.site)
    at_rest(host, "r1")


def get_fails(path: Path) -> bool:
    """No server responds there."""
    try:
        get(path)
    except OSError:
        return True
    return False


def test_an_orphan_in_the_idle_slot_is_ended(host: Host) -> None:
    host.deploy("r1")
    deployment.start(host.site, host.release("r2"))
    orphan = get(host.site.socket("green"))["pid"]
    host.stop(signal.SIGKILL)
    host.boot()
    eventually(lambda: get(host.sock))
    deployment.abort(host.site)
    assert process.is_gone(orphan)
    at_rest(host, "r1")


def test_a_dead_slot_is_not_switched_to(host: Host) -> None:
    host.deploy("r1")
    deployment.start(host.site, host.release("r2"))
    supervisor.Supervisor().remove("shop-green")
    with pytest.raises(deployment.StepError, match="slot green is unknown to supervisord, so nothing was switched"):
        deployment.switch(host.site, "green", "r2")
    with pytest.raises(deployment.StepError, match="slot green does not hold release r9"):
        deployment.switch(host.site, "green", "r9")
    assert get(host.sock)["release"] == "r1"


def test_a_slowly_stopping_program_is_waited_for(host: Host) -> None:
    """For supervisord's own timeout, however short the timeout for other programs."""
    program = host.folder / "conf.d/slow.conf"
    program.write_text(
        "[program:slow]\ncommand = /bin/sh -c \"trap '' TERM; echo deaf; while :; do sleep 0.1; done\"\n"
        f"stopwaitsecs = 3\nkillasgroup = true\nstdout_logfile = {host.folder}/slow.log\n"
    )
    daemon = supervisor.Supervisor()
    daemon.add("slow")
    eventually((host.folder / "slow.log").read_text)
    pid = daemon.info("slow")["pid"]
    assert daemon.remove("slow", patience=0.1)
    assert daemon.info("slow") is None
    assert process.is_gone(pid)


def test_one_run_at_a_time(bare_host: Host) -> None:
    words = f"another run is working.*PID {os.getpid()}"
    with site_lock(bare_host.site), pytest.raises(Busy, match=words), site_lock(bare_host.site):
        pass
    with site_lock(bare_host.site):
        pass


def test_the_status_shows_the_live_release(host: Host) -> None:
    assert status(host.site)["detail"] == "nothing is live yet"
    host.deploy("r1", source="folder app")
    found = status(host.site)
    assert found["version"] == "folder"
    assert (found["slot"], found["release"], found["healthy"], found["managed"]) == ("blue", "r1", True, True)
    assert found["since"] == time.strftime("%Y-%m-%dT%H:%M:%SZ", time.gmtime(os.lstat(host.site.live).st_mtime))
    host.stop()
    found = status(host.site)
    assert (found["healthy"], found["state"]) == (False, "no supervisord")


def test_one_status_covers_all_sites_and_checks_them_in_parallel(
    bare_host: Host, plugin: Callable[[str], ModuleType], monkeypatch: pytest.MonkeyPatch
) -> None:
    module = plugin("plugins/modules/release_status.py")
    for name in ("b", "a"):
        record = {"name": name, "root": str(bare_host.folder / name)}
        (bare_host.folder / f"registry/{name}.json").write_text(json.dumps(record))
    both = threading.Barrier(2, timeout=60)

    def asked(site: paths.Layout, timeout: float) -> dict:
        both.wait()  # fails unless the other one is checked meanwhile
        return {"site": site.name, "root": str(site.root), "timeout": timeout}

    monkeypatch.setattr(module, "status", asked)
    found = run(module, judged=False)["sites"]
    assert found == [{"site": name, "root": str(bare_host.folder / name), "timeout": 3} for name in ("a", "b")]
    named = run(module, judged=False, sites=["b", "gone", "a"], timeout=1)["sites"]
    assert [site["site"] for site in named] == ["b", "a"], "a missing site is not reported"


@pytest.mark.parametrize(
    ("head", "drip"),
    [(b"HTTP/1.1 200 OK\r\n\r\n", b"x"), (b"", b"HTTP/1.1 100 Continue\r\n\r\n"), (b"HTTP/1.1 200 OK\r\nA: ", b"x")],
    ids=["body", "continue", "header"],
)
def test_a_slow_response_does_not_extend_the_health_check(tmp_path: Path, head: bytes, drip: bytes) -> None:
    def serve() -> None:
        peer, _ = server.accept()
        with peer, contextlib.suppress(OSError):
            peer.recv(65536)
            peer.sendall(head)
            while True:
                peer.sendall(drip)
                time.sleep(0.05)

    manifest = {"health": {"path": "/healthz", "status": 200}}
    with socket.socket(socket.AF_UNIX) as server:
        server.bind(str(tmp_path / "sock"))
        server.listen()
        threading.Thread(target=serve, daemon=True).start()
        assert health.ask(tmp_path / "sock", manifest, 0.5) == (False, "the server did not end its answer in time")


def test_a_response_that_is_not_http_is_not_quoted(tmp_path: Path) -> None:
    def serve() -> None:
        peer, _ = server.accept()
        with peer:
            peer.recv(65536)
            peer.sendall(b"open-sesame\r\n\r\n")

    with socket.socket(socket.AF_UNIX) as server:
        server.bind(str(tmp_path / "sock"))
        server.listen()
        threading.Thread(target=serve, daemon=True).start()
        answer = health.ask(tmp_path / "sock", {"health": {"path": "/healthz", "status": 200}}, 5)
    assert answer == (False, "no answer: BadStatusLine")


def test_a_server_that_does_not_respond_is_unhealthy(host: Host) -> None:
    host.deploy("r1")
    manifest = host.site.manifest("r1")
    assert health.healthy(host.site, "blue", manifest, timeout=5) == (True, "/healthz answered 200")
    os.kill(get(host.sock)["pid"], signal.SIGSTOP)
    manifest["health"]["status"] = 204
    well, words = health.healthy(host.site, "blue", manifest, timeout=0.2)
    assert not well
    assert "answered 200, not 204" in words
    well, words = health.healthy(host.site, "green", manifest, timeout=5)
    assert (well, words) == (False, "supervisord does not run a program shop-green")
