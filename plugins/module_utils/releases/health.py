"""The health gate: send the health check to a slot's socket, as nginx would, until the answer is as expected."""

from __future__ import annotations

import contextlib
import http.client
import socket
import ssl
import threading
import time
from pathlib import Path

from ansible_collections.wsgi.sites.plugins.module_utils.runtime.supervisor import Supervisor, SupervisorError
from ansible_collections.wsgi.sites.plugins.module_utils.site.paths import Layout

PAUSE = 0.1
# After this many exits in one gate, waiting for the timeout is pointless.
HOPELESS_STARTS = 3
# Maximum bytes of a health check's body.
BODY_LIMIT = 1 << 20


class _SlotConnection(http.client.HTTPConnection):
    """HTTP/1.1 over a slot's unix socket."""

    def __init__(self, path: Path, tls: bool, host: str, timeout: float) -> None:
        super().__init__(host, timeout=timeout)
        self._path, self._tls = path, tls
        # A socket's timeout restarts with every byte; this one limits the whole answer.
        self.late = False
        self._raw: socket.socket | None = None
        self._timer = threading.Timer(timeout, self._cut)
        self._timer.daemon = True

    def _cut(self) -> None:
        self.late = True
        if (raw := self._raw) is not None:
            with contextlib.suppress(OSError):
                raw.shutdown(socket.SHUT_RDWR)

    def end(self) -> None:
        """Close for good; http.client itself calls `close` before the body of a last answer is read."""
        self.close()
        self._timer.cancel()
        if self._raw is not None:
            self._raw.close()
            self._raw = None

    def connect(self) -> None:
        self.sock = socket.socket(socket.AF_UNIX, socket.SOCK_STREAM)
        self.sock.settimeout(self.timeout)
        self.sock.connect(str(self._path))
        # A separate reference, since TLS takes over the other one.
        self._raw = self.sock.dup()
        self._timer.start()
        if self._tls:
            # Not verified: the certificate is for public names, and only root's socket can answer at this path.
            context = ssl.SSLContext(ssl.PROTOCOL_TLS_CLIENT)
            context.check_hostname = False
            context.verify_mode = ssl.CERT_NONE
            self.sock = context.wrap_socket(self.sock, server_hostname=self.host or None)


def ask(path: Path, manifest: dict, timeout: float) -> tuple[bool, str]:
    """Send one request; returns whether the answer is as expected, and a summary without the body (may be secret)."""
    health = manifest["health"]
    host = health.get("host") or "localhost"
    headers = {
        "Host": host,
        "X-Forwarded-For": "127.0.0.1",
        "X-Forwarded-Proto": health.get("scheme") or "http",
        "X-Forwarded-Host": host,
        "User-Agent": "health-gate",
        "Connection": "close",
    }
    connection = _SlotConnection(path, bool(manifest.get("tls")), host, timeout)
    try:
        connection.request("GET", health["path"], headers=headers)
        answer = connection.getresponse()
        body = answer.read(BODY_LIMIT)
    except FileNotFoundError:
        return False, "the server has not opened its socket"
    except TimeoutError:
        return False, "the server took the request and did not answer in time"
    except (OSError, http.client.HTTPException) as error:
        if connection.late:
            return False, "the server did not end its answer in time"
        # Anything that is not HTTP may contain secrets too.
        words = f": {error}" if isinstance(error, OSError) else ""
        return False, f"no answer: {type(error).__name__}{words}"
    finally:
        connection.end()
    if connection.late:
        return False, "the server did not end its answer in time"
    if answer.status != health["status"]:
        return False, f"{health['path']} answered {answer.status}, not {health['status']}"
    if health.get("body") and health["body"].encode() not in body:
        return False, f"{health['path']} answered {answer.status} as expected, but without the text {health['body']!r}"
    return True, f"{health['path']} answered {answer.status}"


class _Watch:
    """Follows a program's state and detects when further waiting is pointless."""

    def __init__(self, program: str) -> None:
        self.program = program
        self.seen: set[int] = set()
        self.ends: set[int] = set()

    def look(self) -> tuple[bool, bool, str]:
        """Whether it may answer now, whether it has failed for good, and why."""
        info = Supervisor().info(self.program)
        if info is None:
            return False, True, f"supervisord does not run a program {self.program}"
        state, pid, start = info["statename"], info["pid"], info["start"]
        if pid:
            self.seen.add(pid)
        if state in ("BACKOFF", "EXITED"):
            self.ends.add(start)
        failed = max(len(self.seen) - 1, len(self.ends))
        if state in ("FATAL", "STOPPED", "UNKNOWN"):
            return False, True, f"supervisor reports {state}: {info['spawnerr'] or info['description']}"
        if state == "EXITED" and info["exitstatus"] == 77:
            return False, True, "the launcher refused to start it"
        if failed >= HOPELESS_STARTS:
            return False, True, f"the server exited {failed} times right after its start"
        return state in ("STARTING", "RUNNING"), False, f"supervisor says {state}"


def healthy(site: Layout, slot: str, manifest: dict, timeout: float = 5) -> tuple[bool, str]:
    """Whether a slot's server, run by supervisord, passes its health check within the timeout.

    :param manifest: the release's ``release.json``
    :returns: the result, and the last answer as text
    """
    watch = _Watch(f"{site.name}-{slot}")
    deadline = time.monotonic() + timeout
    last = ""
    while True:
        try:
            answering, hopeless, state = watch.look()
        except SupervisorError as error:
            return False, str(error)
        if hopeless:
            return False, "; ".join(filter(None, (state, last)))
        if answering:
            # At least a moment, so that a timeout of 0 still sends one request.
            passed, last = ask(site.socket(slot), manifest, max(deadline - time.monotonic(), 0.5))
            if passed:
                return True, last
        if time.monotonic() >= deadline:
            return False, "; ".join(filter(None, (last or state, f"gave up after {timeout:g} s")))
        time.sleep(PAUSE)
