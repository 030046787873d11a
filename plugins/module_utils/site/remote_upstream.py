"""Health checks of a site's servers on other hosts, for a host that has only nginx."""

from __future__ import annotations

import contextlib
import http.client
import socket
import ssl
import threading
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path
from typing import Any

from ansible_collections.wsgi.sites.plugins.module_utils.releases.health import BODY_LIMIT
from ansible_collections.wsgi.sites.plugins.module_utils.site import maintenance
from ansible_collections.wsgi.sites.plugins.module_utils.site.paths import Layout
from ansible_collections.wsgi.sites.plugins.module_utils.system.text import visible


class _Server(http.client.HTTPConnection):
    """HTTP to an address, over TLS with verification of the name, as in nginx."""

    def __init__(self, address: str, upstream: dict[str, Any], timeout: float) -> None:
        super().__init__(address, timeout=timeout)
        self._upstream = upstream
        # A socket's timeout restarts with every byte; this one limits the whole answer.
        self._raw: socket.socket | None = None
        self._timer = threading.Timer(timeout, self._cut)
        self._timer.daemon = True

    def _cut(self) -> None:
        if (raw := self._raw) is not None:
            with contextlib.suppress(OSError):
                raw.shutdown(socket.SHUT_RDWR)

    def end(self) -> None:
        """Close for good."""
        self._timer.cancel()
        self.close()
        if self._raw is not None:
            self._raw.close()
            self._raw = None

    def connect(self) -> None:
        """Connect, and verify the certificate."""
        super().connect()
        self._raw = self.sock.dup()
        self._timer.start()
        if self._upstream["ca"]:
            context = ssl.create_default_context(cafile=self._upstream["ca"])
            # Python 3.13 checks certificates more strictly than nginx does.
            context.verify_flags &= ~ssl.VERIFY_X509_STRICT
            self.sock = context.wrap_socket(self.sock, server_hostname=self._upstream["name"])


def ask(address: str, upstream: dict[str, Any], timeout: float) -> str:
    """The problem of a server, or an empty text if it passes its health check."""
    health = upstream["health"]
    host = health["host"]
    headers = {"Host": host, "X-Forwarded-Host": host, "X-Forwarded-Proto": health.get("scheme", "http")}
    connection = _Server(address, upstream, timeout)
    try:
        connection.request("GET", health["path"], headers={**headers, "User-Agent": "health-gate"})
        answer = connection.getresponse()
        body = answer.read(BODY_LIMIT).decode(errors="replace")
    except ssl.SSLCertVerificationError as error:
        return visible(f"its certificate is refused: {error.verify_message}")
    except (OSError, http.client.HTTPException) as error:
        # Unlike a local server's, the invalid answer is quoted.
        return visible(f"no answer: {type(error).__name__}: {error}"[:300])
    finally:
        connection.end()
    if answer.status != health["status"]:
        return f"{health['path']} answered {answer.status} instead of {health['status']}"
    if health["body"] not in body:
        return f"{health['path']} answered without the expected text"
    return ""


def status(name: str, upstream: dict[str, Any], timeout: float = 3) -> dict[str, Any]:
    """The status in the form of `status.status`, with the keys that apply."""
    with ThreadPoolExecutor(max_workers=8) as pool:
        found = dict(
            zip(
                upstream["servers"],
                pool.map(lambda each: ask(each, upstream, timeout), upstream["servers"]),
                strict=True,
            )
        )
    wrong = "; ".join(f"{address}: {words}" for address, words in found.items() if words)
    healthy = not all(found.values())
    return {
        "site": name, "root": "", "slot": "proxy-only", "release": "", "version": "", "since": "", "previous": "",
        "state": "", "managed": True, "healthy": healthy, "processes": "", "unfinished": {},
        "maintenance": maintenance.describe(maintenance.read(Layout(name, Path("/nonexistent")))),
        "detail": f"passed on to {', '.join(upstream['servers'])}" if healthy else wrong,
        "problems": wrong if healthy else "",
    }  # fmt: skip
