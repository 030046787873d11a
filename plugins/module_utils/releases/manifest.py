"""The manifest of a release: its option spec in release_build, and ``release.json``."""

from __future__ import annotations

from collections.abc import Mapping
from pathlib import Path
from typing import Any

# Of the package uwsgi-core.
DISTRIBUTION_UWSGI = "/usr/bin/uwsgi"

# The argument_spec; DOCUMENTATION of release_build describes each option.
WORKERS = {
    "workers": {"type": "raw", "default": "auto"},
    "workers_max": {"type": "int", "default": 0},
    "workers_min": {"type": "int", "default": 0},
    "threads": {"type": "raw", "default": 1},
}
SERVER = {
    "name": {"type": "str", "choices": ["gunicorn", "uwsgi"], "default": "gunicorn"},
    "from": {"type": "str", "choices": ["release", "distribution"], "default": "release"},
    "workers": {"type": "dict", "options": WORKERS, "apply_defaults": True},
    "worker_class": {"type": "str", "default": "gthread"},
    "listen": {"type": "list", "elements": "str", "default": []},
    "backlog": {"type": "int", "default": 2048},
    "tls": {"type": "bool", "default": False},
    "socket_group": {"type": "str", "default": "www-data"},
}
SPEC = {
    "site": {"type": "str", "required": True},
    "root": {"type": "path", "required": True},
    "user": {"type": "str", "required": True},
    "source": {"type": "str", "default": ""},
    "lock": {"type": "str", "default": "requirements.txt"},
    "packages": {"type": "str", "choices": ["index", "wheelhouse"], "default": "index"},
    "wsgi": {"type": "str", "required": True},
    "server": {"type": "dict", "options": SERVER, "apply_defaults": True},
    "processes": {"type": "dict", "default": {}},
    "public": {"type": "list", "elements": "str", "default": []},
    "hashed_names": {"type": "str", "default": ""},
    "compress": {"type": "list", "elements": "str", "choices": ["gzip", "brotli"], "default": []},
    "health": {"type": "dict", "default": {}},
    "resources": {"type": "dict", "default": {}},
    "going_live": {"type": "str", "choices": ["overlap", "replace"], "default": "overlap"},
    "max_body": {"type": "int", "default": 0},
    "keep_releases": {"type": "int", "default": 5},
}
# Keys that release.json copies from the manifest.
SAME = ("site", "source", "user", "wsgi", "going_live", "resources", "processes", "public", "hashed_names")


def release_json(manifest: Mapping[str, Any], release: Path, root: Path, **built: str) -> dict[str, Any]:
    """The content of ``release.json``, for the launcher, the health gate and the operator; no secrets.

    :param built: values known only on the host: `created`, `by`, `code`, `python` and `group`
    """
    server = manifest["server"]
    return {
        "id": release.name,
        "root": str(root),
        **built,
        **{key: manifest[key] for key in SAME},
        "server": server["name"],
        "command": command(manifest, release),
        **({"sockets": ["sock", "uwsgi.sock"]} if server["name"] == "uwsgi" else {}),
        **server["workers"],
        **{key: server[key] for key in ("socket_group", "listen", "backlog", "tls")},
        "packed": {"ways": manifest["compress"]},
        # The scheme of clients: nginx's https, or the server's own.
        "health": {"scheme": "https" if server["tls"] else "http", **manifest["health"]},
    }


def command(manifest: Mapping[str, Any], release: Path) -> list[str]:
    """The server's command, which the launcher executes."""
    if manifest["server"]["name"] == "uwsgi":
        own = manifest["server"]["from"] == "release"
        return [str(release / "venv/bin/uwsgi") if own else DISTRIBUTION_UWSGI, "--ini", str(release / "uwsgi.ini")]
    return [str(release / "venv/bin/gunicorn"), "--config", str(release / "gunicorn.conf.py"), manifest["wsgi"]]
