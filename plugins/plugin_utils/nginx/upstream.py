"""Where nginx passes requests: the live slot's socket or servers on other hosts, from server, gunicorn and upstream."""

from __future__ import annotations

from typing import Any

from ansible_collections.wsgi.sites.plugins.plugin_utils.nginx.cache import cached_seconds
from ansible_collections.wsgi.sites.plugins.plugin_utils.nginx.syntax import Site


def backend(site: Site) -> dict[str, Any]:
    """How a request reaches the app.

    ``live`` is the link to the live slot, and ``backend`` the argument of ``proxy_pass``; ``encrypted`` tells whether
    nginx speaks TLS to it, ``uwsgi`` whether the uwsgi protocol to releases that do; ``upstream`` is `remote_servers`.
    """
    remote = remote_servers(site)
    encrypted = bool(remote["verified"] if remote else site["server"] == "gunicorn" and site["gunicorn"]["certfile"])
    return {
        "live": f"{site['root']}/live",
        "upstream": remote,
        "encrypted": encrypted,
        "backend": f"{'https' if encrypted else 'http'}://site_{site['name']}",
        "uwsgi": speaks_uwsgi(site),
    }


def remote_servers(site: Site) -> dict[str, Any] | None:
    """How nginx reaches servers on other hosts; nothing if the site's server is on this one.

    ``servers`` as ``server`` takes them; ``verified`` has the ``name`` in their certificate and the file ``ca``, or is
    nothing for plain http; ``retry`` are the arguments of ``proxy_next_upstream``, with ``tries`` in all, and
    ``connect`` seconds for a connection.
    """
    remote = site["remote"]
    if not remote:
        return None
    servers = remote["servers"]
    single = len(servers) == 1
    return {
        # A single server is never marked down, and is listed twice, so that a connection closed before the request
        # was sent (as during a switch) is retried. Of several servers, a failing one is skipped for a while.
        "servers": [f"{each} max_fails=0" for each in servers * 2]
        if single
        else [f"{each} max_fails=3 fail_timeout=10s" for each in servers],
        "verified": {"name": remote["name"], "ca": remote["ca"]} if remote["ca"] else None,
        "retry": "error" if single else "error timeout",
        # Limited, since a request that crashes a server must not reach all of them.
        "tries": 2 if single else min(len(servers), 3),
        "connect": 5 if single else 2,
    }


def speaks_uwsgi(site: Site) -> bool:
    """Whether nginx uses the uwsgi protocol where possible; responses are cached only over HTTP."""
    here = site["server"] == "uwsgi" and not site["remote"]
    return here and site["uwsgi"]["protocol"] == "uwsgi" and not cached_seconds(site)
