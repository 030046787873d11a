"""Conflicts between a host's state and its sites, each with place and remedy."""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from dataclasses import dataclass, field
from typing import Any

from ansible_collections.wsgi.sites.plugins.module_utils.inspection import site_names
from ansible_collections.wsgi.sites.plugins.module_utils.inspection.host import Host
from ansible_collections.wsgi.sites.plugins.module_utils.inspection.nginx_servers import servers
from ansible_collections.wsgi.sites.plugins.module_utils.inspection.socket_holders import Holder, holders
from ansible_collections.wsgi.sites.plugins.module_utils.system.sockets import Socket, overlap, sockets, split


@dataclass(frozen=True)
class Site:
    """The settings of a site that can conflict."""

    name: str
    # Both empty for a site whose servers are on other hosts.
    root: str
    user: str
    server_names: list[str] = field(default_factory=list)
    http_port: int = 80
    bind: list[str] = field(default_factory=list)
    # 0 without https.
    https_port: int = 0

    @property
    def ports(self) -> dict[int, str]:
        """The ports of nginx for the site, with the key of each."""
        return {self.http_port: "http_port"} | ({self.https_port: "https_port"} if self.https_port else {})

    @classmethod
    def of(cls, entry: Mapping[str, Any]) -> Site:
        """One entry of the parameter `sites` of host_inspect."""
        keys = {key: entry[key] for key in ("name", "root", "user", "server_names", "http_port", "bind")}
        if entry["upstream"].get("servers"):
            keys |= {"root": "", "user": ""}
        return cls(**keys, https_port=entry["https_port"] if entry["https"] else 0)


def collisions(host: Host, sites: list[Site]) -> list[str]:
    """All conflicts, in the order in which an operator best resolves them."""
    found = [*ports(host, sites), *server_blocks(host, sites), *main_files(host)]
    for site in sites:
        found += site_names.taken(host, site.name, site.root, site.user)
    return found


def ports(host: Host, sites: list[Site]) -> Iterator[str]:
    """Ports of nginx or of a site that another process listens on."""
    by_port: dict[int, list[Site]] = {}
    binds: dict[int, list[tuple[Site, str]]] = {}
    for site in sites:
        for port in site.ports:
            by_port.setdefault(port, []).append(site)
        for bind in site.bind:
            address, number = split(bind)
            binds.setdefault(number, []).append((site, address))
    found = [each for each in sockets(prefix=host.prefix) if each.port in by_port or each.port in binds]
    known = holders(host, {each.inode for each in found})
    lines: dict[tuple[object, ...], str] = {}
    for each in found:
        holder = known.get(each.inode)
        if each.port in by_port and (holder is None or holder.name != "nginx"):
            lines.setdefault((each.port, str(holder)), _port_taken(each, holder, by_port[each.port]))
        for site, address in binds.get(each.port, []):
            if _hinders(host, each, holder, site, address):
                lines.setdefault((each.port, str(holder), site.name), _bind_taken(each, holder, site, address))
    yield from lines.values()


def _hinders(host: Host, listener: Socket, holder: Holder | None, site: Site, address: str) -> bool:
    """Whether a listener blocks an address of the site and does not belong to it."""
    if not overlap(address, listener.address):
        return False
    place = f"{holder.cwd} {holder.command}" if holder else ""
    if host.record(site.name) and site_names.mentions(place, site.root):
        return False
    # In a container without SYS_PTRACE root cannot see the holder of another user's socket.
    return holder is not None or f"{address}:{listener.port}" not in host.live_listeners(site.name)


def _words(holder: Holder | None) -> tuple[str, str]:
    """The holder of a port, and how to stop it."""
    if holder is None:
        return "a process that this host does not show", "Find it and stop it"
    return str(holder), f"Stop it and keep it from starting (such as: systemctl disable --now {holder.name})"


def _port_taken(listener: Socket, holder: Holder | None, sites: list[Site]) -> str:
    names, key = ", ".join(site.name for site in sites), sites[0].ports[listener.port]
    held_by, stop = _words(holder)
    return (
        f"Port {listener.port}, {key} of {names}, is held by {held_by} on {listener.address}. {stop},"
        f" or set {key} of {names} to a free port."
    )


def _bind_taken(listener: Socket, holder: Holder | None, site: Site, address: str) -> str:
    held_by, stop = _words(holder)
    return (
        f"{site.name}: bind {address}:{listener.port} is taken by {held_by} on {listener.address}. {stop},"
        f" or give {site.name} another address or port under bind."
    )


def server_blocks(host: Host, sites: list[Site]) -> Iterator[str]:
    """Other nginx sites that use a name of a site, or are the default server, on one of its ports."""
    for server in servers(host):
        for port, default in server.ports().items():
            here = [site for site in sites if port in site.ports]
            if default and here:
                yield (
                    f"{server.file} is the default_server of port {port}, and there this collection refuses unknown"
                    f" names itself. Take default_server out of it, or move the file away: mv {server.file} /root/"
                )
            for site in here:
                for name in sorted(set(server.names) & {name.lower() for name in site.server_names}):
                    yield (
                        f"{server.file} serves {name} on port {port} already, a name of {site.name}. Move the file"
                        f" away (mv {server.file} /root/), or take {name} out of {site.name}'s server_names."
                    )


def main_files(host: Host) -> Iterator[str]:
    """Main configuration files that were edited by hand."""
    for path, folder in (
        ("/etc/nginx/nginx.conf", "/etc/nginx/conf.d/"),
        ("/etc/supervisor/supervisord.conf", "/etc/supervisor/conf.d/"),
    ):
        if host.at(path).exists() and not host.is_ours(path) and not host.is_stock(path):
            yield (
                f"{path} was edited by hand, and would be replaced. Move what you need of it to a file of its own in"
                f" {folder} or to an override in templates/, then: mv {path} /root/"
            )
