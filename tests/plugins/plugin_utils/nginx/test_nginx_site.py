"""Values for the templates of a site; nginx itself tests their output in tests/roles/nginx."""

from __future__ import annotations

from typing import Any

import pytest
import yaml
from project import PROJECT

from ansible_collections.wsgi.sites.plugins.plugin_utils.config.derived import with_derived
from ansible_collections.wsgi.sites.plugins.plugin_utils.nginx.files import owner_of
from ansible_collections.wsgi.sites.plugins.plugin_utils.nginx.listeners import ports
from ansible_collections.wsgi.sites.plugins.plugin_utils.nginx.site import Host, settings

DEFAULTS = yaml.safe_load((PROJECT / "roles/site/defaults/main.yml").read_text())["site_keys"]


def entry(**keys: Any) -> dict[str, Any]:
    """The merged entry of a site with these keys."""
    site = {**DEFAULTS, "root": "/srv/shop", "server_names": ["shop.test"], **keys}
    for key in ("tls", "limits", "gunicorn", "uwsgi", "micro_cache"):
        site[key] = {**DEFAULTS[key], **keys.get(key, {})}
    return with_derived("shop", site)


def edge(version: str = "1.26.3", ipv6: bool = False, owner: str = "", **keys: Any) -> dict[str, Any]:
    """The values for a site with these keys."""
    host = Host(version, ipv6, client_connections=400, log_format='"$request" $http_referer')
    return settings(entry(**keys), host, owner)


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
        # Only the server with the site's content knows the scheme of the client's request to the balancer.
        ({"tls": {"mode": "selfsigned"}, **BALANCER}, [], ["80", "443 ssl"]),
        ({"tls": {"mode": "selfsigned"}, **PROXIED}, ["80 proxy_protocol"], ["443 ssl proxy_protocol"]),
    ],
)
def test_listen_directives_of_each_server(keys: dict[str, Any], redirect: list[str], main: list[str]):
    found = edge(**keys)
    assert (found["listens"]["redirect"], found["listens"]["main"]) == (redirect, main)
    assert bool(found["insecure"]) == (keys.get("trusted_balancers") is not None and not keys.get("proxy_protocol"))


def test_only_a_site_with_addresses_answers_without_sni():
    tls = {"mode": "selfsigned"}
    assert edge(tls=tls)["listens"]["addresses"] == []
    for address in ("192.0.2.1", "::1"):
        found = edge(tls=tls, server_names=["shop.test", address], **PROXIED)
        assert found["listens"]["addresses"] == ["443 ssl proxy_protocol default_server"]
    assert edge(server_names=["::1"])["listens"]["addresses"] == []


def test_names_are_in_the_syntax_of_nginx():
    found = edge(server_names=["shop.test", "::1", "[::2]"], canonical_name="::1")
    assert found["names"] == ["shop.test", "[::1]", "[::2]"]
    assert (found["main_names"], found["other_names"]) == (["[::1]"], ["shop.test", "[::2]"])
    assert edge(server_names=["a.test", "b.test"])["main_names"] == ["a.test", "b.test"]


@pytest.mark.parametrize(
    ("keys", "https"),
    [
        ({}, "https://$host"),
        ({"https_port": 8443, "canonical_name": "shop.test"}, "https://shop.test:8443"),
        # The port is that of the balancer, which is unknown here.
        ({"https_port": 8443, **BALANCER}, "https://$host"),
    ],
)
def test_the_url_of_redirects_to_https(keys: dict[str, Any], https: str):
    assert edge(tls={"mode": "selfsigned"}, **keys)["https_url"] == https


def test_paths_become_locations_below_the_path_of_the_site():
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
        ("^~ /blog/static/", "/srv/shop/live/public/app/static/"),
    ]
    assert [each["safe"] for each in found["aliases"]] == ["/srv/shop/shared/media/", ""]
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


def test_a_path_repeats_what_it_changes_and_inherits_the_rest():
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
    assert found["access"] == [
        ("deny", "192.0.2.9"), ("allow", "all"), ("auth_basic", '"shop.test"'),
        ("auth_basic_user_file", "/etc/shop/htpasswd"), ("limit_req", "zone=requests_shop burst=20 nodelay"),
    ]  # fmt: skip
    assert {each["location"]: each["directives"] for each in found["paths"]} == {
        "^~ /a/": [("deny", "192.0.2.9"), ("allow", "192.0.2.1"), ("deny", "all")],
        "= /b": [("auth_basic", "off"), ("limit_conn", "connections_shop/b 3"), ("limit_conn", "clients 400")],
        "^~ /c/": [],
    }
    assert found["aliases"][0]["directives"] == [("allow", "all")]
    assert found["limit_zones"] == [
        ("limit_req_zone", "$sites_counted__shop zone=requests_shop:10m rate=1r/s"),
        ("limit_conn_zone", "$sites_client zone=connections_shop/b:10m"),
    ]
    assert found["unlimited"] == ["~^/static/", "~^/c/"]


def test_a_site_without_settings_gets_no_directives_for_them():
    found = edge()
    assert (found["access"], found["limit_zones"], found["unlimited"]) == ([], [], None)
    assert (found["cache"], found["root_directives"], found["cache_control"]) == (None, [], None)
    assert (found["verify"], found["client_verify"], found["streams"], found["masks"]) == ("", None, [], [])
    assert (found["log"], found["log_format"], found["client_scheme"]) == ("sites", "", "$scheme")


@pytest.mark.parametrize(
    ("keys", "expected"),
    [
        ({}, {"public": ["/a/", "/b/"]}),
        ({"path": "/blog"}, {"private": ["/blog/a/", "/blog/b/"]}),
        ({"allow": ["192.0.2.1"]}, {"private": ["/a/", "/b/"]}),
        (
            {"basic_auth": {"anna": "hash"}, "locations": {"/a/": {"basic_auth": {}}}},
            {"private": ["/b/"], "public": ["/a/"]},
        ),
        ({"locations": {"/b/": {"deny": ["192.0.2.1"]}}}, {"private": ["/b/"], "public": ["/a/"]}),
        ({"tls": {"mode": "acme", "client_ca": "ca.pem"}}, {"private": ["/a/", "/b/"]}),
        ({"hashed_names": ""}, {}),
    ],
)
def test_hashed_files_are_immutable_and_shared_caches_keep_no_restricted_ones(
    keys: dict[str, Any], expected: dict[str, list[str]]
):
    keys = {"hashed_names": "x|y", **keys}
    found = edge(aliases={"/a/": "app/a", "/b/": "app/b", "/media/": "shared/media"}, **keys)["cache_control"]
    assert found["default"] == "max-age=3600"
    assert found["immutable"] == [
        {"pattern": f"~^(?:{'|'.join(places)})(?:x|y)$", "value": f"{audience}, max-age=31536000, immutable"}
        for audience, places in expected.items()
    ]


def test_responses_are_cached_as_configured_and_never_of_streams():
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
    assert (found["cache"]["zone"], found["cache"]["inactive"]) == ("micro_shop", 660)
    assert [each["variable"] for each in found["cache"]["uncacheable"]] == [
        "$sites_unkept_5__shop",
        "$sites_unkept_60__shop",
    ]
    kept, paths = (
        dict(found["root_directives"]),
        {each["location"]: dict(each["directives"]) for each in found["paths"]},
    )
    assert (kept["proxy_cache_valid"], kept["proxy_cache_use_stale"]) == ("200 301 302 404 5s", "off")
    assert (kept["proxy_cache_lock_timeout"], kept["proxy_cache_lock_age"]) == ("9s", "9s")
    assert paths["^~ /blog/long/"]["proxy_no_cache"] == "$sites_known__shop $sites_unkept_60__shop"
    assert "proxy_cache" not in paths["^~ /blog/off/"] | paths["^~ /blog/stream/"]


def test_the_cache_key_has_no_release_of_remote_servers():
    cache = {"micro_cache": {"seconds": 5}}
    here = edge(**cache)
    there = edge(upstream={**DEFAULTS["upstream"], "servers": ["192.0.2.1:8443"]}, **cache)
    assert here["cache"]["key"] == f"$realpath_root {there['cache']['key']}"
    assert dict(here["root_directives"])["root"] == "/srv/shop/live/release" and "root" not in dict(
        there["root_directives"]
    )


def test_the_most_special_path_decides_on_client_certificates():
    tls = {"mode": "provided", "client_ca": "ca.pem"}
    assert (edge(tls=tls)["verify"], edge(tls=tls)["client_verify"]) == ("on", None)
    assert edge(tls={**tls, "client_verify": "optional"})["verify"] == "optional"
    optional, required = {"client_verify": "optional"}, {"client_verify": "required"}
    found = edge(tls=tls, locations={"/a/": optional, "/a/b/": required, "/a/b/c": optional, "/d/": {"deny": []}})
    assert found["verify"] == "optional"
    assert [(each["pattern"], each["wants"]) for each in found["client_verify"]["paths"]] == [
        (r"~^/a/b/c\z", "optional"), ("~^/a/b/", "required"), ("~^/a/", "optional"),
    ]  # fmt: skip
    assert found["client_verify"]["default"] == "required"


def test_headers_of_every_response():
    found = edge(headers={"X-Frame-Options": "", "X-Robots-Tag": "noindex"}, tls={"mode": "selfsigned", "hsts": 60})
    assert [each["name"] for each in found["headers"]] == ["X-Request-ID", "Strict-Transport-Security", "X-Robots-Tag"]
    strict, robots = found["header_maps"]
    assert (strict["source"], strict["unset"]) == ("$scheme:$sent_http_strict_transport_security", "https:")
    assert robots == {
        "source": "$sent_http_x_robots_tag", "unset": "", "variable": "$sites_header_x_robots_tag__shop",
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
def test_the_uwsgi_protocol_is_used_as_configured(keys: dict[str, Any], speaks: bool, timeouts: set[str]):
    found = edge(locations={"/long": {"proxy_timeout": 600}, "/events": {"stream": True}}, **keys)
    assert found["uwsgi"] is speaks
    stream, long = found["paths"]
    assert {name for name, _ in long["directives"]} == timeouts
    assert not any(name.startswith("uwsgi") for name, _ in stream["directives"]), "streams use HTTP"


def test_requests_to_remote_servers_are_retried_within_limits():
    assert edge()["upstream"] is None
    upstream = {"servers": ["192.0.2.1:1"], "tls": True, "ca": "x", "name": ""}
    alone = edge(upstream=upstream)
    assert alone["upstream"]["servers"] == ["192.0.2.1:1 max_fails=0"] * 2
    assert (alone["upstream"]["retry"], alone["upstream"]["tries"], alone["backend"]) == (
        "error",
        2,
        "https://site_shop",
    )
    assert alone["upstream"]["verified"] == {"name": "shop.test", "ca": "/etc/nginx/upstream-ca/shop.pem"}
    many = edge(upstream={**upstream, "tls": False, "servers": [f"192.0.2.{each}:1" for each in range(1, 6)]})
    assert (many["upstream"]["retry"], many["upstream"]["tries"]) == ("error timeout", 3)
    assert (many["upstream"]["verified"], many["backend"]) == (None, "http://site_shop")


def test_a_site_has_files_for_what_it_uses_and_shares_others():
    etc = "/etc/nginx"
    found = edge()
    assert list(found["templates"]) == [
        f"{etc}/sites-http/shop.conf", f"{etc}/sites-headers/shop.conf", f"{etc}/sites-available/shop.conf",
    ]  # fmt: skip
    assert list(found["shared_templates"]) == [f"{etc}/conf.d/unknown-names.conf", f"{etc}/conf.d/sites-errors.conf"]
    assert found["links"] == {f"{etc}/sites-enabled/shop.conf": "../sites-available/shop.conf"}
    assert found["unused_caches"] == ["/var/cache/nginx-shop"]
    found = edge(
        tls={"mode": "acme", "client_ca": "ca.pem"}, server="uwsgi", upstream={**DEFAULTS["upstream"], "ca": "x"}
    )
    assert f"{etc}/client-ca/shop.pem" in found["templates"] and f"{etc}/upstream-ca/shop.pem" not in found["templates"]
    assert list(found["shared_templates"])[2:] == [
        f"{etc}/snippets/sites-{name}.conf" for name in ("acme-challenge", "uwsgi-params", "cleared-headers")
    ]
    found = edge(upstream={"servers": ["192.0.2.1:1"], "tls": True, "ca": "x", "name": ""}, micro_cache={"seconds": 5})
    assert f"{etc}/upstream-ca/shop.pem" in found["templates"] and found["unused_caches"] == []


def test_a_site_below_a_path_is_included_by_the_site_above_it():
    names = {"server_names": ["a.test", "b.test"]}
    blog = entry(path="/blog", **names)
    above = {
        "absent": entry(state="absent", **names), "port": entry(http_port=81, **names), "other": entry(),
        "path": entry(path="/x", **names), "town": entry(**names),
    }  # fmt: skip
    assert (owner_of(blog, above), owner_of(entry(**names), above)) == ("town", "")
    assert owner_of(blog, {"other": entry()}) == ""
    found = edge(path="/blog", owner="town", tls={"mode": "provided", "client_ca": "ca.pem"})
    assert list(found["templates"])[2:] == ["/etc/nginx/sites-below/town/shop.conf"] and found["links"] == {}


def test_ports_are_listed_by_their_use():
    tls = {"mode": "selfsigned"}
    sites = [
        entry(), entry(http_port=8080, https_port=8443, tls={**tls, "http3": True}),
        entry(http_port=81, **PROXIED), entry(http_port=82, https_port=445, tls=tls, **PROXIED),
    ]  # fmt: skip
    assert ports(sites, "1.26.3") == {
        "http": [80, 81, 82, 8080], "https": [445, 8443], "http3": [8443], "proxy_protocol": [81, 82, 445],
    }  # fmt: skip
    assert ports(sites, "1.22.1")["http3"] == []
