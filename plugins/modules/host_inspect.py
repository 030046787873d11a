"""See what is on a host already and would collide with the sites that are to come. Reads only."""

from __future__ import annotations

import configparser
import glob
import grp
import json
import os
import pwd
import re
import shlex
import socket
from collections.abc import Iterator, Mapping
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

from ansible.module_utils.basic import AnsibleModule

from ansible_collections.wsgi.sites.plugins.module_utils.daemons import ownership
from ansible_collections.wsgi.sites.plugins.module_utils.system import kernel
from ansible_collections.wsgi.sites.plugins.module_utils.system.text import bounded, visible

DOCUMENTATION = """
module: host_inspect
short_description: Refuse to collide with what is on the host already
description:
  - Looks for what would collide with the sites - ports that somebody else holds, other nginx sites with their names,
    configuration files that somebody has edited, and users, directories, systemd units and supervisor programs of
    their names - and fails with all of it at once, each with its remedy.
  - A site with a record in C(/var/lib/sites) is on this host already; what bears its name is its own.
  - Changes nothing, and works on a bare host.
options:
  sites:
    description: The sites that are to be on this host. Give only these keys; entries hold secrets besides.
    type: list
    elements: dict
    required: true
    suboptions:
      name: {description: The site's key., type: str, required: true}
      root: {description: The site's directory., type: path, required: true}
      user: {description: The site's user., type: str, required: true}
      server_names: {description: The names that it answers to., type: list, elements: str, default: []}
      http_port: {description: nginx's port for it., type: int, default: 80}
      https_port: {description: nginx's port for it where it has https., type: int, default: 443}
      tls:
        description: Whether it has https.
        type: dict
        default: {}
        suboptions:
          mode: {description: C(none) is plain http., type: str, default: none}
      upstream:
        description: Where its servers are, if not on this host.
        type: dict
        default: {}
        suboptions:
          servers: {description: Their addresses., type: list, elements: str, default: []}
      bind: {description: Its further listeners., type: list, elements: str, default: []}
  prefix:
    description: Where the host's files are; for tests.
    type: path
    default: /
"""

EXAMPLES = """
- name: Refuse to collide with what is on the host already
  wsgi.sites.host_inspect:
    sites: [{name: shop, root: /srv/shop, user: shop, server_names: [shop.example.com]}]
"""

RETURN = r"""
collisions: {description: "What collides, where, and the remedy.", type: list, elements: str, returned: always}
ansible_facts:
  description: The little that the roles go by, in place of a gathering of facts that takes three times as long.
  type: dict
  returned: always
  contains:
    ansible_distribution_release: {description: As Ansible's own., type: str, returned: always}
    ansible_service_mgr: {description: As Ansible's own., type: str, returned: always}
    ansible_sites_system: {description: "The system's name, for people.", type: str, returned: always}
    ansible_sites_ipv6: {description: Whether the kernel has IPv6., type: bool, returned: always}
"""

LISTEN = "0A"


@dataclass(frozen=True)
class Site:
    """What of a site could collide."""

    name: str
    # Both empty where its servers are elsewhere.
    root: str
    user: str
    server_names: list[str] = field(default_factory=list)
    http_port: int = 80
    bind: list[str] = field(default_factory=list)
    # 0 where the site has no https.
    https_port: int = 0

    @property
    def ports(self) -> dict[int, str]:
        """Nginx's ports for it, and the key that says which."""
        return {self.http_port: "http_port"} | ({self.https_port: "https_port"} if self.https_port else {})


@dataclass(frozen=True)
class Listener:
    """A TCP socket that somebody listens on."""

    address: str
    port: int
    inode: str


@dataclass(frozen=True)
class Holder:
    """A process that holds a socket."""

    pid: int
    name: str
    command: str
    cwd: str

    def __str__(self) -> str:
        return f"{self.name} (process {self.pid})"


@dataclass
class Server:
    """A server block of nginx's."""

    file: str
    names: list[str] = field(default_factory=list)
    listens: list[list[str]] = field(default_factory=list)

    def ports(self) -> dict[int, bool]:
        """Each port, and whether the block answers there for unknown names."""
        found: dict[int, bool] = {}
        for words in self.listens or [["80"]]:
            port = re.fullmatch(r"(?:.*:)?(\d+)", words[0])
            if words[0].startswith("unix:"):
                continue
            default = "default_server" in words or "default" in words
            number = int(port.group(1)) if port else 80
            found[number] = found.get(number, False) or default
        return found


def tokens(text: str) -> list[str]:
    """The words of an nginx configuration, and ``{``, ``}`` and ``;``."""
    pattern = r"""#[^\n]*|"(?:\\.|[^"\\])*"|'(?:\\.|[^'\\])*'|[{};]|(?:\\.|\$\{[^}]*\}|[^\s{};])+"""
    return [word for word in re.findall(pattern, text, re.DOTALL) if not word.startswith("#")]


class Host:
    """The host's files and processes, below a prefix."""

    def __init__(self, prefix: Path = Path("/")) -> None:
        self.prefix = prefix
        self._shipped: dict[str, str] | None = None

    def at(self, path: str) -> Path:
        return self.prefix / path.lstrip("/")

    def read(self, path: str) -> str:
        try:
            return self.at(path).read_text(encoding="utf-8", errors="replace")
        except OSError:
            return ""

    def beginning(self, path: str) -> str:
        """What somebody else may have made long."""
        try:
            return bounded(self.at(path))
        except OSError:
            return ""

    def glob(self, pattern: str) -> list[str]:
        found = glob.glob(pattern.lstrip("/"), root_dir=self.prefix)
        return sorted("/" + path for path in found)

    def record(self, site: str) -> dict[str, Any]:
        """What this bundle owns on the host under the site's name; empty if nothing."""
        try:
            record = json.loads(self.read(f"/var/lib/sites/{site}.json"))
        except ValueError:
            return {}
        return record if isinstance(record, dict) else {}

    def live_listeners(self, site: str) -> list[str]:
        """What the site's live release listens on besides its socket, without brackets."""
        try:
            release = json.loads(self.read(f"{self.record(site).get('root')}/live/release/release.json"))
        except ValueError:
            return []
        return [bind.replace("[", "").replace("]", "") for bind in release.get("listen", [])]

    def content(self, path: str) -> bytes | None:
        try:
            return self.at(path).read_bytes()
        except OSError:
            return None

    def is_ours(self, path: str) -> bool:
        return ownership.is_ours(self.content(path) or b"")

    def is_stock(self, path: str) -> bool:
        """Whether the file is as the distribution ships it."""
        if self._shipped is None:
            self._shipped = ownership.shipped(self.at("/var/lib/dpkg/status"))
        content = self.content(path)
        return content is not None and ownership.is_stock(path, content, self._shipped)

    def has_user(self, name: str) -> bool:
        if self.prefix != Path("/"):
            return any(line.startswith(f"{name}:") for line in self.read("/etc/passwd").splitlines())
        try:  # also users of a directory service
            pwd.getpwnam(name)
        except KeyError:
            return False
        return True

    def has_group(self, name: str) -> bool:
        if self.prefix != Path("/"):
            return any(line.startswith(f"{name}:") for line in self.read("/etc/group").splitlines())
        try:
            grp.getgrnam(name)
        except KeyError:
            return False
        return True

    def facts(self) -> dict[str, Any]:
        """What the roles go by."""
        release = dict(re.findall(r'^(\w+)="?(.*?)"?$', self.read("/etc/os-release"), re.MULTILINE))
        return {
            "ansible_distribution_release": release.get("VERSION_CODENAME", ""),
            "ansible_service_mgr": "systemd" if self.at("/run/systemd/system").exists() else "sysvinit",
            "ansible_sites_system": release.get("PRETTY_NAME", "an unknown system"),
            "ansible_sites_ipv6": kernel.has_ipv6(self.prefix),
        }

    def listeners(self) -> list[Listener]:
        found = []
        for table, family in (("tcp", socket.AF_INET), ("tcp6", socket.AF_INET6)):
            for line in self.read(f"/proc/net/{table}").splitlines()[1:]:
                fields = line.split()
                if len(fields) > 9 and fields[3] == LISTEN:
                    address, _, port = fields[1].partition(":")
                    words = [bytes.fromhex(address[at : at + 8])[::-1] for at in range(0, len(address), 8)]
                    found.append(Listener(socket.inet_ntop(family, b"".join(words)), int(port, 16), fields[9]))
        return found

    def holders(self, inodes: set[str]) -> dict[str, Holder]:
        """Who holds these sockets. Slow on a host with many processes, so only asked about what matters."""
        wanted = {f"socket:[{inode}]": inode for inode in inodes}
        found: dict[str, Holder] = {}
        if not wanted:
            return found
        for path in self.glob("/proc/[0-9]*"):
            try:
                handles = [os.readlink(entry) for entry in os.scandir(self.at(f"{path}/fd"))]
            except OSError:
                continue
            for handle in set(handles) & set(wanted):
                found.setdefault(wanted[handle], self.process(path))
        return found

    def process(self, path: str) -> Holder:
        try:
            cwd = os.readlink(self.at(f"{path}/cwd"))
        except OSError:
            cwd = ""
        # A process chooses both by itself, and the first may be megabytes.
        name, command = (
            visible(self.beginning(f"{path}/{file}").replace("\0", " ").strip()) for file in ("comm", "cmdline")
        )
        return Holder(int(path.rpartition("/")[2]), name, command, cwd)

    def servers(self) -> list[Server]:
        """Every server block that nginx would load and that is neither ours nor the distribution's own."""
        found: list[Server] = []
        self._walk("/etc/nginx/nginx.conf", found, None, set())
        return found

    def _walk(self, path: str, found: list[Server], server: Server | None, seen: set[str]) -> None:
        real = "/" + os.path.relpath(os.path.realpath(self.at(path)), os.path.realpath(self.prefix))
        if server is None and (real in seen or (path != "/etc/nginx/nginx.conf" and self._known(real))):
            return
        seen.add(real)
        words: list[str] = []
        depth = inside = 0
        for word in tokens(self.read(path)):
            if word == "{":
                depth += 1
                if words == ["server"] and server is None:
                    server, inside = Server(path), depth
                    found.append(server)
                words = []
            elif word == "}":
                if server is not None and inside == depth and inside:
                    server, inside = None, 0
                depth -= 1
                words = []
            elif word == ";":
                if words[:1] == ["include"] and len(words) == 2:
                    for file in self.glob(os.path.join("/etc/nginx", words[1].strip("\"'"))):
                        self._walk(file, found, server, seen)
                elif server is not None and depth == inside:
                    if words[:1] == ["server_name"]:
                        server.names += [name.strip("\"'").lower() for name in words[1:]]
                    elif words[:1] == ["listen"] and len(words) > 1:
                        server.listens.append(words[1:])
                words = []
            else:
                words.append(word)

    def _known(self, path: str) -> bool:
        return self.is_ours(path) or self.is_stock(path)

    def programs(self) -> Iterator[tuple[str, str, str]]:
        """File, name and settings of each supervisor program that is not ours."""
        for path in ["/etc/supervisor/supervisord.conf", *self.glob("/etc/supervisor/conf.d/*.conf")]:
            if self.is_ours(path):
                continue
            parser = configparser.RawConfigParser(strict=False, inline_comment_prefixes=(" ;",), allow_no_value=True)
            try:
                parser.read_string(self.read(path), path)
            except configparser.Error:
                continue  # supervisor says what is wrong with it, and the release's gate names the file
            for section in parser.sections():
                kind, _, name = section.partition(":")
                if kind in ("program", "group", "fcgi-program", "eventlistener"):
                    yield path, name.strip(), "\n".join(str(value) for _, value in parser.items(section))


def mentions(text: str, root: str) -> bool:
    """Whether a path at or below ``root`` occurs in the text."""
    return root != "" and re.search(re.escape(root.rstrip("/")) + r"(?![\w.-])", text) is not None


def ports(host: Host, sites: list[Site]) -> Iterator[str]:
    """Ports of nginx or of a site that somebody else listens on."""
    by_port: dict[int, list[Site]] = {}
    for site in sites:
        for port in site.ports:
            by_port.setdefault(port, []).append(site)
    binds: dict[int, list[tuple[Site, str]]] = {}
    for site in sites:
        for bind in site.bind:
            address, _, port = bind.rpartition(":")
            if port.isdigit():
                binds.setdefault(int(port), []).append((site, address.strip("[]")))

    listeners = [each for each in host.listeners() if each.port in by_port or each.port in binds]
    holders = host.holders({each.inode for each in listeners})
    said = set()
    for each in listeners:
        holder = holders.get(each.inode)
        who = str(holder) if holder else "a process that this host does not show"
        stop = (
            f"Stop it and keep it from starting (such as: systemctl disable --now {holder.name})"
            if holder
            else "Find it and stop it"
        )
        if each.port in by_port and (holder is None or holder.name != "nginx"):
            names = ", ".join(site.name for site in by_port[each.port])
            key = by_port[each.port][0].ports[each.port]
            if (each.port, who) not in said:
                yield (
                    f"Port {each.port}, {key} of {names}, is held by {who} on {each.address}. {stop},"
                    f" or set {key} of {names} to a free port."
                )
                said.add((each.port, who))
        for site, address in binds.get(each.port, []):
            wild = {"", "*", "0.0.0.0", "::"}
            if address not in wild and each.address not in wild and address != each.address:
                continue
            place = f"{holder.cwd} {holder.command}" if holder else ""
            if host.record(site.name) and mentions(place, site.root):
                continue
            # In a container without SYS_PTRACE nobody may look who holds another user's socket.
            if holder is None and f"{address}:{each.port}" in host.live_listeners(site.name):
                continue
            if (each.port, who, site.name) not in said:
                yield (
                    f"{site.name}: bind {address}:{each.port} is taken by {who} on {each.address}. {stop},"
                    f" or give {site.name} another address or port under bind."
                )
                said.add((each.port, who, site.name))


def server_blocks(host: Host, sites: list[Site]) -> Iterator[str]:
    """Other nginx sites that want the same names, or every unknown name, on a port of ours."""
    for server in host.servers():
        for port, default in server.ports().items():
            here = [site for site in sites if port in site.ports]
            if default and here:
                yield (
                    f"{server.file} answers for every unknown name on port {port} (default_server), which is"
                    f" this bundle's own to refuse. Take default_server out of it, or move the file away:"
                    f" mv {server.file} /root/"
                )
            for site in here:
                for name in sorted(set(server.names) & {name.lower() for name in site.server_names}):
                    yield (
                        f"{server.file} serves {name} on port {port} already, a name of {site.name}. Move the file"
                        f" away (mv {server.file} /root/), or take {name} out of {site.name}'s server_names."
                    )


def main_files(host: Host) -> Iterator[str]:
    """Main configurations that somebody has edited by hand."""
    for path, folder in (
        ("/etc/nginx/nginx.conf", "/etc/nginx/conf.d/"),
        ("/etc/supervisor/supervisord.conf", "/etc/supervisor/conf.d/"),
    ):
        if host.at(path).exists() and not host.is_ours(path) and not host.is_stock(path):
            yield (
                f"{path} was edited by hand, and would be replaced. Move what you need of it to a file of its own in"
                f" {folder} or to an override in templates/, then: mv {path} /root/"
            )


def changed_homes(host: Host, sites: list[Site]) -> Iterator[str]:
    """Sites that are here under another user or in another place than the page says now."""
    for site in sites:
        record = host.record(site.name)
        for key, now in (("root", site.root), ("user", site.user)):
            if now and record.get(key, now) != now:
                yield (
                    f"{site.name} is on this host with {key} {record[key]}; the page says {now}. A site does not move"
                    f" by itself: set {key} back, or take it away first (state: absent) and bring its archive over."
                )


def names(host: Host, site: Site) -> Iterator[str]:
    """What bears the site's name or runs from its place, for a site that is not on this host yet."""
    other = f"give the site on the page another name than {site.name}"
    # It is only a reason to worry if there is a user who could own something.
    if site.user and host.has_user(site.user):
        yield (
            f"{site.name}: the user {site.user} exists already. If nothing needs it: userdel {site.user}."
            f" Otherwise set user of {site.name} to a name that is free."
        )
    elif site.user and host.has_group(site.user):
        yield (
            f"{site.name}: the group {site.user} exists already. If nothing needs it: groupdel {site.user}."
            f" Otherwise set user of {site.name} to a name that is free."
        )
    for path, remedy in (
        (site.root, f"set root of {site.name} to another directory"),
        (f"/etc/{site.name}", other),
        (f"/var/log/{site.name}", other),
    ):
        if not path:
            continue
        try:
            # An empty directory may be the mount point that the operator has made for it.
            taken = bool(set(os.listdir(host.at(path))) - {"lost+found"})
        except FileNotFoundError:
            taken = False
        except OSError:
            taken = True
        if taken:
            yield f"{site.name}: {path} is there already. Move it away (mv {path} {path}.old), or {remedy}."
    block = f"/etc/nginx/sites-available/{site.name}.conf"
    if os.path.lexists(host.at(block)) and not host.is_ours(block):
        yield f"{site.name}: {block} is somebody else's. Move it away (mv {block} /root/), or {other}."

    seen = set()
    for path in (
        path
        for folder in ("/etc", "/usr/local/lib", "/usr/lib", "/lib")
        for path in host.glob(f"{folder}/systemd/system/*.service")
    ):
        unit = os.path.basename(path)
        if unit in seen:
            continue
        if unit == f"{site.name}.service" or mentions(host.read(path), site.root):
            seen.add(unit)
            why = "has its name" if unit == f"{site.name}.service" else f"runs from {site.root}"
            yield (
                f"{site.name}: the systemd unit {path} {why}. If it is an older way to run the site: systemctl"
                f" disable --now {unit}, then rm {path}. Otherwise {other} and root."
            )
    for path, program, settings in host.programs():
        named = program in (site.name, f"{site.name}-blue", f"{site.name}-green")
        if named or mentions(settings, site.root):
            why = "has its name" if named else f"runs from {site.root}"
            yield (
                f"{site.name}: supervisor's program {program} in {path} {why}. If it is an older way to run the site:"
                f" supervisorctl stop {shlex.quote(program)}, then rm {path}. Otherwise {other} and root."
            )


def collisions(host: Host, sites: list[Site]) -> list[str]:
    """Everything that is in the way, each with what, where and the remedy."""
    found = [*ports(host, sites), *server_blocks(host, sites), *main_files(host), *changed_homes(host, sites)]
    for site in sites:
        if not host.record(site.name):
            found += names(host, site)
    return found


def site_of(entry: Mapping[str, Any]) -> Site:
    """One entry of the parameter `sites`."""
    keys = {key: entry[key] for key in ("name", "root", "user", "server_names", "http_port", "bind")}
    if entry["upstream"].get("servers"):  # then there is no user, and no directory of its own
        keys |= {"root": "", "user": ""}
    return Site(**keys, https_port=0 if entry["tls"].get("mode", "none") == "none" else entry["https_port"])


def main() -> None:
    """Ansible's entry."""
    module = AnsibleModule(
        argument_spec={
            "sites": {
                "type": "list",
                "elements": "dict",
                "required": True,
                "options": {
                    "name": {"type": "str", "required": True},
                    "root": {"type": "path", "required": True},
                    "user": {"type": "str", "required": True},
                    "server_names": {"type": "list", "elements": "str", "default": []},
                    "http_port": {"type": "int", "default": 80},
                    "https_port": {"type": "int", "default": 443},
                    "tls": {"type": "dict", "default": {}, "options": {"mode": {"type": "str", "default": "none"}}},
                    "upstream": {
                        "type": "dict",
                        "default": {},
                        "options": {"servers": {"type": "list", "elements": "str", "default": []}},
                    },
                    "bind": {"type": "list", "elements": "str", "default": []},
                },
            },
            "prefix": {"type": "path", "default": "/"},
        },
        supports_check_mode=True,
    )
    host = Host(Path(module.params["prefix"]))
    found = collisions(host, [site_of(entry) for entry in module.params["sites"]])
    facts = host.facts()
    if found:
        many = f"{len(found)} things on this host are" if len(found) > 1 else "Something on this host is"
        module.fail_json(
            msg=f"{many} in the way; nothing was changed.\n" + "\n".join(f"- {each}" for each in found),
            collisions=found,
            ansible_facts=facts,
        )
    module.exit_json(changed=False, collisions=[], ansible_facts=facts)


if __name__ == "__main__":
    main()
