"""The running nginx: which configuration it has loaded, and how it is reloaded."""

from __future__ import annotations

import hashlib
import os
import re
import signal
import time
from collections.abc import Callable, Iterable, Iterator
from dataclasses import dataclass
from pathlib import Path

from ansible_collections.wsgi.sites.plugins.module_utils.daemons.errors import Refused
from ansible_collections.wsgi.sites.plugins.module_utils.system import process
from ansible_collections.wsgi.sites.plugins.module_utils.system.process import Process
from ansible_collections.wsgi.sites.plugins.module_utils.system.runtime import RUN, Stamp, alone
from ansible_collections.wsgi.sites.plugins.module_utils.system.text import visible

# Master and workers need a moment each; nginx itself retries a port in use for 2.5 s.
PATIENCE = 15.0


@dataclass(frozen=True)
class Places:
    """Paths of nginx; other ones in tests."""

    conf_dir: Path = Path("/etc/nginx")
    binary: Path = Path("/usr/sbin/nginx")
    pid_file: Path = Path("/run/nginx.pid")
    error_log: Path = Path("/var/log/nginx/error.log")
    state_dir: Path = RUN
    dpkg_status: Path = Path("/var/lib/dpkg/status")

    @property
    def stamp(self) -> Stamp:
        return Stamp(self.state_dir, "nginx")


def tree(conf_dir: Path) -> Iterator[tuple[Path, os.stat_result]]:
    """Every file and link of the configuration, sorted, without our temporary files."""
    for folder, names, files in os.walk(conf_dir):
        names.sort()
        for name in sorted(files + [name for name in names if os.path.islink(os.path.join(folder, name))]):
            path = Path(folder, name)
            if not (name.startswith(".") and name.endswith(".new")):
                yield path, path.lstat()


NAMES_CERTIFICATE = re.compile(
    rb"^\s*(?:proxy_)?ssl_(?:client_|trusted_)?certificate(?:_key)?\s+[\"']?(/[^\s;$\"']+)", re.MULTILINE
)


def named_by(bodies: Iterable[bytes]) -> list[Path]:
    """The certificates and keys that these configuration files name."""
    return sorted({Path(os.fsdecode(found)) for body in bodies for found in NAMES_CERTIFICATE.findall(body)})


def certificates(conf_dir: Path) -> list[Path]:
    """Certificates and keys outside the folder: nginx loads them with the configuration, so they are part of it."""
    named = named_by(path.read_bytes() for path, _ in tree(conf_dir) if path.suffix != ".pem" and path.is_file())
    return [path for path in named if not path.is_relative_to(conf_dir)]


def digest(conf_dir: Path) -> str:
    """One hash over names, contents and link targets of the configuration, and over the certificates that it names."""
    total = hashlib.sha256()
    for path in certificates(conf_dir):
        body = path.read_bytes() if path.is_file() else b""
        total.update(f"{path}\0{len(body)}\0".encode() + body)
    for path, _ in tree(conf_dir):
        body = os.readlink(path).encode() if path.is_symlink() else path.read_bytes() if path.is_file() else b""
        total.update(f"{path.relative_to(conf_dir)}\0{len(body)}\0".encode() + body)
    return total.hexdigest()


def newest(conf_dir: Path) -> float:
    """The time of the configuration's last change, including removals."""
    times = [status.st_ctime for _, status in tree(conf_dir)]
    times += [os.stat(folder).st_ctime for folder, _, _ in os.walk(conf_dir)]
    for path in certificates(conf_dir):
        # A link on the way to them may have changed.
        times += [each.lstat().st_ctime for each in (path, path.parent, path.resolve()) if os.path.lexists(each)]
    return max(times, default=0.0)


def master(places: Places) -> Process | None:
    """The running nginx, or None."""
    try:
        pid = int(places.pid_file.read_text(encoding="utf-8"))
    except (OSError, ValueError):
        return None
    # A PID file may outlive its process, and the PID may have been reused.
    return process.find(pid) if process.command(pid).startswith("nginx: master process") else None


def workers(of: Process) -> set[int]:
    """The workers that accept requests, without those that are shutting down."""
    found = set()
    for pid in (int(name) for name in os.listdir("/proc") if name.isdigit()):
        if process.parent(pid) == of.pid:
            title = process.command(pid)
            if title.startswith("nginx: worker process") and "shutting down" not in title:
                found.add(pid)
    return found


def pending(running: Process | None, places: Places) -> bool:
    """Whether nginx has loaded another configuration than the one on disk."""
    if running is None:
        return False
    loaded = places.stamp.loaded(running)
    if loaded is not None:
        return loaded != digest(places.conf_dir)
    # Not started by us: it has loaded everything older than itself.
    return not running.began_after(newest(places.conf_dir))


def reload(running: Process, places: Places) -> None:
    """Reload nginx and wait for new workers: a master that rejects the configuration only logs that.

    :raises Refused: with nginx's log lines
    """

    def logged(since: int) -> list[str]:
        try:
            with open(places.error_log, encoding="utf-8", errors="replace") as stream:
                stream.seek(since)
                return [visible(line.strip()) for line in stream if "[emerg]" in line]
        except OSError:
            return []

    try:
        since = places.error_log.stat().st_size
    except OSError:
        since = 0
    old = workers(running)
    running.send(signal.SIGHUP)
    deadline = time.monotonic() + PATIENCE
    while time.monotonic() < deadline:
        if workers(running) - old:
            return
        final = [line for line in logged(since) if ": bind() to " not in line]
        if final or master(places) != running:
            break
        time.sleep(0.02)
    words = " ".join(dict.fromkeys(logged(since))) or f"nothing in {places.error_log}"
    raise Refused(
        "nginx rejected the new configuration, so the old files are restored and stay in service. If a port is in use,"
        f" `ss -ltnp` lists its process. nginx reports: {words}"
    )


def catch_up(places: Places, note: Callable[[str], bool]) -> None:
    """Reload a running nginx if it has not loaded the configuration on disk.

    :param note: records a change and returns whether to apply it (not in check mode)
    :raises Refused: if nginx rejects the reload and keeps its loaded configuration
    """
    with alone(places.state_dir, "nginx"):
        running = master(places)
        if running is not None and pending(running, places) and note("reload nginx"):
            loaded = digest(places.conf_dir)
            reload(running, places)
            places.stamp.write(running, loaded)
