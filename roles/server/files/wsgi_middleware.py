"""WSGI middleware that each release carries, beside the server's settings, which apply it to the site's app.

It needs nothing but Python: it runs in the site's venv, whatever that holds.
"""

from __future__ import annotations

import contextlib
import ipaddress
from collections.abc import Callable, Iterable, Iterator, Sequence
from typing import Any

Environ = dict[str, Any]
StartResponse = Callable[..., Any]
Application = Callable[[Environ, StartResponse], Iterable[bytes]]
Network = ipaddress.IPv4Network | ipaddress.IPv6Network

CHUNK = 65536
# uWSGI's word for the peer of a unix socket; gunicorn leaves the address empty.
NO_ADDRESS = "0.0.0.0"


def for_gunicorn(
    application: Application, *, path: str, proxy_fix: bool, trusted_proxies: Sequence[str]
) -> Application:
    """Wrap an app that gunicorn serves."""
    application = wrap(application, path=path, proxy_fix=proxy_fix, trusted_proxies=trusted_proxies)
    return drain_request_body(application)


def for_uwsgi(application: Application, *, path: str, proxy_fix: bool, trusted_proxies: Sequence[str]) -> Application:
    """Wrap an app that uWSGI serves; it drains request bodies itself (`post-buffering`)."""
    application = wrap(application, path=path, proxy_fix=proxy_fix, trusted_proxies=trusted_proxies)
    return distrust_uwsgi_scheme(application, trusted_proxies)


def wrap(application: Application, *, path: str, proxy_fix: bool, trusted_proxies: Sequence[str]) -> Application:
    """Apply what the site asks for with either server.

    :param path: the site key `path`
    :param proxy_fix: whether the app gets the client's address and scheme from the proxy's headers
    :param trusted_proxies: addresses and networks whose headers are believed, besides nginx on the slot's socket
    """
    if path != "/":
        application = mount(application, path.rstrip("/"))
    if proxy_fix:
        application = trust_one_proxy(application, trusted_proxies)
    return application


def is_trusted(peer: str, networks: Sequence[Network]) -> bool:
    """Whether this peer may name the client of a request.

    A peer without an address came through the slot's socket, which only nginx can open.
    """
    if not peer:
        return True
    address = ipaddress.ip_address(peer.partition("%")[0])
    address = getattr(address, "ipv4_mapped", None) or address  # an IPv4 client of a listener on [::]
    return any(address in network for network in networks)


def trust_one_proxy(application: Application, trusted_proxies: Sequence[str]) -> Application:
    """Give the app the client's address and scheme as the proxy in front of this server saw them.

    Of a list in X-Forwarded-For, the last entry is the one that this proxy added.
    """
    networks = list(map(ipaddress.ip_network, trusted_proxies))

    def with_client(environ: Environ, start_response: StartResponse) -> Iterable[bytes]:
        if is_trusted(environ.get("REMOTE_ADDR", ""), networks):
            client = environ.get("HTTP_X_FORWARDED_FOR", "").rpartition(",")[2].strip()
            scheme = environ.get("HTTP_X_FORWARDED_PROTO", "").rpartition(",")[2].strip()
            if client:
                environ["REMOTE_ADDR"] = client
            if scheme in ("http", "https"):
                environ["wsgi.url_scheme"] = scheme
        return application(environ, start_response)

    return with_client


def mount(application: Application, prefix: str) -> Application:
    """Tell the app its path prefix, so that its links begin with it.

    The prefix comes from the site config, never from a header. A request without it (the health gate, a listener) is
    passed on unchanged.
    """

    def mounted(environ: Environ, start_response: StartResponse) -> Iterable[bytes]:
        environ["SCRIPT_NAME"] = prefix
        path = environ.get("PATH_INFO", "")
        if path == prefix or path.startswith(prefix + "/"):
            environ["PATH_INFO"] = path[len(prefix) :]
        return application(environ, start_response)

    return mounted


def drain_request_body(application: Application) -> Application:
    """Read what the app leaves of a request's body, once it has answered.

    A connection that is closed over unread bytes loses the answer. nginx has the whole body and sends it at once; the
    client of a listener may be slow, and is not waited for.
    """

    def draining(environ: Environ, start_response: StartResponse) -> Iterable[bytes]:
        has_body = environ.get("CONTENT_LENGTH", "0") not in ("", "0") or "HTTP_TRANSFER_ENCODING" in environ
        from_nginx = not environ.get("REMOTE_ADDR")
        response = application(environ, start_response)
        if not (has_body and from_nginx):
            return response
        if isinstance(response, environ.get("wsgi.file_wrapper", ())):
            read_all(environ["wsgi.input"])
            return response  # unchanged, so that gunicorn can use sendfile
        return DrainingResponse(response, environ["wsgi.input"])

    return draining


class DrainingResponse:
    """A response that reads the rest of the request's body when the server closes it."""

    def __init__(self, response: Iterable[bytes], body: Any) -> None:
        self.response, self.body = response, body

    def __iter__(self) -> Iterator[bytes]:
        return iter(self.response)

    def close(self) -> None:
        try:
            getattr(self.response, "close", bool)()
        finally:
            read_all(self.body)


def read_all(body: Any) -> None:
    """Read a request's body to its end; a client that has hung up has its answer already."""
    with contextlib.suppress(Exception):
        while body.read(CHUNK):
            pass


def distrust_uwsgi_scheme(application: Application, trusted_proxies: Sequence[str]) -> Application:
    """Undo that uWSGI believes X-Forwarded-Proto of any client.

    Over the uwsgi protocol, nginx alone can set HTTPS.
    """
    networks = list(map(ipaddress.ip_network, trusted_proxies))

    def with_own_scheme(environ: Environ, start_response: StartResponse) -> Iterable[bytes]:
        if environ.get("REMOTE_ADDR") == NO_ADDRESS:
            environ["REMOTE_ADDR"] = ""
        if not is_trusted(environ.get("REMOTE_ADDR", ""), networks):
            environ["wsgi.url_scheme"] = "https" if environ.get("HTTPS") == "on" else "http"
        return application(environ, start_response)

    return with_own_scheme
