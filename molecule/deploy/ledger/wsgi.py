"""A small site that returns its release and its process."""

from __future__ import annotations

import json
import os
from collections.abc import Callable, Iterable
from typing import Any


def app(environ: dict[str, Any], start_response: Callable[..., Any]) -> Iterable[bytes]:
    """Answer every request alike."""
    answer = {
        "status": "ok",
        "site": os.environ["SITE_NAME"],
        "release": os.environ["SITE_RELEASE"],
        "pid": os.getpid(),
        "request": environ.get("HTTP_X_REQUEST_ID"),
    }
    start_response("200 OK", [("Content-Type", "application/json")])
    return [json.dumps(answer).encode()]
