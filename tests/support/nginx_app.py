"""An app behind a private nginx that echoes requests, and shared helpers for tests of such sites."""

from __future__ import annotations

import re
import socketserver
import threading
from contextlib import ExitStack

from nginx_rig import Rig, whole_request

# `openssl passwd -6 -salt saltsalt secret`, and the same with -apr1.
HASH = "$6$saltsalt$TVLlQcbpFVof5W3Yz4DTP6gRstiNuHwwTt6GLc1E5n0U0aDehy0S5knV8wiOQSpT0Y77vwPZN.Pq.H91p5hVO1"
ANNA = "Authorization: Basic YW5uYTpzZWNyZXQ=\r\n"
ALIASES = {"/static/": "app/static", "/media/": "shared/media"}
SECURITY = [
    "Content-Security-Policy", "Permissions-Policy", "Referrer-Policy", "X-Content-Type-Options", "X-Frame-Options",
]  # fmt: skip


class App(socketserver.ThreadingMixIn, socketserver.UnixStreamServer):
    """An app on a slot's socket: it echoes requests, or sends the response that the path names."""

    daemon_threads = True
    request_queue_size = 64

    def __init__(self, path: str) -> None:
        self.go_on = threading.Event()
        self.heard: list[bytes] = []
        super().__init__(path, Answer)


class Answer(socketserver.StreamRequestHandler):
    """One connection of the app."""

    server: App

    def handle(self) -> None:
        head = whole_request(self.rfile)
        if not head:
            return
        self.server.heard.append(head)
        path = head.split()[1].decode(errors="replace")
        if b"\r\nUpgrade: websocket\r\n" in head and path.startswith("/events/"):
            self.wfile.write(b"HTTP/1.1 101 Switching Protocols\r\nUpgrade: websocket\r\nConnection: upgrade\r\n\r\n")
            while piece := self.request.recv(100):
                self.wfile.write(b"echo " + piece)
            return
        if path.startswith(("/events/", "/wait", "/slow")):
            self.wfile.write(b"HTTP/1.1 200 OK\r\nContent-Type: text/event-stream\r\nConnection: close\r\n\r\nfirst\n")
            self.server.go_on.wait(20)
            self.wfile.write(b"second\n")
            return
        extra = b"Content-Security-Policy: default-src 'none'\r\n" if path.startswith("/own") else b""
        status = b"500 Broken" if path.startswith("/broken") else b"200 OK"
        self.wfile.write(
            b"HTTP/1.1 %s\r\n%sContent-Length: %d\r\nConnection: close\r\n\r\n" % (status, extra, len(head)) + head
        )


def serve(rig: Rig, name: str, stack: ExitStack) -> App:
    """A site with a few files and its running app."""
    root = rig.site(name)
    (root / "releases/two/app/static/style.css").write_text("body {}")
    (root / "shared/media/photo.svg").write_text("<svg/>")
    socket_path = root / "slots/blue/sock"
    app = App(str(socket_path))
    socket_path.chmod(0o666)
    stack.callback(app.server_close)
    stack.callback(app.shutdown)
    threading.Thread(target=app.serve_forever, args=[0.05], daemon=True).start()
    return app


def header(answer: str, name: str) -> list[str]:
    """All values of a header in nginx's response, without the echo of the app."""
    return re.findall(rf"(?im)^{name}: (.*?)\r?$", answer.split("\r\n\r\n", 1)[0])
