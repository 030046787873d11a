"""Cookies that follow the scheme."""

from __future__ import annotations

from typing import Any

from flask import Response, request


class SchemeResponse(Response):
    """A response whose cookies are `Secure` when, and only when, the client came over TLS.

    Behind the one trusted proxy ``request.is_secure`` is what the client used, so the same release serves a site with
    and without a certificate. All cookies pass here: the session's, Flask-Login's, and the site's own.
    """

    def set_cookie(self, *args: Any, **options: Any) -> None:
        super().set_cookie(*args, **options | {"secure": request.is_secure})
