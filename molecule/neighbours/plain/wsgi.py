"""A site without a framework, since the collection serves any WSGI app."""

from __future__ import annotations

import json
import os
from collections.abc import Callable, Iterable
from typing import Any


def make() -> Callable[..., Iterable[bytes]]:
    """Make the application."""
    return answer


def answer(environ: dict[str, Any], start_response: Callable[..., Any]) -> Iterable[bytes]:
    """Answer health checks and /whoami as the sample site does."""
    pages = {
        "/": "plain",
        "/readyz": "all is ready",
        "/healthz": {"status": "ok", "site": os.environ["SITE_NAME"], "release": os.environ["SITE_RELEASE"]},
        "/whoami": {
            "remote_addr": environ.get("REMOTE_ADDR"),
            "scheme": environ["wsgi.url_scheme"],
            "host": environ.get("HTTP_HOST"),
            "forwarded_for": environ.get("HTTP_X_FORWARDED_FOR"),
            "pid": os.getpid(),
        },
    }
    page = pages.get(environ["PATH_INFO"])
    kind = "text/plain; charset=utf-8" if isinstance(page, str) else "application/json"
    start_response("404 Not Found" if page is None else "200 OK", [("Content-Type", kind)])
    return [(page if isinstance(page, str) else json.dumps(page)).encode()]
