"""Rules for host names, addresses and ports."""

from __future__ import annotations

import ipaddress
import re

from ansible_collections.wsgi.sites.plugins.plugin_utils.config.rules.basic import (
    between,
)

LABEL = r"[a-z0-9_]([a-z0-9_-]{0,61}[a-z0-9_])?"


def is_address(name: str) -> bool:
    """Whether a name is an address. Not one with an interface, for which Python takes any text behind a %."""
    try:
        ipaddress.ip_address(name)
    except ValueError:
        return False
    return "%" not in name


def server_name(value: str) -> str | None:
    """A host name, a wildcard in front, or an address."""
    name = str(value).lower()
    if not str(value).isascii():
        return "has letters that DNS does not know; write it as xn--…"
    if is_address(name):
        return None
    if "://" in name or "/" in name:
        return "give the bare name, without scheme and path"
    if name.startswith("["):
        return "write an IPv6 address without brackets"
    if re.fullmatch(r"[0-9.]+", name):
        return "looks like an address and is not one; give four numbers from 0 to 255"
    if len(name) <= 253 and name != "_" and re.fullmatch(rf"(\*\.)?{LABEL}(\.{LABEL})*", name):
        return None
    return "give a host name (letters, digits, hyphens, dots), *.NAME or an address; the port is http_port"


def address_port(value: str) -> str | None:
    """``ADDRESS:PORT``, with an IPv6 address in brackets."""
    match = re.fullmatch(r"(\[[0-9a-f:.]+\]|[0-9.]+):([0-9]{1,5})", str(value).lower())
    try:
        ipaddress.ip_address(match[1].strip("[]"))  # type: ignore[index]
        return between(1, 65535)(int(match[2]))  # type: ignore[index]
    except (TypeError, ValueError):
        return 'give "ADDRESS:PORT", such as "127.0.0.1:5000" or "[::1]:5000"'


def stats_place(value: str) -> str | None:
    """The address of uWSGI's stats server, which only this host may reach."""
    loopback = str(value).rpartition(":")[0] in ("127.0.0.1", "[::1]") and address_port(value) is None
    return None if value == "socket" or loopback else "use socket, or a port of loopback: 127.0.0.1:9191"


def upstream_server(value: str) -> str | None:
    """Where a server on another host listens; a name could keep nginx from starting."""
    if re.fullmatch(r"[A-Za-z_][A-Za-z0-9_.-]*:[0-9]+", str(value)):
        return (
            "holds a name, and without an answer from DNS nginx would not start; give the address and the port (of a "
            "host of the inventory: hostvars.HOST.ansible_host)"
        )
    return 'give "ADDRESS:PORT", such as "192.0.2.21:8443" or "[2001:db8::21]:8443"' if address_port(value) else None


def network(value: str) -> str | None:
    """An address or a network, as gunicorn takes them."""
    try:
        if "%" in str(value):  # behind which Python takes any text for the name of an interface
            raise ValueError
        ipaddress.ip_network(str(value))
    except ValueError:
        return "give an address or a network, such as 10.0.0.5 or 10.0.0.0/24"
    return None


def balancer(value: str) -> str | None:
    """An address or network, but not all addresses."""
    problem = network(value)
    everyone = problem is None and ipaddress.ip_network(str(value)).prefixlen == 0
    return "would trust every client; name the balancer's own addresses" if everyone else problem
