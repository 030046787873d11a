"""The WSGI middleware of releases as a unit; the servers' tests use it for real."""

from __future__ import annotations

import io
import runpy
from collections.abc import Callable, Iterable
from typing import Any

import pytest
from project import PROJECT

MIDDLEWARE = runpy.run_path(str(PROJECT / "roles/server/files/wsgi_middleware.py"))
SETTINGS: dict[str, Any] = {"path": "/", "proxy_fix": True, "trusted_proxies": []}


class Body(io.BytesIO):
    """A request body that may end early."""

    broken = False

    def read(self, size: int | None = -1) -> bytes:
        if self.broken:
            raise OSError("hung up")
        return super().read(size)


class Response:
    """A response of an app; records that the server has closed it."""

    closed = False

    def __iter__(self) -> Iterable[bytes]:
        return iter([b"no"])

    def close(self) -> None:
        self.closed = True


def refuse(environ: dict[str, Any], response: object, **more: Any) -> object:
    """A request whose body the app does not read, as far as the server's iteration and `close()`."""
    app = MIDDLEWARE["for_gunicorn"](lambda *_: response, **SETTINGS)
    found = app({"REMOTE_ADDR": "", **environ, **more}, None)
    assert b"".join(found) == b"no"
    getattr(found, "close", bool)()
    return found


@pytest.mark.parametrize("head", [{"CONTENT_LENGTH": "200000"}, {"HTTP_TRANSFER_ENCODING": "chunked"}])
def test_an_unread_body_of_nginx_is_read_when_the_response_is_closed(head: dict[str, str]) -> None:
    body, response = Body(b"x" * 200_000), Response()
    refuse({**head, "wsgi.input": body}, response)
    assert body.tell() == 200_000
    assert response.closed


def test_the_body_of_a_listeners_client_is_not_waited_for() -> None:
    body, response = Body(b"x" * 10), Response()
    assert refuse({"CONTENT_LENGTH": "10", "wsgi.input": body, "REMOTE_ADDR": "127.0.0.1"}, response) is response
    assert body.tell() == 0


@pytest.mark.parametrize("head", [{}, {"CONTENT_LENGTH": ""}, {"CONTENT_LENGTH": "0"}])
def test_a_request_without_a_body_is_passed_on_unchanged(head: dict[str, str]) -> None:
    response = Response()
    assert refuse({**head, "wsgi.input": Body(b"x")}, response) is response


def test_a_file_is_passed_on_unchanged_for_sendfile() -> None:
    body, response = Body(b"x" * 10), Response()
    given = {"CONTENT_LENGTH": "10", "wsgi.input": body, "wsgi.file_wrapper": Response}
    assert refuse(given, response) is response
    assert body.tell() == 10


def test_a_client_that_disconnects_breaks_nothing() -> None:
    body, response = Body(b"x"), Response()
    body.broken = True
    refuse({"CONTENT_LENGTH": "1", "wsgi.input": body}, response)
    assert response.closed


def test_the_body_is_read_also_when_closing_the_response_fails() -> None:
    class Failing(Response):
        def close(self) -> None:
            raise ValueError("the app's own")

    body = Body(b"x" * 10)
    with pytest.raises(ValueError, match="the app's own"):
        refuse({"CONTENT_LENGTH": "10", "wsgi.input": body}, Failing())
    assert body.tell() == 10


def seen(server: str, environ: dict[str, str], **settings: Any) -> tuple[str, str]:
    """The client's address and scheme as the app sees them."""
    found: dict[str, Any] = {}

    def app(environ: dict[str, Any], _: Callable[..., Any]) -> list[bytes]:
        found.update(environ)
        return []

    wrapped = MIDDLEWARE[f"for_{server}"](app, **{**SETTINGS, **settings})
    wrapped({"wsgi.url_scheme": "http", **environ}, lambda *_: None)
    return found["REMOTE_ADDR"], found["wsgi.url_scheme"]


FORWARDED = {"HTTP_X_FORWARDED_FOR": "6.6.6.6, 192.0.2.7", "HTTP_X_FORWARDED_PROTO": "https"}


@pytest.mark.parametrize(("server", "peer"), [("gunicorn", ""), ("uwsgi", "0.0.0.0"), ("uwsgi", "")])
def test_nginx_names_the_client_to_either_server(server: str, peer: str) -> None:
    assert seen(server, {"REMOTE_ADDR": peer, **FORWARDED}) == ("192.0.2.7", "https")


@pytest.mark.parametrize("server", ["gunicorn", "uwsgi"])
def test_invalid_forwarded_headers_are_ignored(server: str) -> None:
    odd = {"REMOTE_ADDR": "", "HTTP_X_FORWARDED_FOR": " , ", "HTTP_X_FORWARDED_PROTO": "gopher"}
    assert seen(server, odd) == ("", "http")


def test_uwsgis_own_trust_in_the_scheme_is_undone() -> None:
    claimed = {"REMOTE_ADDR": "192.0.2.1", "wsgi.url_scheme": "https"}
    assert seen("uwsgi", claimed) == ("192.0.2.1", "http")
    assert seen("uwsgi", {**claimed, "HTTPS": "on"}) == ("192.0.2.1", "https"), "nginx's, by the uwsgi protocol"
    assert seen("uwsgi", claimed, trusted_proxies=["192.0.2.0/24"]) == ("192.0.2.1", "https")
