"""Whether a site's name, user and paths are free on a host; used by the inspection of all sites and by the setup.

A site with a record in /var/lib/sites is on the host already: whatever has its name belongs to it.
"""

from __future__ import annotations

import configparser
import os
import re
import shlex
from collections.abc import Iterator
from pathlib import Path

from ansible_collections.wsgi.sites.plugins.module_utils.inspection.host import Host
from ansible_collections.wsgi.sites.plugins.module_utils.site.paths import SLOTS, Layout
from ansible_collections.wsgi.sites.plugins.module_utils.site.registry import PROXY_ONLY

UNIT_FOLDERS = ("/etc", "/usr/local/lib", "/usr/lib", "/lib")
PROGRAM_KINDS = ("program", "group", "fcgi-program", "eventlistener")
NOWHERE = Path("/nonexistent")


def taken(host: Host, name: str, root: str, user: str) -> list[str]:
    """Why a site cannot be set up on this host as configured; each reason has its remedy.

    :param root: empty, as ``user``, for a site whose servers are on other hosts
    """
    if record := host.record(name):
        return list(_moved(name, record, root, user))
    return [
        *_accounts(host, name, user),
        *_places(host, name, root),
        *_units(host, name, root),
        *_programs(host, name, root),
    ]


def _moved(name: str, record: dict, root: str, user: str) -> Iterator[str]:
    """The site exists with another user or root, or changes to or from proxy-only."""
    if bool(record.get(PROXY_ONLY)) is bool(root):
        yield (
            f"{name}: this host has {'only nginx' if root else 'the servers'} of the site so far; remove the site "
            "there first (`state: absent`), then deploy it again."
        )
        return
    for key, now in (("root", root), ("user", user)):
        if now and record.get(key, now) != now:
            yield (
                f"{name}: was set up on this host with {key} {record[key]}, and the site config has {now}; set {key} "
                "back, or remove the site first (`state: absent` archives its shared files) and deploy it again."
            )


def _accounts(host: Host, name: str, user: str) -> Iterator[str]:
    """An existing user or group of that name may own other files."""
    if not user:
        return
    for other in host.recorded():
        if host.record(other).get("user") == user:
            yield f"{name}: the user {user} belongs to the site {other}; give each site its own `user`."
            return
    for kind, found, remove in (("user", host.has_user, "userdel"), ("group", host.has_group, "groupdel")):
        if found(user):
            yield (
                f"{name}: the {kind} {user} exists already. If it is not needed: {remove} {user}."
                f" Otherwise set user of {name} to a name that is free."
            )
            return


def _places(host: Host, name: str, root: str) -> Iterator[str]:
    """Files and folders. An empty folder is free: it may be a mount point for the site."""
    site = Layout(name, Path(root) if root else NOWHERE)
    for path in ([site.root] if root else []) + site.named_paths + [site.program(slot) for slot in SLOTS if root]:
        if _is_occupied(host.at(str(path))):
            remedy = f"set root of {name} to another directory" if path == site.root else _rename(name)
            yield f"{name}: {path} exists already. Move it away (mv {path} {path}.old), or {remedy}."
    block = f"/etc/nginx/sites-available/{name}.conf"
    if os.path.lexists(host.at(block)) and not host.is_ours(block):
        yield f"{name}: {block} was not made by this collection. Move it away (mv {block} /root/), or {_rename(name)}."


def _is_occupied(path: Path) -> bool:
    try:
        return bool(set(os.listdir(path)) - {"lost+found"})
    except FileNotFoundError:
        return path.is_symlink()
    except OSError:
        return True


def _rename(name: str) -> str:
    return f"give the site another name than {name}"


def _units(host: Host, name: str, root: str) -> Iterator[str]:
    """Units of systemd, some of which may be in two folders."""
    seen = set()
    for path in (path for folder in UNIT_FOLDERS for path in host.glob(f"{folder}/systemd/system/*.service")):
        unit = os.path.basename(path)
        if unit in seen or not (unit == f"{name}.service" or mentions(host.read(path), root)):
            continue
        seen.add(unit)
        why = "has its name" if unit == f"{name}.service" else f"runs from {root}"
        yield (
            f"{name}: the systemd unit {path} {why}. If it is an older way to run the site: systemctl"
            f" disable --now {unit}, then rm {path}. Otherwise {_rename(name)} and root."
        )


def _programs(host: Host, name: str, root: str) -> Iterator[str]:
    for path, program, settings in programs(host):
        named = program in (name, f"{name}-blue", f"{name}-green")
        if named or mentions(settings, root):
            why = "has its name" if named else f"runs from {root}"
            yield (
                f"{name}: supervisor's program {program} in {path} {why}. If it is an older way to run the site:"
                f" supervisorctl stop {shlex.quote(program)}, then rm {path}. Otherwise {_rename(name)} and root."
            )


def programs(host: Host) -> Iterator[tuple[str, str, str]]:
    """File, name and settings of each supervisor program that the collection did not make."""
    for path in ["/etc/supervisor/supervisord.conf", *host.glob("/etc/supervisor/conf.d/*.conf")]:
        if host.is_ours(path):
            continue
        parser = configparser.RawConfigParser(strict=False, inline_comment_prefixes=(" ;",), allow_no_value=True)
        try:
            parser.read_string(host.read(path), path)
        except configparser.Error:
            continue  # supervisor reports the error, and the release's health gate names the file
        for section in parser.sections():
            kind, _, title = section.partition(":")
            if kind in PROGRAM_KINDS:
                yield path, title.strip(), "\n".join(str(value) for _, value in parser.items(section))


def mentions(text: str, root: str) -> bool:
    """Whether a path at or below ``root`` occurs in the text."""
    return root != "" and re.search(re.escape(root.rstrip("/")) + r"(?![\w.-])", text) is not None
