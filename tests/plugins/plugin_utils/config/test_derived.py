"""Values that are derived from a site's keys."""

from __future__ import annotations

from typing import Any

import pytest
import yaml
from project import PROJECT

from ansible_collections.wsgi.sites.plugins.plugin_utils.config.derived import DERIVED, with_derived
from ansible_collections.wsgi.sites.plugins.plugin_utils.config.reading import site_spec

DEFAULTS = yaml.safe_load((PROJECT / "roles/site/defaults/main.yml").read_text())["site_keys"]


def derived(**keys: Any) -> dict[str, Any]:
    """The derived values of a site with these keys."""
    entry = with_derived("shop", {**DEFAULTS, "server_names": ["shop.test", "www.shop.test"], **keys})
    return {key: entry[key] for key in DERIVED}


TLS = {"mode": "selfsigned"}


@pytest.mark.parametrize(
    ("keys", "https", "url"),
    [
        ({}, False, "http://shop.test/"),
        ({"http_port": 8080, "https_port": 9}, False, "http://shop.test:8080/"),
        ({"tls": TLS}, True, "https://shop.test/"),
        ({"tls": TLS, "https_port": 8443, "http_port": 9}, True, "https://shop.test:8443/"),
        ({"tls": TLS, "https_port": 80}, True, "https://shop.test:80/"),
        ({"canonical_name": "www.shop.test", "path": "/blog"}, False, "http://www.shop.test/blog/"),
        ({"server_names": ["2001:db8::1"]}, False, "http://[2001:db8::1]/"),
        ({"server_names": ["[2001:db8::1]"], "http_port": 8080}, False, "http://[2001:db8::1]:8080/"),
    ],
)
def test_a_sites_scheme_and_url_follow_from_its_keys(keys: dict[str, Any], https: bool, url: str) -> None:
    found = derived(**keys)
    assert (found["https"], found["scheme"], found["url"]) == (https, url.partition(":")[0], url)


def test_nginx_uses_the_port_for_https_only_where_the_site_has_it() -> None:
    assert derived(http_port=8080)["ports"] == [8080]
    assert derived(http_port=8080, tls=TLS)["ports"] == [8080, 443]


def test_the_public_folders_are_those_of_the_release_each_once() -> None:
    aliases = {"/static/": "app/static/", "/s/": "app/static", "/admin/": "packages/admin/static", "/m/": "shared/m"}
    assert derived(aliases=aliases)["public"] == ["app/static", "packages/admin/static"]
    assert derived(aliases=aliases, error_pages="app/errors/")["public"] == [
        "app/errors", "app/static", "packages/admin/static",
    ]  # fmt: skip


def test_servers_on_other_hosts_are_asked_for_the_sites_first_name() -> None:
    assert derived()["remote"] == {}
    servers = {**DEFAULTS["upstream"], "servers": ["192.0.2.1:8443"]}
    found = derived(upstream=servers, tls=TLS)["remote"]
    assert found["name"] == found["health"]["host"] == "shop.test"
    assert (found["ca"], found["health"]["scheme"]) == ("/etc/nginx/upstream-ca/shop.pem", "https")
    plain = derived(upstream={**servers, "tls": False, "name": "app.test"}, health={**DEFAULTS["health"], "host": "h"})
    assert (plain["remote"]["ca"], plain["remote"]["name"], plain["remote"]["health"]["host"]) == ("", "app.test", "h")


def test_a_derived_value_with_invalid_keys_is_omitted() -> None:
    entry = with_derived("shop", {"aliases": {}, "error_pages": "", "server_names": []})
    assert DERIVED & entry.keys() == {"name", "public"}


def test_derived_values_are_in_the_spec_of_an_entry_and_not_of_the_site_config() -> None:
    specs = yaml.safe_load((PROJECT / "roles/site/meta/argument_specs.yml").read_text())["argument_specs"]
    assert specs["main"]["options"]["site_entry"]["options"].keys() >= DERIVED
    assert not DERIVED & site_spec(specs).keys()
