"""Clients that ask a site on several hosts without a break, and report what they got.

Usage: clients.py NAME ADDRESS [ADDRESS]…

For each host one client keeps its connection and one opens a connection for each request. They end on SIGTERM, or after
half an hour. A kept connection that the server closes between two requests is not a loss: the client opens another one.
"""

from __future__ import annotations

import contextlib
import http.client
import signal
import socket
import ssl
import sys
import threading
import time
from collections import Counter

PAUSE, LONGEST, TIMEOUT = 0.05, 1800.0, 30.0


class Client(threading.Thread):
    """One client of one host."""

    def __init__(self, name: str, address: str, keep: bool, stop: threading.Event) -> None:
        super().__init__(daemon=True)
        self.name_of_site, self.address, self.keep, self.stop = name, address, keep, stop
        self.context = ssl.create_default_context()
        self.context.check_hostname, self.context.verify_mode = False, ssl.CERT_NONE
        self.connection: http.client.HTTPSConnection | None = None
        self.results: Counter[str] = Counter()

    def run(self) -> None:
        while not self.stop.wait(PAUSE):
            fresh = self.connection is None or not self.keep
            try:
                self.results[f"status {self.ask(fresh)}"] += 1
            except (OSError, http.client.HTTPException) as error:
                self.connection = None
                closed = isinstance(error, ConnectionError | http.client.RemoteDisconnected)
                self.results["closed between requests" if closed and not fresh else f"lost: {error!r}"] += 1

    def ask(self, fresh: bool) -> int:
        """The status of one response."""
        if fresh:
            with contextlib.ExitStack() as undo:
                plain = undo.enter_context(socket.create_connection((self.address, 443), TIMEOUT))
                encrypted = self.context.wrap_socket(plain, server_hostname=self.name_of_site)
                undo.pop_all()
            self.connection = http.client.HTTPSConnection(self.address, timeout=TIMEOUT)
            self.connection.sock = encrypted
        assert self.connection is not None  # noqa: S101
        self.connection.request("GET", "/", headers={"Host": self.name_of_site})
        response = self.connection.getresponse()
        response.read()
        return response.status


def main(name: str, addresses: list[str]) -> None:
    """Run the clients until SIGTERM and print their results."""
    stop = threading.Event()
    signal.signal(signal.SIGTERM, lambda *_: stop.set())
    clients = [Client(name, address, keep, stop) for address in addresses for keep in (True, False)]
    for client in clients:
        client.start()
    end = time.monotonic() + LONGEST
    while time.monotonic() < end and not stop.wait(0.2):
        pass
    stop.set()
    for client in clients:
        client.join(TIMEOUT)
        kind = "keeps its connection" if client.keep else "opens connections"
        for result, count in sorted(client.results.items()):
            print(f"{client.address}, {kind}: {count} times {result}")


if __name__ == "__main__":
    main(sys.argv[1], sys.argv[2:])
