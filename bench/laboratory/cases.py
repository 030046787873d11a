"""The servers that several experiments compare, as keys of a site."""

from __future__ import annotations

from laboratory.servers import Keys

# gunicorn's defaults: a worker accepts connections while others are idle, and keeps them.
OWN_CONNECTIONS = "gunicorn's own connections"
CONNECTIONS = {"worker_connections": 1000, "keepalive": 5}
DEFAULT = "gunicorn gthread"
TUTORIAL = "gunicorn sync"
SERVERS: dict[str, Keys] = {
    DEFAULT: {},
    TUTORIAL: {"worker_class": "sync"},
    "gunicorn gevent": {"worker_class": "gevent"},
    "gunicorn tornado": {"worker_class": "tornado"},
    "uWSGI, processes": {"server": "uwsgi", "threads": 1},
    "uWSGI, threads": {"server": "uwsgi"},
}
# The default with one setting changed; only behind nginx.
VARIANTS: dict[str, Keys] = {
    f"{DEFAULT}, 1 thread": {"threads": 1},
    f"{DEFAULT}, parser in C": {"settings": {"http_parser": "fast"}},
    f"{DEFAULT}, {OWN_CONNECTIONS}": {"settings": CONNECTIONS},
}
