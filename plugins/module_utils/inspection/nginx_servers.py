"""The server blocks that nginx would load."""

from __future__ import annotations

import os
import re
from dataclasses import dataclass, field

from ansible_collections.wsgi.sites.plugins.module_utils.inspection.host import Host


@dataclass
class Server:
    """A server block of nginx."""

    file: str
    names: list[str] = field(default_factory=list)
    listens: list[list[str]] = field(default_factory=list)

    def ports(self) -> dict[int, bool]:
        """Each port, and whether the block is the default server there."""
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
    """The tokens of an nginx configuration: words, ``{``, ``}`` and ``;``."""
    pattern = r"""#[^\n]*|"(?:\\.|[^"\\])*"|'(?:\\.|[^'\\])*'|[{};]|(?:\\.|\$\{[^}]*\}|[^\s{};])+"""
    return [word for word in re.findall(pattern, text, re.DOTALL) if not word.startswith("#")]


def servers(host: Host) -> list[Server]:
    """Every server block that nginx would load, except those of the collection and the distribution."""
    found: list[Server] = []
    _walk(host, "/etc/nginx/nginx.conf", found, None, set())
    return found


def _walk(host: Host, path: str, found: list[Server], server: Server | None, seen: set[str]) -> None:
    real = "/" + os.path.relpath(os.path.realpath(host.at(path)), os.path.realpath(host.prefix))
    if server is None and (real in seen or (path != "/etc/nginx/nginx.conf" and _known(host, real))):
        return
    seen.add(real)
    words: list[str] = []
    depth = inside = 0
    for word in tokens(host.read(path)):
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
                for file in host.glob(os.path.join("/etc/nginx", words[1].strip("\"'"))):
                    _walk(host, file, found, server, seen)
            elif server is not None and depth == inside:
                if words[:1] == ["server_name"]:
                    server.names += [name.strip("\"'").lower() for name in words[1:]]
                elif words[:1] == ["listen"] and len(words) > 1:
                    server.listens.append(words[1:])
            words = []
        else:
            words.append(word)


def _known(host: Host, path: str) -> bool:
    return host.is_ours(path) or host.is_stock(path)
