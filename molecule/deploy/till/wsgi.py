"""A till: it books each sale that it is sent, once, and repeats what it was asked, so that answers can be checked.

At `/told` it says all that the server told it of a request; `/probe` takes a second, and says who was at it.
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

AT_WORK: set[int] = set()
SALES = Path(os.environ["SITE_SHARED"], "data", "sales")


def book(sale: str) -> None:
    """One line a sale, in one write: that is whole, whoever else writes at the same time."""
    line = f"{sale}\n".encode()
    descriptor = os.open(SALES, os.O_WRONLY | os.O_APPEND | os.O_CREAT, 0o600)
    try:
        if os.write(descriptor, line) != len(line):
            raise OSError(f"only half of {sale} was written")
    finally:
        os.close(descriptor)


def app(environ: dict[str, Any], start_response: Callable[..., Any]) -> Iterable[bytes]:
    """Answer who and which release this is, and what it was sent."""
    answer = {
        "status": "ok",
        "site": os.environ["SITE_NAME"],
        "release": os.environ["SITE_RELEASE"],
        "path": environ["PATH_INFO"],
        "asked": environ.get("QUERY_STRING", ""),
        "mood": os.environ.get("MOOD", "calm"),
    }
    if environ["PATH_INFO"] == "/told":
        answer["told"] = {key: value for key, value in environ.items() if isinstance(value, str)}
    if environ["PATH_INFO"] == "/probe":
        AT_WORK.add(id(environ))
        time.sleep(1)
        answer |= {"pid": os.getpid(), "thread": threading.get_ident(), "at_once": len(AT_WORK)}
        AT_WORK.discard(id(environ))
    if environ["REQUEST_METHOD"] == "POST":
        body = environ["wsgi.input"].read(int(environ["CONTENT_LENGTH"]))
        book(environ["PATH_INFO"].rpartition("/")[2])
        answer["sum"] = zlib.crc32(body)
    content = json.dumps(answer).encode()
    start_response("200 OK", [("Content-Type", "application/json"), ("Content-Length", str(len(content)))])
    return [content]
