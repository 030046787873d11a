"""Echo, cookies, the client's address, and a slow answer."""

from __future__ import annotations

import os
import sys
import threading
import time
from datetime import timedelta
from typing import Any
from urllib.parse import quote, unquote

from flask import abort, current_app, redirect, render_template, request, session, url_for
from flask.typing import ResponseReturnValue

from wordbook.extensions import csrf
from wordbook.forms import EmptyForm
from wordbook.lab import bp
from wordbook.lab.forms import CookieForm
from wordbook.lab.proxies import parsed, proxy_kind

LARGEST_ECHO = 64 * 1024
SHOWN_OF_BODY = 2000
# The session's cookie can be neither set nor deleted here.
PREFIX = "demo_"
# The requests that probe this process at the moment.
PROBES: set[int] = set()


@bp.route("/echo", methods=["GET", "POST"])
@csrf.exempt  # Shows what came and keeps nothing, also for those who send it by hand.
def echo() -> ResponseReturnValue:
    """Show what a request brought, as a page or, for who prefers it, as JSON."""
    request.max_content_length = LARGEST_ECHO
    body = request.get_data(cache=True)  # Before the form is read, which would leave nothing of it.
    seen = {
        "method": request.method,
        "query": request.args.to_dict(flat=False),
        "query_first": request.args.to_dict(),
        "form": request.form.to_dict(flat=False),
        "content_type": request.content_type,
        "length": len(body),
        "body": body[:SHOWN_OF_BODY].decode(errors="replace"),
    }
    if request.accept_mimetypes.best_match(["text/html", "application/json"]) == "application/json":
        return seen
    return render_template("lab/echo.html", seen=seen)


@bp.route("/cookies", methods=["GET", "POST"])
def cookies() -> ResponseReturnValue:
    """Show this site's trial cookies, and add one. The session counts the visits, signed with ``SECRET_KEY``."""
    form = CookieForm()
    if form.validate_on_submit():
        answer = redirect(url_for(".cookies"))
        # A header takes ASCII only, so the value travels percent-encoded.
        answer.set_cookie(
            PREFIX + form.name.data,
            quote(form.value.data),
            max_age=timedelta(days=form.days.data),
            httponly=True,
            samesite="Lax",
        )
        return answer
    if request.method == "GET":
        session["visits"] = session.get("visits", 0) + 1
    found = {
        name.removeprefix(PREFIX): unquote(value)
        for name, value in request.cookies.items()
        if name.startswith(PREFIX)
    }  # fmt: skip
    page = render_template("lab/cookies.html", form=form, delete_form=EmptyForm(), cookies=found)
    return page, 422 if form.errors else 200


@bp.post("/cookies/<name>/delete")
def delete_cookie(name: str) -> ResponseReturnValue:
    """Delete one of them: a cookie of that name that is over already."""
    answer = redirect(url_for(".cookies"))
    if PREFIX + name in request.cookies:
        answer.delete_cookie(PREFIX + name, httponly=True, samesite="Lax")
    return answer


@bp.get("/whoami")
def whoami() -> dict[str, Any]:
    """The client as the application sees it, and what kind of proxy it seems to have come through.

    nginx writes `X-Forwarded-For` anew, for that one is believed. What the client's side said in it, true or not, comes
    as `X-Client-Forwarded-For` and `X-Client-Via`: to look at only, never to decide anything by.
    """
    heard = request.headers.get
    my_address = request.args.get("my_address")
    if my_address is not None and not parsed(my_address):
        abort(400, "my_address is no IP address.")
    seen = request.remote_addr or ""
    via, told = heard("X-Client-Via"), heard("X-Client-Forwarded-For")
    if via is None and told is None:
        via, told = heard("Via"), heard("X-Forwarded-For")
        if via is None and told == seen:
            told = None  # Nothing but our own nginx, which wrote there what it sees.
    return {
        "remote_addr": request.remote_addr,
        "scheme": request.scheme,
        "host": request.host,
        "forwarded_for": heard("X-Forwarded-For"),
        "pid": os.getpid(),
        "chain": {"REMOTE_ADDR": request.remote_addr, "Via": via, "X-Forwarded-For": told},
        "proxy": proxy_kind(seen, via or "", told or "", my_address),
    }


@bp.get("/probe")
def probe() -> dict[str, Any]:
    """Answer late, and tell who did and how many this process was at; for tests of a server's workers.

    Off unless ``PROBE_MAX_SECONDS`` is set.
    """
    most = current_app.config["PROBE_MAX_SECONDS"]
    if most <= 0:
        abort(404)
    seconds = request.args.get("seconds", 0.0, type=float)
    if not 0 <= seconds <= most:
        abort(400, f"seconds is not a number from 0 to {most:g}.")
    PROBES.add(id(request.environ))
    try:
        at_once = len(PROBES)
        time.sleep(seconds)
    finally:
        PROBES.discard(id(request.environ))
    return {
        "pid": os.getpid(),
        "thread": threading.get_ident(),
        "at_once": at_once,
        "worker_class": worker_class(),
        "server": request.environ.get("SERVER_SOFTWARE", ""),
        "seconds": seconds,
    }


def worker_class() -> str:
    """Name the kind of worker that runs this: a server has loaded only the one it uses."""
    if "uwsgi" in sys.modules:
        return "uwsgi"
    classes = {"ggevent": "gevent", "gthread": "gthread", "gtornado": "tornado", "sync": "sync"}
    for module, name in classes.items():
        if f"gunicorn.workers.{module}" in sys.modules:
            return name
    return "development"
