"""A server that accepts connections of an app and never answers."""

from __future__ import annotations

import contextlib
import socket
from collections.abc import Iterator
from threading import Thread


class SlowDatabase(Thread):
    """A silent listener that counts its waiting clients."""

    def __init__(self) -> None:
        super().__init__(daemon=True)
        self.listener = socket.create_server(("127.0.0.1", 0), backlog=64)
        self.port = self.listener.getsockname()[1]
        self.waiting: list[socket.socket] = []
        self.most = 0

    def run(self) -> None:
        with contextlib.suppress(OSError):
            while True:
                self.waiting.append(self.listener.accept()[0])
                self.most = max(self.most, len(self.waiting))

    def let_go(self) -> None:
        """Close the connection that has waited longest."""
        self.waiting.pop(0).close()


def slow_database() -> Iterator[SlowDatabase]:
    """A slow database for a test; all connections are closed at its end."""
    made = SlowDatabase()
    made.start()
    yield made
    made.listener.close()
    while made.waiting:
        made.let_go()
