"""Requests of attackers over https, byte by byte in every version of HTTP, and the environ that the app gets."""

from __future__ import annotations

import contextlib
import json
import re
import ssl
from collections.abc import Iterator
from typing import Any

from http2 import Conversation, pseudo
from support import Machine

NAME = "target.test"
VERSIONS = ("1.0", "1.1", "2")


@contextlib.contextmanager
def over_http2(machine: Machine) -> Iterator[Conversation]:
    """A connection that has agreed on HTTP/2."""
    context = ssl.SSLContext(ssl.PROTOCOL_TLS_CLIENT)
    context.check_hostname, context.verify_mode = False, ssl.CERT_NONE
    context.set_alpn_protocols(["h2"])
    with machine.encrypted(NAME, context=context) as peer:
        yield Conversation(peer)


def say(machine: Machine, text: str) -> str:
    """Send exactly this over one connection, and return everything until the server closes it."""
    answer = b""
    with machine.encrypted(NAME) as peer, contextlib.suppress(ConnectionError, ssl.SSLError):
        peer.sendall(text.encode())
        while piece := peer.recv(65536):
            answer += piece
    return answer.decode(errors="replace")


def ask(machine: Machine, path: str = "/environ", version: str = "1.1", headers: str = "", method: str = "GET") -> str:
    """Send a request with an unnormalized path, and return the response."""
    if version != "2":
        return say(machine, f"{method} {path} HTTP/{version}\r\nHost: {NAME}\r\nConnection: close\r\n{headers}\r\n")
    lines = [line.partition(": ") for line in headers.splitlines()]
    with over_http2(machine) as conversation:
        return conversation.ask([*pseudo(path, NAME, method), *((key.lower(), value) for key, _, value in lines)])


def status(answer: str) -> int:
    """The status of a response; 0 without one."""
    return int(answer.split()[1]) if answer else 0


def head(answer: str) -> list[tuple[str, str]]:
    """The headers of a response, with names in lower case."""
    lines = answer.partition("\r\n\r\n")[0].split("\r\n")[1:]
    return [(name.lower(), value) for name, value in (re.split(r": ?", line, maxsplit=1) for line in lines if line)]


def environ_of(answer: str) -> dict[str, Any]:
    """The WSGI environ that the app got."""
    return json.loads(answer.partition("\r\n\r\n")[2])["environ"]
