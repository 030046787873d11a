"""How programs on a host are told of the operator's proxy, without anybody else reading its password."""

from __future__ import annotations

import re


def proxy_environment(http_proxy: str, no_proxy: str) -> dict[str, str]:
    """The variables by which pip, uv and most others find a proxy.

    For a module to hand on to what it starts. A task's own ``environment:`` would show them to ``-vvv`` and to every
    user of the host, in the command line of the shell that starts the module.
    """
    values = dict.fromkeys(("HTTP_PROXY", "HTTPS_PROXY", "ALL_PROXY"), http_proxy) if http_proxy else {}
    if no_proxy:
        values["NO_PROXY"] = no_proxy
    return values | {name.lower(): value for name, value in values.items()}


def without_passwords(text: str) -> str:
    """Take user and password out of the URLs in a text."""
    return re.sub(r"(?<=://)[^/\s]+@", "****@", text)
