"""What the lookup nginx_site works out; nginx itself judges it in test_nginx_templates, _tls and _guards."""

from __future__ import annotations

from typing import Any

import pytest
import yaml
from project import PROJECT

from ansible_collections.wsgi.sites.plugins.lookup.nginx_site import settings

DEFAULTS = yaml.safe_load((PROJECT / "roles/site/defaults/main.yml").read_text())["site_keys"]


def edge(version: str = "1.26.3", ipv6: bool = False, **keys: Any) -> dict[str, Any]:
    """The settings of a site with these keys, some of which are parts of the page's own."""
    site = {**DEFAULTS, "name": "shop", "root": "/srv/shop", "server_names": ["shop.test"], **keys}
    for key in ("tls", "limits", "gunicorn", "uwsgi", "micro_cache"):
        site[key] = {**DEFAULTS[key], **keys.get(key, {})}
    return settings(site, version, ipv6, client_connections=400, log_format='"$request" $http_referer')


BALANCER = {"trusted_balancers": ["192.0.2.1"]}
PROXIED = {**BALANCER, "proxy_protocol": True}


@pytest.mark.parametrize(
    ("keys", "redirect", "main"),
    [
        ({}, [], ["80"]),
        ({"tls": {"mode": "selfsigned"}}, ["80"], ["443 ssl"]),
        ({"tls": {"mode": "selfsigned"}, "version": "1.22.1"}, ["80"], ["443 ssl http2"]),
        ({"tls": {"mode": "selfsigned"}, "ipv6": True}, ["80", "[::]:80"], ["443 ssl", "[::]:443 ssl"]),
        ({"tls": {"mode": "selfsigned", "redirect": False}}, [], ["80", "443 ssl"]),
        ({"tls": {"mode": "selfsigned", "http3": True}}, ["80"], ["443 ssl", "443 quic"]),
        ({"tls": {"mode": "selfsigned", "http3": True}, "version": "1.22.1"}, ["80"], ["443 ssl http2"]),
        # Only the server that has the site's pages knows by what the client has asked his balancer.
        ({"tls": {"mode": "selfsigned"}, **BALANCER}, [], ["80", "443 ssl"]),
        ({"tls": {"mode": "selfsigned"}, **PROXIED}, ["80 proxy_protocol"], ["443 ssl proxy_protocol"]),
    ],
)
def test_where_each_server_listens(keys: dict[str, Any], redirect: list[str], main: list[str]):
    found = edge(**keys)
    assert (found["listens"]["redirect"], found["listens"]["main"]) == (redirect, main)
    assert bool(found["insecure"]) == (keys.get("trusted_balancers") is not None and not keys.get("proxy_protocol"))


def test_only_who_is_asked_for_by_an_address_answers_without_a_name():
    tls = {"mode": "selfsigned"}
    assert edge(tls=tls)["listens"]["addresses"] == []
    for address in ("192.0.2.1", "::1"):
        found = edge(tls=tls, server_names=["shop.test", address], **PROXIED)
        assert found["listens"]["addresses"] == ["443 ssl proxy_protocol default_server"]
    assert edge(server_names=["::1"])["listens"]["addresses"] == []


def test_names_are_as_nginx_wants_them():
    found = edge(server_names=["shop.test", "::1", "[::2]"], canonical_name="::1")
    assert found["names"] == ["shop.test", "[::1]", "[::2]"]
    assert (found["main_names"], found["other_names"]) == (["[::1]"], ["shop.test", "[::2]"])
    assert edge(server_names=["a.test", "b.test"])["main_names"] == ["a.test", "b.test"]


@pytest.mark.parametrize(
    ("keys", "https"),
    [
        ({}, "https://$host"),
        ({"https_port": 8443, "canonical_name": "shop.test"}, "https://shop.test:8443"),
        # The port is the balancer's, which nobody here knows.
        ({"https_port": 8443, **BALANCER}, "https://$host"),
    ],
)
def test_where_https_is(keys: dict[str, Any], https: str):
    assert edge(tls={"mode": "selfsigned"}, **keys)["https"] == https


def test_paths_come_as_nginx_takes_them_below_the_sites_own():
    found = edge(
        path="/blog",
        aliases={"/static": "app/static", "/media/": "shared/media/"},
        redirects={"/old": "/new", "/was/": "/is/", "/far": "https://a.test/"},
        locations={"/b/": {"stream": True}, "/a.b": {"proxy_timeout": 5, "client_max_body_size": "1k"}},
        mask_paths=["/r/"],
    )
    assert (found["mount"], found["root"]) == ("/blog", "/blog/")
    assert [(each["location"], each["folder"]) for each in found["aliases"]] == [
        ("^~ /blog/media/", "/srv/shop/shared/media/"),
        ("^~ /blog/static/", "/srv/shop/live/release/app/static/"),
    ]
    assert [bool(each["hashed"]) for each in found["aliases"]] == [False, True]
    assert found["redirects"] == [
        {"location": "= /blog/far", "rewrite": "", "target": "https://a.test/"},
        {"location": "= /blog/old", "rewrite": "", "target": "/blog/new"},
        {"location": "^~ /blog/was/", "rewrite": r"^/blog/was/(?![/\x5C])(.*)$ /blog/is/$1", "target": "/blog/is/"},
    ]
    timeouts = [("proxy_send_timeout", "3600s"), ("proxy_read_timeout", "3600s")]
    assert found["paths"] == [
        {
            "location": "= /blog/a.b",
            "directives": [
                ("client_max_body_size", "1k"), ("proxy_send_timeout", "5s"), ("proxy_read_timeout", "5s"),
            ],
            "stream": False,
        },
        {"location": "^~ /blog/b/", "directives": [("proxy_buffering", "off"), *timeouts], "stream": True},
    ]  # fmt: skip
    assert (found["streams"], found["masks"]) == (["~^/blog/b/"], ["/blog/r/"])
    assert (found["log"], found["log_format"]) == ("shop", '"$sites_request__shop" $sites_referer__shop')


def test_a_path_says_what_it_changes_and_the_rest_is_the_sites():
    found = edge(
        deny=["192.0.2.9"],
        basic_auth={"anna": "hash"},
        limits={"requests": "1r/s"},
        aliases={"/static/": "app/static"},
        locations={
            "/a/": {"allow": ["192.0.2.1"]},
            "/b": {"basic_auth": {}, "limits": {"connections": 3}},
            "/c/": {"limits": {}},
            "/static/": {"deny": []},
        },
    )
    assert found["guards"] == [
        ("deny", "192.0.2.9"), ("allow", "all"), ("auth_basic", '"shop.test"'),
        ("auth_basic_user_file", "/etc/shop/htpasswd"), ("limit_req", "zone=requests_shop burst=20 nodelay"),
    ]  # fmt: skip
    assert {each["location"]: each["directives"] for each in found["paths"]} == {
        "^~ /a/": [("deny", "192.0.2.9"), ("allow", "192.0.2.1"), ("deny", "all")],
        "= /b": [("auth_basic", "off"), ("limit_conn", "connections_shop/b 3"), ("limit_conn", "clients 400")],
        "^~ /c/": [],
    }
    assert found["aliases"][0]["directives"] == [("allow", "all")]
    assert found["counters"] == [
        ("limit_req_zone", "$sites_counted__shop zone=requests_shop:10m rate=1r/s"),
        ("limit_conn_zone", "$sites_client zone=connections_shop/b:10m"),
    ]
    assert found["uncounted"] == ["~^/static/", "~^/c/"]


def test_a_site_that_asks_for_nothing_gets_nothing():
    found = edge()
    assert (found["guards"], found["counters"], found["uncounted"]) == ([], [], None)
    assert (found["cache"], found["cached"], found["lives"]) == (None, [], {})
    assert (found["verify"], found["certified"], found["streams"], found["masks"]) == ("", None, [], [])
    assert (found["log"], found["log_format"], found["asked_scheme"]) == ("sites", "", "$scheme")


@pytest.mark.parametrize(
    ("keys", "words"),
    [
        ({}, ["public", "public"]),
        ({"allow": ["192.0.2.1"]}, ["private", "private"]),
        ({"basic_auth": {"anna": "hash"}, "locations": {"/a/": {"basic_auth": {}}}}, ["public", "private"]),
        ({"locations": {"/b/": {"deny": ["192.0.2.1"]}}}, ["public", "private"]),
        ({"tls": {"mode": "acme", "client_ca": "ca.pem"}}, ["private", "private"]),
        ({"hashed_names": ""}, ["", ""]),
    ],
)
def test_what_has_a_guard_is_kept_by_no_cache_that_is_shared(keys: dict[str, Any], words: list[str]):
    found = edge(aliases={"/a/": "app/a", "/b/": "app/b", "/media/": "shared/media"}, **keys)
    assert [each["life"] for each in found["aliases"]] == [*words, ""]
    assert set(found["lives"]) == set(words) - {""}


def test_answers_are_kept_where_the_page_says_so_and_never_of_streams():
    cache = {"seconds": 5, "stale": 0, "wait": 9}
    found = edge(
        path="/blog",
        micro_cache=cache,
        locations={
            "/off/": {"micro_cache": {"seconds": 0}},
            "/long/": {"micro_cache": {"seconds": 60, "stale": 600}},
            "/stream/": {"stream": True},
        },
    )
    assert (found["cache"]["zone"], found["cache"]["unused"]) == ("micro_shop", 660)
    assert [each["variable"] for each in found["cache"]["unkept"]] == [
        "$sites_unkept_5__shop",
        "$sites_unkept_60__shop",
    ]
    kept, paths = dict(found["cached"]), {each["location"]: dict(each["directives"]) for each in found["paths"]}
    assert (kept["proxy_cache_valid"], kept["proxy_cache_use_stale"]) == ("200 301 302 404 5s", "off")
    assert (kept["proxy_cache_lock_timeout"], kept["proxy_cache_lock_age"]) == ("9s", "9s")
    assert paths["^~ /blog/long/"]["proxy_no_cache"] == "$sites_known__shop $sites_unkept_60__shop"
    assert "proxy_cache" not in paths["^~ /blog/off/"] | paths["^~ /blog/stream/"]


def test_of_a_server_elsewhere_no_release_is_known():
    cache = {"micro_cache": {"seconds": 5}}
    here = edge(**cache)
    there = edge(upstream={**DEFAULTS["upstream"], "servers": ["192.0.2.1:8443"]}, **cache)
    assert here["cache"]["key"] == f"$realpath_root {there['cache']['key']}"
    assert dict(here["cached"])["root"] == "/srv/shop/live/release" and "root" not in dict(there["cached"])


def test_certificates_are_wanted_as_the_most_special_path_says():
    tls = {"mode": "provided", "client_ca": "ca.pem"}
    assert (edge(tls=tls)["verify"], edge(tls=tls)["certified"]) == ("on", None)
    assert edge(tls={**tls, "client_verify": "optional"})["verify"] == "optional"
    optional, required = {"client_verify": "optional"}, {"client_verify": "required"}
    found = edge(tls=tls, locations={"/a/": optional, "/a/b/": required, "/a/b/c": optional, "/d/": {"deny": []}})
    assert found["verify"] == "optional"
    assert [(each["pattern"], each["wants"]) for each in found["certified"]["paths"]] == [
        (r"~^/a/b/c\z", "optional"), ("~^/a/b/", "required"), ("~^/a/", "optional"),
    ]  # fmt: skip
    assert found["certified"]["default"] == "required"


def test_headers_of_every_answer():
    found = edge(headers={"X-Frame-Options": "", "X-Robots-Tag": "noindex"}, tls={"mode": "selfsigned", "hsts": 60})
    assert [each["name"] for each in found["headers"]] == ["X-Request-ID", "Strict-Transport-Security", "X-Robots-Tag"]
    strict, robots = found["header_maps"]
    assert (strict["of"], strict["unsaid"]) == ("$scheme:$sent_http_strict_transport_security", "https:")
    assert robots == {
        "of": "$sent_http_x_robots_tag", "unsaid": "", "variable": "$sites_header_x_robots_tag__shop",
        "value": "noindex",
    }  # fmt: skip


@pytest.mark.parametrize(
    ("keys", "speaks", "timeouts"),
    [
        ({}, False, {"proxy_send_timeout", "proxy_read_timeout"}),
        ({"uwsgi": {"protocol": "http"}}, False, {"proxy_send_timeout", "proxy_read_timeout"}),
        ({"server": "uwsgi", "uwsgi": {"protocol": "http"}}, False, {"proxy_send_timeout", "proxy_read_timeout"}),
        (
            {"server": "uwsgi"},
            True,
            {"proxy_send_timeout", "proxy_read_timeout", "uwsgi_send_timeout", "uwsgi_read_timeout"},
        ),
    ],
)
def test_the_uwsgi_protocol_is_spoken_where_the_page_says_so(keys: dict[str, Any], speaks: bool, timeouts: set[str]):
    found = edge(locations={"/long": {"proxy_timeout": 600}, "/events": {"stream": True}}, **keys)
    assert found["uwsgi"] is speaks
    stream, long = found["paths"]
    assert {name for name, _ in long["directives"]} == timeouts
    assert not any(name.startswith("uwsgi") for name, _ in stream["directives"]), "streams go by http"


def test_servers_elsewhere_are_asked_again_only_as_often_as_that_helps():
    assert edge()["front"] is None
    upstream = {"servers": ["192.0.2.1:1"], "tls": True, "ca": "x", "name": ""}
    alone = edge(upstream=upstream)
    assert alone["front"]["servers"] == ["192.0.2.1:1 max_fails=0"] * 2
    assert (alone["front"]["retry"], alone["front"]["tries"], alone["backend"]) == ("error", 2, "https://site_shop")
    assert alone["front"]["verified"] == {"name": "shop.test", "ca": "/etc/nginx/upstream-ca/shop.pem"}
    many = edge(upstream={**upstream, "tls": False, "servers": [f"192.0.2.{each}:1" for each in range(1, 6)]})
    assert (many["front"]["retry"], many["front"]["tries"]) == ("error timeout", 3)
    assert (many["front"]["verified"], many["backend"]) == (None, "http://site_shop")
