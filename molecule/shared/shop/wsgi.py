"""A shop: it stores each order that it receives, once, and repeats the request, so that responses can be verified.

`/environ` returns the request as the server passed it on; `/probe` takes a second, and returns what served it.
"""

from __future__ import annotations

import json
import os
import threading
import time
import zlib
from collections.abc import Callable, Iterable
from pathlib import Path
from typing import Any

ACTIVE_PROBES: set[int] = set()
ORDERS = Path(os.environ["SITE_SHARED"], "data", "orders")


def store(order: str) -> None:
    """Append a line in a single write, so that it is whole even if other processes write at the same time."""
    line = f"{order}\n".encode()
    descriptor = os.open(ORDERS, os.O_WRONLY | os.O_APPEND | os.O_CREAT, 0o600)
    try:
        if os.write(descriptor, line) != len(line):
            raise OSError(f"only a part of {order} was written")
    finally:
        os.close(descriptor)


def app(environ: dict[str, Any], start_response: Callable[..., Any]) -> Iterable[bytes]:
    """Return the site, the release and the request."""
    answer = {
        "status": "ok",
        "site": os.environ["SITE_NAME"],
        "release": os.environ["SITE_RELEASE"],
        "path": environ["PATH_INFO"],
        "query": environ.get("QUERY_STRING", ""),
        "greeting": os.environ.get("GREETING", ""),
    }
    if environ["PATH_INFO"] == "/environ":
        answer["environ"] = {key: value for key, value in environ.items() if isinstance(value, str)}
    if environ["PATH_INFO"] == "/probe":
        ACTIVE_PROBES.add(id(environ))
        time.sleep(1)
        answer |= {"pid": os.getpid(), "thread": threading.get_ident(), "concurrent": len(ACTIVE_PROBES)}
        ACTIVE_PROBES.discard(id(environ))
    if environ["REQUEST_METHOD"] == "POST":
        body = environ["wsgi.input"].read(int(environ["CONTENT_LENGTH"]))
        store(environ["PATH_INFO"].rpartition("/")[2])
        answer["sum"] = zlib.crc32(body)
    content = json.dumps(answer).encode()
    start_response("200 OK", [("Content-Type", "application/json"), ("Content-Length", str(len(content)))])
    return [content]
