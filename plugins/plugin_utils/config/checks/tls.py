"""Names, certificates and client certificates of a site."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

from ansible_collections.wsgi.sites.plugins.plugin_utils.config import certificate_files
from ansible_collections.wsgi.sites.plugins.plugin_utils.config.checks.values import items
from ansible_collections.wsgi.sites.plugins.plugin_utils.config.reading import BROKEN, Reading
from ansible_collections.wsgi.sites.plugins.plugin_utils.config.rules.network import is_address, server_name


def check_names(config: Reading, name: str, site: dict[str, Any]) -> None:
    """The canonical name is one of the names, and one that clients can be sent to."""
    canonical = site["canonical_name"]
    if canonical is BROKEN or not canonical:
        return
    if canonical not in items(site["server_names"]):
        config.report(f"{name}.canonical_name", "is none of server_names; add it there, or use one of them")
    elif str(canonical).startswith("*."):
        config.report(f"{name}.canonical_name", "is a wildcard, to which no client can be redirected; name one host")


def check_tls(config: Reading, name: str, site: dict[str, Any], tls: Mapping[str, Any]) -> None:
    """The certificate, and what depends on it."""
    mode = tls.get("mode")
    given = {key: str(tls[key]) for key in (*certificate_files.PARTS, "client_ca") if isinstance(tls.get(key), str)}
    if mode == "provided" and len(given) == len(certificate_files.PARTS) + 1:
        names = [one for one in items(site["server_names"]) if server_name(one) is None]
        for key, words in certificate_files.problems(given, names, config.loader.get_text_file_contents):
            config.report(f"{name}.tls.{key}", words)
    elif mode in ("none", "selfsigned", "acme"):
        for key in certificate_files.PARTS:
            if given.get(key):
                config.report(f"{name}.tls.{key}", "has no effect with this mode; set mode: provided, or leave it out")
    if mode == "acme":
        _acme(config, name, site)
    if given.get("client_ca") and mode == "none":
        config.report(f"{name}.tls.client_ca", "needs https; give tls a mode")
    elif given.get("client_ca"):
        try:
            text = certificate_files.text_of("client_ca", given["client_ca"], config.loader.get_text_file_contents)
            certificate_files.certificates_in("client_ca", text)
        except certificate_files.PairError as error:
            config.report(f"{name}.tls.{error.key}", error.words)
        _client_certificates(config, name, site, tls)
    if tls.get("http3") is True and site["trusted_balancers"]:
        config.report(f"{name}.tls.http3", "uses UDP, which no balancer forwards; leave out http3 or trusted_balancers")
    if not given.get("client_ca"):
        for path, keys in site["locations"].items() if isinstance(site["locations"], Mapping) else ():
            if isinstance(keys, Mapping) and "client_verify" in keys:
                config.report(f"{name}.locations.{path}.client_verify", "checks nothing without tls.client_ca")


def _client_certificates(config: Reading, name: str, site: dict[str, Any], tls: Mapping[str, Any]) -> None:
    """Every way to a site with client certificates verifies them."""
    if site["trusted_balancers"] and site["proxy_protocol"] is False:
        config.report(
            f"{name}.tls.client_ca",
            "sees no certificate behind a balancer that speaks HTTP; let the balancer forward TLS, and set "
            "proxy_protocol: true",
        )
    if tls.get("redirect") is False and tls.get("client_verify") == "required":
        config.report(f"{name}.tls.redirect", "allows plain http without a certificate; leave it true")


def _acme(config: Reading, name: str, site: dict[str, Any]) -> None:
    """Names and ports that ACME's http-01 cannot verify."""
    names = items(site["server_names"])
    for number, given in enumerate(names):
        if given.startswith("*."):
            words = "is a wildcard, which tls.mode acme cannot prove; name the hosts, or provide a certificate"
            config.report(f"{name}.server_names[{number}]", words)
    if names and all(is_address(given) for given in names):
        words = "holds addresses alone, and tls.mode acme needs a name; give one, or set selfsigned"
        config.report(f"{name}.server_names", words)
    if site["http_port"] not in (80, BROKEN):
        config.report(f"{name}.http_port", "must be 80 for tls.mode acme: the authority fetches its token there")


def check_balancers(config: Reading, name: str, site: dict[str, Any]) -> None:
    """Keys that depend on the addresses of balancers."""
    if site["proxy_protocol"] is True and not site["trusted_balancers"]:
        config.report(f"{name}.trusted_balancers", "is missing; proxy_protocol is accepted from these addresses alone")
    if isinstance(site["ban"], Mapping) and site["ban"].get("failures") and site["trusted_balancers"]:
        config.report(
            f"{name}.ban.failures",
            "would close the ports to the balancer, which sends all packets; ban there, or use limits",
        )
