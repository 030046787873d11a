"""An HTTP/2 client that sends requests without validation and returns responses in HTTP/1.1 syntax."""

from __future__ import annotations

import socket
from collections.abc import Sequence

from h2.config import H2Configuration
from h2.connection import ConnectionState, H2Connection
from h2.events import ConnectionTerminated, DataReceived, ResponseReceived, StreamEnded, StreamReset
from h2.exceptions import ProtocolError

Headers = Sequence[tuple[str, str]]
# Requests are sent without normalization.
AS_IT_IS = H2Configuration(
    client_side=True,
    header_encoding="latin-1",
    validate_outbound_headers=False,
    normalize_outbound_headers=False,
)


def pseudo(path: str, name: str, method: str = "GET") -> list[tuple[str, str]]:
    """The pseudo-headers of every request."""
    return [(":method", method), (":scheme", "https"), (":authority", name), (":path", path)]


class Conversation:
    """One connection, over a socket that has agreed on h2."""

    def __init__(self, peer: socket.socket) -> None:
        self.peer, self.lines = peer, H2Connection(AS_IT_IS)
        self.lines.initiate_connection()
        self.send()

    def send(self) -> None:
        """Send all pending data."""
        self.peer.sendall(self.lines.data_to_send())

    def begin(self, headers: Headers, body: bytes = b"", trailers: Headers = ()) -> int:
        """Send a request without waiting for the response."""
        stream = self.lines.get_next_available_stream_id()
        raw = [(name.encode("latin-1"), value.encode("latin-1")) for name, value in headers]
        self.lines.send_headers(stream, raw, end_stream=not body and not trailers)
        if body:
            self.lines.send_data(stream, body, end_stream=not trailers)
        if trailers:
            self.lines.send_headers(stream, trailers, end_stream=True)
        self.send()
        return stream

    def ask(self, headers: Headers, body: bytes = b"", trailers: Headers = ()) -> str:
        """A request and its response: `HTTP/2 200`, headers, an empty line, the body; empty if there was none."""
        try:
            return self.answer(self.begin(headers, body, trailers))
        except ConnectionError:
            return ""

    def answer(self, stream: int) -> str:
        """The response on this stream, until its end or the connection's."""
        head, body = "", b""
        while data := self.peer.recv(65536):
            try:
                events = self.lines.receive_data(data)
            except ProtocolError as error:
                raise AssertionError(f"the server speaks no HTTP/2: {error}") from error
            for event in events:
                if isinstance(event, ConnectionTerminated):
                    return head and f"{head}\r\n{body.decode(errors='replace')}"
                if getattr(event, "stream_id", None) != stream:
                    continue
                if isinstance(event, ResponseReceived):
                    status, *rest = ((_text(name), _text(value)) for name, value in event.headers)
                    head = f"HTTP/2 {status[1]} \r\n" + "".join(f"{name}: {value}\r\n" for name, value in rest)
                elif isinstance(event, DataReceived):
                    body += event.data
                    self.lines.acknowledge_received_data(event.flow_controlled_length, stream)
                elif isinstance(event, StreamEnded | StreamReset):
                    return head and f"{head}\r\n{body.decode(errors='replace')}"
            if self.lines.state_machine.state is not ConnectionState.CLOSED:
                self.send()
        return head and f"{head}\r\n{body.decode(errors='replace')}"


def _text(word: str | bytes) -> str:
    return word if isinstance(word, str) else word.decode("latin-1")
