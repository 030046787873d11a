"""Translation of nginx's proxy directives to the uwsgi protocol."""

from __future__ import annotations

import pytest

from ansible_collections.wsgi.sites.plugins.lookup.uwsgi_directives import words


@pytest.mark.parametrize(
    ("said", "meant"),
    [
        ("    proxy_set_header X-Real-IP $remote_addr;", ["uwsgi_param HTTP_X_REAL_IP $remote_addr if_not_empty;"]),
        ('proxy_set_header  Remote-User "";  # nobody', ['uwsgi_param HTTP_REMOTE_USER "" if_not_empty;']),
        ('proxy_set_header Connection "";', []),
        ("proxy_set_header Upgrade $sites_upgrade__shop;", []),
        ("proxy_read_timeout 60s;", ["uwsgi_read_timeout 60s;"]),
        ("proxy_hide_header X-Request-ID;", ["uwsgi_hide_header X-Request-ID;"]),
        ("proxy_http_version 1.1;\nproxy_redirect off;\nproxy_ssl_verify off;\nproxy_cache x;", []),
        ("# proxy_buffering off;\nadd_header X-A b;\nproxy_buffering off;", ["uwsgi_buffering off;"]),
    ],
)
def test_equivalent_directives_are_kept(said: str, meant: list[str]) -> None:
    assert words(said) == meant
