"""A plain WSGI app in one file, without a framework that could handle proxies."""

import json
import os


def application(environ, start_response):
    """Answer what the tests of a site ask for."""
    path = environ["PATH_INFO"]
    if path == "/whoami":
        body = {
            "remote_addr": environ["REMOTE_ADDR"],
            "scheme": environ["wsgi.url_scheme"],
            "host": environ["HTTP_HOST"],
            "forwarded_for": environ.get("HTTP_X_FORWARDED_FOR"),
            "pid": os.getpid(),
        }
    elif path == "/healthz":
        body = {
            "status": "ok",
            "site": os.environ["SITE_NAME"],
            "release": os.environ["SITE_RELEASE"],
            "app": "handbook",
        }
    else:
        start_response("404 Not Found", [("Content-Type", "text/plain")])
        return [b"There is no such page.\n"]
    start_response("200 OK", [("Content-Type", "application/json")])
    return [json.dumps(body).encode()]
