"""Errors that look like the rest of the site: pages for people, JSON for programs."""

from __future__ import annotations

import math

from flask import Flask, current_app, g, render_template, request
from flask.typing import ResponseReturnValue
from werkzeug.datastructures import Headers
from werkzeug.exceptions import HTTPException, SecurityError

from wordbook.models import Anonymous

CHINESE = {
    400: "这个请求有问题",
    403: "你没有权限",
    404: "找不到这一页",
    413: "文件太大了",
    500: "服务器出错了",
}


def show(error: HTTPException) -> ResponseReturnValue:
    """Render an error; what is no error (a redirect) passes as it is."""
    # Who asked by a name that is not ours (SITE_HOSTS) gets a bare answer: no link of a page leads there.
    if error.code is None or error.code < 400 or isinstance(error, SecurityError):
        return error
    if error.code == 413:
        read_rest()
    headers = Headers(error.get_headers())  # such as Allow, of 405
    del headers["Content-Type"]
    if request.path.startswith("/api/"):
        return {"status": error.code, "error": error.description}, error.code, headers
    if error.code >= 500:
        # Flask-Login would ask for the user before any page, and the database may be what is broken.
        g._login_user = Anonymous()
    page = render_template("error.html", error=error, chinese=CHINESE.get(error.code, "出错了"))
    return page, error.code, headers


def read_rest() -> None:
    """Read what is still coming, up to the largest request that this site takes at all.

    A server that answers and closes before breaks the connection of the sender: nginx then tells its client
    "502 Bad Gateway" and never shows our answer.
    """
    if not request.environ.get("wsgi.input_terminated"):
        return  # A server that does not know where the body ends would wait for more.
    rest = current_app.config["MAX_CONTENT_LENGTH"] or math.inf
    while rest > 0 and (chunk := request.environ["wsgi.input"].read(64 * 1024)):
        rest -= len(chunk)


def init_app(app: Flask) -> None:
    """Use this for every HTTP error, also for 500."""
    app.register_error_handler(HTTPException, show)
