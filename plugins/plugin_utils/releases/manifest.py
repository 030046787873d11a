"""Composes the manifest of a release from the site config, for release_build. It contains no secrets."""

from __future__ import annotations

import hashlib
import json
from collections.abc import Mapping
from typing import Any

from ansible.module_utils.common.text.formatters import human_to_bytes

from ansible_collections.wsgi.sites.plugins.module_utils.packages.lockfile import LockFile

# Raise this to give every site a new release although manifest and files are unchanged.
FORMAT = 3
# Keys whose change requires no new release.
NEUTRAL = {"source", "lock", "packages", "keep_releases"}
# The package of each server.
SERVER_PACKAGES = {"gunicorn": "gunicorn", "uwsgi": "pyuwsgi"}
# Connections that a gevent worker handles at once.
GEVENT_CONNECTIONS = 1000


def compose(
    site: str, entry: Mapping[str, Any], source: str, processes: Mapping[str, Any], brotli: bool
) -> dict[str, Any]:
    """The manifest of a site's release.

    :param entry: the site's merged entry
    :param source: the source in words, without a login
    :param processes: processes and jobs of this host by name
    """
    return {
        "site": site,
        "source": source,
        "lock": entry["requirements"],
        **{key: entry[key] for key in ("root", "user", "wsgi", "packages", "going_live", "resources", "keep_releases")},
        "server": server(entry),
        "processes": dict(processes),
        "public": entry["public"],
        "hashed_names": entry["hashed_names"],
        "compress": ["gzip", *(["brotli"] if brotli else [])] if entry["precompress"] else [],
        "health": health(entry),
        "max_body": human_to_bytes(str(entry["client_max_body_size"])),
    }


def server(entry: Mapping[str, Any]) -> dict[str, Any]:
    """The server, and where it listens."""
    is_uwsgi = entry["server"] == "uwsgi"
    return {
        "name": entry["server"],
        "from": entry["uwsgi"]["from"] if is_uwsgi else "release",
        "workers": worker_settings(entry),
        "worker_class": entry["worker_class"],
        "listen": entry["bind"],
        "backlog": entry["backlog"],
        "tls": not is_uwsgi and bool(entry["gunicorn"]["certfile"]),
    }


def worker_settings(entry: Mapping[str, Any]) -> dict[str, Any]:
    """The settings for the number of workers and threads; `threads` are a worker's concurrent requests."""
    settings = {key: entry[key] for key in ("workers", "workers_max", "workers_min")}
    others = GEVENT_CONNECTIONS if "gevent" in entry["worker_class"] else 1
    return settings | {"threads": entry["threads"] if entry["worker_class"] == "gthread" else others}


def health(entry: Mapping[str, Any]) -> dict[str, Any]:
    """The health check: by a name of the site, and over https where clients use it.

    Only https is recorded, since any other change of the manifest would require a new release.
    """
    host = entry["health"]["host"] or entry["server_names"][0]
    return {**entry["health"], "host": host, **({"scheme": "https"} if entry["https"] else {})}


def server_package(manifest: Mapping[str, Any]) -> str:
    """The package of the server; empty if the distribution has it."""
    server = manifest["server"]
    return "" if server["from"] == "distribution" else SERVER_PACKAGES[server["name"]]


def parts(
    manifest: Mapping[str, Any], files: Mapping[str, str], code: str, lock: LockFile, server_lock: bytes
) -> dict[str, str]:
    """A hash of each part of a release; releases with different parts are different."""
    needs_server = server_package(manifest) not in {"", *lock.names}
    locked = [part for name, content in lock.files.items() for part in (name, content.hex())]
    config = {key: value for key, value in manifest.items() if key not in NEUTRAL}
    return {
        "code": code,
        "requirements": hash_of([*locked, server_lock.hex() if needs_server else ""]),
        "config": hash_of([FORMAT, dict(files), config]),
    }


def hash_of(value: object) -> str:
    """Hash of data, independent of the order of keys."""
    return hashlib.sha256(json.dumps(value, sort_keys=True).encode()).hexdigest()
