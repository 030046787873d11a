"""A host in a folder: a real supervisord, the real launcher, real gunicorn and uWSGI, under the test's own paths."""

from __future__ import annotations

import contextlib
import functools
import http.client
import io
import json
import os
import shutil
import signal
import socket
import subprocess
import sys
import tempfile
import time
import zipfile
from collections.abc import Callable, Iterator
from pathlib import Path

import gunicorn
import packaging
import pytest
import pyuwsgi
from nginx_rig import evaluate, role_variables

from ansible_collections.wsgi.sites.plugins.module_utils.releases import deployment
from ansible_collections.wsgi.sites.plugins.module_utils.runtime import orphans, supervisor
from ansible_collections.wsgi.sites.plugins.module_utils.site import paths
from ansible_collections.wsgi.sites.plugins.module_utils.system import control_groups, program
from ansible_collections.wsgi.sites.plugins.plugin_utils.releases import manifest

# The distribution's if it is installed, as on a host; otherwise that of the tests.
DISTRIBUTION = shutil.which("supervisord", path="/usr/bin")
SUPERVISORD = DISTRIBUTION or shutil.which("supervisord", path=str(Path(sys.executable).parent))
USER, GROUP = "nobody", "nogroup"

APP = """
import json, os, resource, time
{top}
def app(environ, start_response):
    path = environ["PATH_INFO"]
    if path == "/slow":
        time.sleep(1)
    answer = {{"release": os.environ["SITE_RELEASE"], "pid": os.getppid(), "host": environ.get("HTTP_HOST"),
              "proto": environ.get("HTTP_X_FORWARDED_PROTO"), "tls": environ["wsgi.url_scheme"]}}
    if path == "/who":
        answer = {{"uid": os.getresuid(), "gid": os.getresgid(), "groups": os.getgroups(), "cwd": os.getcwd(),
                  "core": resource.getrlimit(resource.RLIMIT_CORE), "environment": dict(os.environ),
                  "status": dict(l.split(":\\t", 1) for l in open("/proc/self/status").read().splitlines())}}
    start_response({status!r} if path == "/healthz" else "200 OK", [("Content-Type", "application/json")])
    return [json.dumps(answer).encode()]
"""


# For a test with either server.
each_server = pytest.mark.parametrize("bare_host", ["gunicorn", "uwsgi"], indirect=True)


def server_files(**keys: object) -> dict[str, str]:
    """The files of a release of the site `shop` that its server reads, as Ansible renders them."""
    variables = role_variables({"shop": {"server_names": ["shop.example.com"], **keys}}, site_name="shop")
    files = evaluate("lookup('wsgi.sites.release_files', site_entry)", variables)
    return {name: text for name, text in files.items() if not name.startswith("program-")}


def worker_settings(**keys: object) -> dict[str, object]:
    """The workers and threads in release.json of the site `shop`."""
    variables = role_variables({"shop": {"server_names": ["shop.example.com"], **keys}}, site_name="shop")
    return manifest.worker_settings(evaluate("site_entry", variables))


@functools.cache
def uwsgi_files(bind: tuple[str, ...]) -> dict[str, str]:
    """The files that uWSGI reads in a release."""
    return server_files(server="uwsgi", bind=list(bind), graceful_timeout=5)


class SlotConnection(http.client.HTTPConnection):
    """HTTP over a unix socket, whose path is looked up anew for each connection, as nginx does."""

    def __init__(self, path: Path) -> None:
        super().__init__("localhost", timeout=10)
        self.path = path

    def connect(self) -> None:
        """Connect to the path."""
        self.sock = socket.socket(socket.AF_UNIX)
        self.sock.settimeout(self.timeout)
        self.sock.connect(str(self.path))


def get(path: Path, url: str = "/healthz") -> dict:
    """Request a path over a socket; the JSON of the response."""
    connection = SlotConnection(path)
    connection.request("GET", url, headers={"Host": "shop.example.com"})
    answer = connection.getresponse()
    assert answer.status == 200, answer.status
    found = json.loads(answer.read())
    connection.close()
    return found


def eventually(what: Callable[[], object], patience: float = 30) -> object:
    """Wait until a condition is true; the long timeout is for busy machines."""
    deadline = time.monotonic() + patience
    while True:
        try:
            if found := what():
                return found
        except (OSError, http.client.HTTPException, AssertionError):
            if time.monotonic() > deadline:
                raise
        assert time.monotonic() < deadline, "the condition did not become true"
        time.sleep(0.05)


def end(supervisord: subprocess.Popen) -> None:
    """Kill a supervisord and all its programs at once: an orderly stop takes seconds for each."""
    supervisord.send_signal(signal.SIGSTOP)  # it starts nothing during the search for its programs
    for stat in Path("/proc").glob("[0-9]*/stat"):
        with contextlib.suppress(OSError):
            # The command's name, field 2, stands in brackets and may hold anything; the parent is the 2nd after it.
            if int(stat.read_text(errors="replace").rpartition(")")[2].split()[1]) == supervisord.pid:
                os.killpg(int(stat.parent.name), signal.SIGKILL)  # supervisor made each the head of its group
    supervisord.kill()
    supervisord.wait()


packed = functools.cache(program.packed)


def changed_program(module: str, setup: str) -> bytes:
    """A program as a host has it, with lines that run before its own."""
    content = io.BytesIO(program.FIRST_LINE)
    content.seek(0, io.SEEK_END)
    with zipfile.ZipFile(io.BytesIO(packed(module))) as before, zipfile.ZipFile(content, "a") as after:
        for name in before.namelist():
            text = before.read(name)
            after.writestr(name, f"{setup}\n".encode() + text if name == "__main__.py" else text)
    return content.getvalue()


class Host:
    """Paths of a host, and one site `shop` on it."""

    def __init__(self, folder: Path, library: Path, server: str = "gunicorn") -> None:
        self.folder, self.library, self.server = folder, library, server
        self.site = paths.Layout("shop", folder / "srv/shop")
        self.launcher = folder / "launcher"
        self.process: subprocess.Popen | None = None
        for name in ("run", "conf.d", "log/shop", "registry", "etc", "bin", "srv/shop/releases", "srv/shop/slots"):
            (folder / name).mkdir(parents=True)
        self.install("launcher")
        # Started by hand, it does not wait for supervisor's `startsecs`, nor create control groups.
        self.by_hand = self.install(
            "launcher-by-hand",
            "from {engine}.launcher import messages",
            "messages.SLOT_PAUSE = messages.PROCESS_PAUSE = 0",
            "from {engine}.system import control_groups",
            f"control_groups.CGROUPS = Path('{folder}/no-groups')",
        )
        (folder / "supervisord.conf").write_text(
            f"[unix_http_server]\nfile = {folder}/sock\n[supervisord]\nlogfile = {folder}/supervisord.log\n"
            f"pidfile = {folder}/supervisord.pid\nchildlogdir = {folder}\nnodaemon = true\n"
            'environment = LEAK="of-supervisord"\n'
            "[rpcinterface:supervisor]\n"
            "supervisor.rpcinterface_factory = supervisor.rpcinterface:make_main_rpcinterface\n"
            "[include]\nfiles = conf.d/*.conf\n"
        )

    def install(self, name: str, *changes: str, module: str = "launcher.cli") -> Path:
        """Install a program as a host has it, for the paths of this host.

        :param changes: lines that run before the program's own, with {engine} for the package of its modules
        """
        lines = [
            "from pathlib import Path",
            "from {engine}.site import paths",
            f"paths.RUN, paths.REGISTRY = Path('{self.folder}/run'), Path('{self.folder}/registry')",
            *changes,
        ]
        path = self.folder / name
        program.install(path, changed_program(module, "\n".join(lines).replace("{engine}", program.ENGINE)))
        return path

    def boot(self) -> None:
        """Start supervisord and wait until it answers."""
        log = (self.folder / "supervisord.out").open("ab")
        self.process = subprocess.Popen(
            [str(SUPERVISORD), "-c", str(self.folder / "supervisord.conf")],
            cwd="/",
            stdout=log,
            stderr=log,
            preexec_fn=self.enter_group,
        )
        eventually(supervisor.Supervisor().running)

    @property
    def group(self) -> Path | None:
        """A control group for this host, if the machine allows one; on a real host it is that of the systemd unit."""
        own = next(
            (line[3:] for line in Path("/proc/self/cgroup").read_text().splitlines() if line.startswith("0::")), ""
        )
        for mount in (Path("/sys/fs/cgroup"), Path("/sys/fs/cgroup/unified")):
            above = mount / own.strip("/")
            if own and (above / "cgroup.controllers").exists() and os.access(above, os.W_OK):
                return above / "tests-of-sites" / self.folder.name
        return None

    def enter_group(self) -> None:
        """Move this child process, the later supervisord, into the group."""
        with contextlib.suppress(OSError):
            if self.group:
                self.group.mkdir(parents=True, exist_ok=True)
                (self.group / "cgroup.procs").write_text("0")

    def stop(self, sign: int = signal.SIGTERM) -> None:
        """End supervisord, orderly or by SIGKILL."""
        if self.process is not None:
            self.process.send_signal(sign)
            self.process.wait()
            self.process = None

    def release(self, release_id: str, *, top: str = "", status: str = "200 OK", **changes: object) -> str:
        """Create a release as if it had been built."""
        folder = self.site.release(release_id)
        (folder / "app").mkdir(parents=True)
        (folder / "venv/bin").mkdir(parents=True)
        (folder / "app/wsgi.py").write_text(APP.format(top=top, status=status))
        options, server = changes.pop("options", []), str(changes.pop("server", self.server))
        environment = {
            "SITE_RELEASE": release_id,
            "PYTHONPATH": str(self.library),
            "PASSWORD": "open-sesame",
            **changes.pop("environment", {}),
        }
        (folder / "environment").write_text(
            "".join(f"{k}={json.dumps(v, ensure_ascii=False)}\n" for k, v in environment.items())
        )
        health = {
            "path": "/healthz",
            "host": "shop.example.com",
            "status": 200,
            "body": "",
            "timeout": 30,
            "scheme": "http",
        } | changes.pop("health", {})
        manifest = {
            "id": release_id,
            "site": "shop",
            "root": str(self.site.root),
            "user": USER,
            "group": GROUP,
            "socket_group": "www-data",
            "listen": [],
            "backlog": 64,
            "tls": False,
            "going_live": "overlap",
            "health": health,
            "command": [
                "/usr/bin/python3",
                "-m",
                "gunicorn",
                "--workers=1",
                "--threads=4",
                "--worker-class=gthread",
                "--no-control-socket",
                "--graceful-timeout=5",
                *options,
                "wsgi:app",
            ],
        }
        if server == "uwsgi":
            for name, text in uwsgi_files(tuple(changes.get("listen", []))).items():
                (folder / name).write_text(text)
            run = ["/usr/bin/python3", "-c", "import pyuwsgi; pyuwsgi.run()", "--ini", str(folder / "uwsgi.ini")]
            manifest |= {"command": run, "sockets": ["sock", "uwsgi.sock"], "workers": 1, "threads": 4}
        manifest |= {"server": server} | changes
        (folder / "release.json").write_text(json.dumps(manifest))
        for slot in paths.SLOTS:
            (folder / f"program-{slot}.conf").write_text(
                f"[program:shop-{slot}]\ncommand = {self.launcher} {self.site.root} {slot}\ndirectory = /\n"
                "autorestart = unexpected\nexitcodes = 77\nstartsecs = 1\nstartretries = 20\nstopwaitsecs = 15\n"
                f"killasgroup = true\nredirect_stderr = true\nstdout_logfile = {self.site.log}\n"
                "stdout_logfile_maxbytes = 0\n"
            )
        (folder / ".complete").touch()
        return release_id

    def deploy(self, release_id: str, **changes: object) -> str:
        """Create a release and make it live; its slot."""
        slot = deployment.start(self.site, self.release(release_id, **changes))["slot"]
        deployment.switch(self.site, slot, release_id, drain=0.2)
        return slot

    @property
    def sock(self) -> Path:
        """The socket that nginx connects to."""
        return self.site.live / "sock"

    def state(self, slot: str) -> str:
        """supervisor's state of a slot's program."""
        info = supervisor.Supervisor().info(f"shop-{slot}")
        return info["statename"] if info else "absent"

    def programs(self) -> list[str]:
        """The program files of the site."""
        return sorted(path.name for path in (self.folder / "conf.d").glob("shop-*"))


@pytest.fixture(scope="session")
def able() -> None:
    """Whether this machine can run such a host."""
    if os.geteuid() != 0:
        pytest.skip("gives up root, so it needs to be root")
    if SUPERVISORD is None:
        pytest.skip("needs supervisor (apt install supervisor)")


@pytest.fixture(scope="session")
def library(able: None) -> Iterator[Path]:
    """The packages of every release's server; a site's user may be unable to read the project's own."""
    folder = Path(tempfile.mkdtemp(prefix="library", dir="/tmp"))
    folder.chmod(0o755)
    for package in (gunicorn, packaging):
        source = Path(package.__file__).parent
        shutil.copytree(source, folder / source.name, ignore=shutil.ignore_patterns("__pycache__"))
    uwsgi = Path(pyuwsgi.__file__)
    shutil.copy(uwsgi, folder)
    shutil.copytree(uwsgi.with_name("pyuwsgi.libs"), folder / "pyuwsgi.libs")
    # With bytecode, as after a build: a server cannot write here and would compile everything at each start.
    subprocess.run(["/usr/bin/python3", "-m", "compileall", "-q", folder], check=True)
    yield folder
    shutil.rmtree(folder)


@contextlib.contextmanager
def made_host(monkeypatch: pytest.MonkeyPatch, library: Path, server: str = "gunicorn") -> Iterator[Host]:
    """A host without a running supervisord, which the collection's modules use as their own."""
    # Not pytest's tmp_path: only root can enter it, and a unix socket's path is limited to 107 bytes.
    folder = Path(tempfile.mkdtemp(prefix="host", dir="/tmp"))
    folder.chmod(0o755)
    host = Host(folder, library, server)
    monkeypatch.setattr(paths, "RUN", folder / "run")
    monkeypatch.setattr(paths, "PROGRAMS", folder / "conf.d")
    monkeypatch.setattr(paths, "LOGS", folder / "log")
    monkeypatch.setattr(paths, "REGISTRY", folder / "registry")
    monkeypatch.setattr(paths, "CONFIG", folder / "etc")
    monkeypatch.setattr(paths, "LIBRARY", folder / "library")
    monkeypatch.setattr(paths, "COMMANDS", folder / "bin")
    monkeypatch.setattr(supervisor, "SOCKET", folder / "sock")
    if not DISTRIBUTION:
        monkeypatch.setattr(supervisor, "PYTHON", sys.executable)
    monkeypatch.setattr(supervisor, "CONFIG", folder / "supervisord.conf")
    try:
        yield host
    finally:
        if host.process is not None:
            end(host.process)
        for note in (folder / "run").glob("shop-*.pid"):
            pid = orphans.orphan(host.site, note.stem.removeprefix("shop-"))
            if pid is not None:  # of a supervisord that the test had killed
                os.killpg(pid, signal.SIGKILL)
        control_groups.end_group(host.group)
        shutil.rmtree(folder)


@pytest.fixture
def bare_host(monkeypatch: pytest.MonkeyPatch, library: Path, request: pytest.FixtureRequest) -> Iterator[Host]:
    """A host without a running supervisord; its releases use the test's server, or gunicorn."""
    with made_host(monkeypatch, library, getattr(request, "param", "gunicorn")) as host:
        yield host


@pytest.fixture
def host(bare_host: Host) -> Host:
    """A host with a running supervisord."""
    bare_host.boot()
    return bare_host


# As the launcher starts it: with the slot's socket and a listener already bound.
START = """
import os, sys
one, two = map(int, sys.argv[1:3])
for number, each in enumerate([os.dup(one), os.dup(two)], 3):
    os.dup2(each, number)
    os.set_inheritable(number, True)  # if it already had that number
os.environ |= {"LISTEN_FDS": "2", "LISTEN_PID": str(os.getpid())}
os.execv(sys.executable, [sys.executable, "-m", "gunicorn", *sys.argv[3:]])
"""
