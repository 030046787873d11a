"""Environment and index settings of pip and uv.

The environment is built from scratch. Of the operator's pip settings only those that lead to an index are used. They
may contain logins, so they are written to a private file, before the packages; pip does not read its own settings.
"""

from __future__ import annotations

import ast
import contextlib
import netrc
import os
import shlex
from collections.abc import Mapping, Sequence
from urllib.parse import quote, urlsplit, urlunsplit

from ansible_collections.wsgi.sites.plugins.module_utils.packages.lock import Lock
from ansible_collections.wsgi.sites.plugins.module_utils.packages.urls import safe_url

# Proxies and CA certificates.
NETWORK = (
    "HTTP_PROXY", "HTTPS_PROXY", "ALL_PROXY", "NO_PROXY", "http_proxy", "https_proxy", "all_proxy", "no_proxy",
    "SSL_CERT_FILE", "SSL_CERT_DIR", "REQUESTS_CA_BUNDLE", "CURL_CA_BUNDLE",
)  # fmt: skip
# The same among pip's own settings: environment variable, and option name in `pip config`.
PIP = (
    ("CERT", "cert"), ("CLIENT_CERT", "client-cert"), ("PROXY", "proxy"), ("RETRIES", "retries"),
    ("DEFAULT_TIMEOUT", "default-timeout"), ("TIMEOUT", "timeout"),
)  # fmt: skip


def base_environment(home: str) -> dict[str, str]:
    """The variables of this process's environment that pip and uv get.

    :param home: a folder of their own
    """
    kept = {name: os.environ[name] for name in NETWORK if name in os.environ}
    own = {"PATH": "/usr/local/bin:/usr/bin:/bin", "HOME": home, "TMPDIR": home, "LANG": "C.UTF-8", "NO_COLOR": "1"}
    return kept | own


def environment(home: str, settings: Mapping[str, str]) -> dict[str, str]:
    """The same for pip, with only the settings of :func:`read_settings`."""
    values = base_environment(home) | {f"PIP_{name}": settings[key] for name, key in PIP if settings.get(key)}
    fixed = {"CONFIG_FILE": os.devnull, "NO_INPUT": "1", "DISABLE_PIP_VERSION_CHECK": "1", "NO_CACHE_DIR": "1"}
    return values | {f"PIP_{name}": value for name, value in fixed.items()}


def read_settings(listing: str) -> dict[str, str]:
    """Parse the output of ``pip config list``, with pip's order of precedence.

    :returns: option and value
    """
    found: dict[str, dict[str, str]] = {}
    for line in listing.splitlines():
        key, given, value = line.partition("=")
        section, dot, name = key.rpartition(".")
        # pip writes values as Python does.
        with contextlib.suppress(ValueError, SyntaxError):
            if given and dot:
                found.setdefault(section, {})[name] = str(ast.literal_eval(value))
    return {
        name: value
        for section in ("global", "install", "download", ":env:")
        for name, value in found.get(section, {}).items()
    }


def where(locks: Sequence[Lock], index: str, settings: Mapping[str, str]) -> list[str]:
    """The indexes for pip, as lines of a requirements file.

    :param index: the operator's index for the sites; a lock's own index is used too, since it may have other packages
    """
    whole = Lock(no_index=any(lock.no_index for lock in locks))
    for lock in locks:
        whole.index_url = whole.index_url or lock.index_url
        whole.extra_index_urls += lock.extra_index_urls
        whole.find_links += lock.find_links
        whole.trusted_hosts += lock.trusted_hosts
    if index:
        whole.extra_index_urls += [whole.index_url] if whole.index_url else []
    else:
        # As in pip: a lock's index takes precedence over pip's settings.
        index = "" if whole.index_url else settings.get("index-url", "")
        whole.no_index = whole.no_index or settings.get("no-index", "").lower() in ("1", "true", "yes", "on")
        more = settings.get("extra-index-url", "").split()
        whole.extra_index_urls += [safe_url(with_login(url)) for url in more]
    whole.find_links += [shlex.quote(place) for place in settings.get("find-links", "").split()]
    whole.trusted_hosts += settings.get("trusted-host", "").split()
    return list(dict.fromkeys(whole.index_options(with_login(index))))


def with_login(index: str) -> str:
    """The operator's index URL, with the login from the operator's netrc if it has none.

    Not used for a lock's index, since the author of a lock must not use the operator's login.
    """
    parts = urlsplit(index)
    if parts.scheme != "https" or not parts.hostname or "@" in parts.netloc:
        return index
    try:
        entry = netrc.netrc(os.environ.get("NETRC")).authenticators(parts.hostname)
    except (OSError, netrc.NetrcParseError):
        return index
    if entry is None:
        return index
    login = f"{quote(entry[0], safe='')}:{quote(entry[2] or '', safe='')}"
    return urlunsplit(parts._replace(netloc=f"{login}@{parts.netloc}"))
