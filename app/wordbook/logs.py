"""One line a request, on stderr; each with the id by which nginx and the client know the request too."""

from __future__ import annotations

import json
import logging
import re
import time
from datetime import UTC, datetime
from logging.config import dictConfig
from uuid import uuid4

from flask import Flask, Response, current_app, g, has_request_context, request

REQUEST_ID = re.compile(r"[A-Za-z0-9._-]{1,64}")
# A link from a mail is a key: whoever reads it in a log could use it.
TOKEN = re.compile(r"(/account/(?:confirm|reset)/)[^\s/?\"',]+")


class Formatter(logging.Formatter):
    """Writes a record as one line of JSON or text, without any token."""

    def __init__(self, kind: str, site: str, release: str) -> None:
        super().__init__()
        self.kind, self.site, self.release = kind, site, release

    def format(self, record: logging.LogRecord) -> str:
        fields = {
            "time": datetime.fromtimestamp(record.created, UTC).isoformat(timespec="milliseconds"),
            "level": record.levelname,
            "site": self.site,
            "release": self.release,
            "request_id": g.get("request_id") if has_request_context() else None,
            **getattr(record, "fields", {}),
            "message": record.getMessage(),
        }
        if record.exc_info:
            fields["traceback"] = self.formatException(record.exc_info)
        line = json.dumps(fields, ensure_ascii=False) if self.kind == "json" else self.as_text(fields)
        return TOKEN.sub(r"\1***", line)

    @staticmethod
    def as_text(fields: dict[str, object]) -> str:
        """Write the fields for people to read, and nothing that could pass for another line."""
        head = "{time} {level} {site} {release} ".format_map(fields) + f"{fields['request_id'] or '-'} "
        # An address may hold a line break (%0A), with which a client could write lines of its own into the log.
        message = "".join(sign if sign.isprintable() else repr(sign)[1:-1] for sign in str(fields["message"]))
        return "\n".join([head + message, *([str(fields["traceback"])] if "traceback" in fields else [])])


def init_app(app: Flask) -> None:
    """Send all logs of the process to stderr, and time each request."""
    kind = app.config["LOG_FORMAT"]
    if kind not in {"json", "text"}:
        raise RuntimeError(f"LOG_FORMAT is {kind!r}; it can be json or text.")
    level = app.config["LOG_LEVEL"]
    if level not in logging.getLevelNamesMapping():
        raise RuntimeError(f"LOG_LEVEL is {level!r}; it can be DEBUG, INFO, WARNING or ERROR.")
    names = (kind, app.config["SITE_NAME"], app.config["SITE_RELEASE"])
    dictConfig(
        {
            "version": 1,
            "disable_existing_loggers": False,
            "formatters": {"line": {"()": lambda: Formatter(*names)}},
            "handlers": {
                "stderr": {
                    "class": "logging.StreamHandler",
                    "formatter": "line",
                    "stream": "ext://flask.logging.wsgi_errors_stream",
                }
            },
            "root": {"handlers": ["stderr"], "level": "WARNING"},
            # Other libraries only warn: some of them write whole mails or statements when they are asked for more.
            "loggers": {app.name: {"level": level}},
        }
    )
    app.before_request(begin)
    app.after_request(end)


def begin() -> None:
    """Start the clock, and take nginx's request id when it is one."""
    g.started = time.perf_counter()
    given = request.headers.get("X-Request-ID", "")
    g.request_id = given if REQUEST_ID.fullmatch(given) else uuid4().hex


def end(response: Response) -> Response:
    """Write the line. It has the path without the query, in which somebody may have put a secret."""
    ms = round((time.perf_counter() - g.started) * 1000, 1)
    response.headers["X-Request-ID"] = g.request_id
    fields = {"method": request.method, "path": request.path, "status": response.status_code, "ms": ms}
    message = f"{request.method} {request.path} {response.status_code} {ms} ms"
    current_app.logger.info(message, extra={"fields": fields})
    return response
