"""A small forward proxy that wants a password, and a folder served by HTTP: both on loopback."""

from __future__ import annotations

import base64
import functools
import threading
import urllib.parse
import urllib.request
from collections.abc import Iterator
from contextlib import contextmanager
from http.server import BaseHTTPRequestHandler, SimpleHTTPRequestHandler, ThreadingHTTPServer
from pathlib import Path

USER, PASSWORD = "fetcher", "canary 4f7a@100%"
# Not 127.0.0.1, for which no proxy is used by default.
ORIGIN = "127.0.0.2"


class _Files(SimpleHTTPRequestHandler):
    def log_message(self, *_words: object) -> None: ...


class _Forward(BaseHTTPRequestHandler):
    def do_GET(self) -> None:
        wanted = "Basic " + base64.b64encode(f"{USER}:{PASSWORD}".encode()).decode()
        if self.headers["Proxy-Authorization"] != wanted:
            self.server.refused.append(self.path)
            self.send_error(407)
            return
        self.server.forwarded.append(self.path)
        direct = urllib.request.build_opener(urllib.request.ProxyHandler({}))
        try:
            with direct.open(self.path) as answer:
                status, content = answer.status, answer.read()
        except urllib.error.HTTPError as error:
            status, content = error.code, error.read()
        self.send_response(status)
        self.send_header("Content-Length", str(len(content)))
        if self.path.endswith("/"):
            self.send_header("Content-Type", "text/html")
        self.end_headers()
        self.wfile.write(content)

    def log_message(self, *_words: object) -> None: ...


class Proxy(ThreadingHTTPServer):
    """Records forwarded and refused requests."""

    def __init__(self) -> None:
        super().__init__(("127.0.0.1", 0), _Forward)
        self.forwarded: list[str] = []
        self.refused: list[str] = []

    @property
    def url(self) -> str:
        """Its URL, password and all."""
        return f"http://{USER}:{urllib.parse.quote(PASSWORD, safe='')}@127.0.0.1:{self.server_port}"


@contextmanager
def _running(server: ThreadingHTTPServer) -> Iterator[None]:
    thread = threading.Thread(target=server.serve_forever, kwargs={"poll_interval": 0.05})
    thread.start()
    try:
        yield
    finally:
        server.shutdown()
        server.server_close()
        thread.join()


@contextmanager
def proxy() -> Iterator[Proxy]:
    """The running proxy."""
    server = Proxy()
    with _running(server):
        yield server


@contextmanager
def served(folder: Path) -> Iterator[str]:
    """A folder's URL."""
    server = ThreadingHTTPServer((ORIGIN, 0), functools.partial(_Files, directory=str(folder)))
    with _running(server):
        yield f"http://{ORIGIN}:{server.server_port}"
