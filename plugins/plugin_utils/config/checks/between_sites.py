"""Conflicts between the sites of one host."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

from ansible_collections.wsgi.sites.plugins.module_utils.system.sockets import overlap, split
from ansible_collections.wsgi.sites.plugins.plugin_utils.config.checks.mounts import check_mount
from ansible_collections.wsgi.sites.plugins.plugin_utils.config.checks.values import items, port_keys
from ansible_collections.wsgi.sites.plugins.plugin_utils.config.reading import BROKEN, Reading
from ansible_collections.wsgi.sites.plugins.plugin_utils.config.rules.network import address_port, is_address

Sites = Mapping[str, dict[str, Any]]


def between_sites(config: Reading) -> None:
    """Check what two sites on one host cannot share."""
    present = {name: site for name, site in config.sites.items() if site.get("state") == "present"}
    nginx_ports = _ports(config, present)
    _names(config, present)
    _addresses(config, present)
    _users_and_roots(config, present)
    _binds(config, present, nginx_ports)
    for name, site in present.items():
        if site["path"] != "/" and isinstance(site["path"], str):
            check_mount(config, name, site, present)
    _proxy_protocol(config, present)


def _ports(config: Reading, present: Sites) -> dict[str, tuple[str, str]]:
    """A port of nginx is for http or https; returns each with the site and key that name it first."""
    ports: dict[str, tuple[str, str]] = {}
    for name, site in present.items():
        for key in port_keys(site):
            if isinstance(site[key], int):
                other, its = ports.setdefault(str(site[key]), (name, key))
                if its != key:
                    config.report(f"{name}.{key}", f"is the {its} of {other}; http and https need a port each")
    return ports


def _names(config: Reading, present: Sites) -> None:
    """A name on a port and path belongs to one site."""
    names: dict[tuple[str, Any, Any], str] = {}
    for name, site in present.items():
        given = [one.lower() for one in items(site["server_names"])]
        for number, one in enumerate(given):
            place = f"{name}.server_names[{number}]"
            first = [names.setdefault((one, site[key], site["path"]), name) for key in port_keys(site)]
            if others := [other for other in first if other != name]:
                config.report(place, f"is also a name of {others[0]}; a name belongs to one site, or one gets a path")
            elif given.index(one) < number:
                config.report(place, "is there twice; leave one out")


def _addresses(config: Reading, present: Sites) -> None:
    """Clients that connect by address send no SNI: nginx has one certificate for them on a port."""
    addressed: dict[Any, str] = {}
    for name, site in present.items():
        if "https_port" not in port_keys(site):
            continue
        for number, given in enumerate(items(site["server_names"])):
            first = addressed.setdefault(site["https_port"], name) if is_address(given) else name
            # Below a path of another site, its names, addresses too, are the other's.
            if first != name and given not in items(present[first]["server_names"]):
                config.report(
                    f"{name}.server_names[{number}]",
                    f"is an address, and {first} has one on this https_port; clients that connect by address send no "
                    "name to choose a certificate by, so give one of the sites another https_port",
                )


def _users_and_roots(config: Reading, present: Sites) -> None:
    """Each site has a user and a root of its own."""
    seen: dict[tuple[str, str], str] = {}
    for name, site in present.items():
        for key in ("user", "root"):
            first = seen.setdefault((key, str(site[key]).rstrip("/")), name)
            if first != name and site[key] is not BROKEN:
                config.report(f"{name}.{key}", f"is also that of {first}; give each site its own")
    roots = {name: str(site["root"]).rstrip("/") for name, site in present.items()}
    for name, root in roots.items():
        if outer := next((other for other, above in roots.items() if root.startswith(f"{above}/")), None):
            config.report(f"{name}.root", f"lies inside that of {outer}; give each site its own")


def _binds(config: Reading, present: Sites, nginx_ports: Mapping[str, tuple[str, str]]) -> None:
    """A TCP listener of a server has its port to itself."""
    binds: list[tuple[str, str, str]] = []
    for name, site in present.items():
        binds += [(f"{name}.bind", f"{name}.bind[{n}]", given) for n, given in enumerate(items(site["bind"]))]
        stats = site["uwsgi"].get("stats") if isinstance(site["uwsgi"], Mapping) else ""
        if site["server"] == "uwsgi" and isinstance(stats, str) and ":" in stats:
            binds.append((f"{name}.uwsgi.stats", f"{name}.uwsgi.stats", stats))
    binds = [each for each in binds if address_port(each[2]) is None]
    for number, (_, place, given) in enumerate(binds):
        address, port = split(given)
        if str(port) in nginx_ports:
            config.report(place, f"takes the port of nginx ({'.'.join(nginx_ports[str(port)])}); choose another")
        for other, _, taken in binds[:number]:
            taken_address, taken_port = split(taken)
            if port == taken_port and overlap(address, taken_address):
                config.report(place, f"takes a port that {other} takes too; choose another")


def _proxy_protocol(config: Reading, present: Sites) -> None:
    """A port of nginx speaks it for all sites or for none."""
    first: dict[Any, str] = {}
    for name, site in present.items():
        firsts = [first.setdefault(site[key], name) for key in port_keys(site)]
        others = [one for one in firsts if present[one]["proxy_protocol"] is not site["proxy_protocol"]]
        if others:
            config.report(
                f"{name}.proxy_protocol", f"differs from that of {others[0]} on the same port; give both the same value"
            )
