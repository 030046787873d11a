"""Passes the operator's proxy to programs on a host without exposing its password."""

from __future__ import annotations

import re


def proxy_environment(http_proxy: str, no_proxy: str) -> dict[str, str]:
    """The environment variables of the proxy for pip, uv and most other programs.

    A module passes them to its subprocesses. A task's ``environment:`` would show them with ``-vvv``, and to every
    user of the host in the command line of the shell that starts the module.
    """
    values = dict.fromkeys(("HTTP_PROXY", "HTTPS_PROXY", "ALL_PROXY"), http_proxy) if http_proxy else {}
    if no_proxy:
        values["NO_PROXY"] = no_proxy
    return values | {name.lower(): value for name, value in values.items()}


def without_passwords(text: str) -> str:
    """Remove user and password from the URLs in a text."""
    return re.sub(r"(?<=://)[^/\s]+@", "****@", text)
