"""Read the page of every host in the play, and refuse it with all that is wrong with it, before a host is touched."""

from __future__ import annotations

import difflib
import ipaddress
import re
import shlex
import sys
from collections.abc import Callable, Iterator, Mapping
from datetime import UTC, datetime
from pathlib import Path
from typing import Any

from ansible.errors import AnsibleError, AnsibleUndefinedVariable
from ansible.parsing.dataloader import DataLoader
from ansible.plugins.action import ActionBase
from ansible.template import Templar
from ansible.utils.vars import load_extra_vars
from jinja2 import TemplateError

ROLE = Path(__file__).resolve().parent.parent
PROJECT = ROLE.parent.parent
SITE_ROLE = PROJECT / "roles/site"
if str(ROLE / "plugin_utils") not in sys.path:
    sys.path.append(str(ROLE / "plugin_utils"))

import provided_pair  # noqa: E402

# ---------------------------------------------------------------------------------------------------------------------
# What a type cannot say. Each rule takes a value and answers what is wrong with it and what to do, or nothing.
# No answer may quote the value: it could be a secret in the wrong place.
# ---------------------------------------------------------------------------------------------------------------------
Rule = Callable[[Any], "str | None"]

# Names that would lay a site over something that a Debian host already has in /etc, /srv, /var/log or as a user.
RESERVED_WORDS = """
root daemon bin sys sync games man lp mail news uucp proxy backup list irc gnats nobody sshd messagebus
polkitd ftp _apt www_data nginx apache2 apache uwsgi gunicorn supervisor supervisord sites site default shared
releases live adm apt alternatives bash cron cups dbus dhcp dpkg exim4 fonts fstab grub group gss gshadow
hostname hosts init init_d initramfs iptables journal kernel logrotate machine_id memcached modprobe motd mtab
mysql network networks nftables opt os_release pam passwd perl php postgresql postfix private profile
protocols python python3 rabbitmq redis resolv_conf rsyslog runit security selinux services shadow shells skel
ssh ssl subgid subuid sudo sudoers sysctl syslog systemd terminfo timezone tmpfiles ucf udev ufw
unattended_upgrades update vim wpa x11 xdg installer lastlog wtmp btmp faillog dmesg boot all none blue green
"""
RESERVED = frozenset(RESERVED_WORDS.split())
SYSTEM_USERS = RESERVED | {"www-data", "systemd-network", "systemd-resolve", "systemd-timesync", "unscd"}
ANY_ADDRESS = frozenset({"0.0.0.0", "[::]"})
LABEL = r"[a-z0-9_]([a-z0-9_-]{0,61}[a-z0-9_])?"


def pattern(regex: str, remedy: str) -> Rule:
    """The whole value must match."""
    return lambda value: None if re.fullmatch(regex, str(value)) else remedy


def between(low: int, high: int | None = None, words: str = "") -> Rule:
    """A whole number within limits."""
    remedy = words or (f"give a number from {low} to {high}" if high is not None else f"give {low} or more")
    return lambda value: None if low <= value and (high is None or value <= high) else remedy


def expression(value: str) -> str | None:
    """A regular expression that nginx's configuration can quote."""
    try:
        re.compile(value)
    except re.error as error:
        return f"give a regular expression; this one has an error: {error}"
    return "leave the double quote out of it" if '"' in value else None


def auto_or_count(value: object) -> str | None:
    """``auto``, or at least one."""
    fits = value == "auto" or (isinstance(value, int) and not isinstance(value, bool) and value >= 1)
    return None if fits else "say auto, or a whole number of at least 1 without quotes"


def worker_class(value: str) -> str | None:
    """The name of a class; which there are, only the gunicorn of the lock file knows."""
    if str(value) == "asgi":
        return "is for ASGI apps, and a site's is WSGI; give gthread, sync, gevent or tornado"
    return pattern(r"[A-Za-z_][\w.]*", "give the name of a worker class, such as gthread, sync or gevent")(value)


def server_name(value: str) -> str | None:
    """A host name, a wildcard in front, or an address."""
    name = str(value).lower()
    if is_address(name):
        return None
    if "://" in name or "/" in name:
        return "give the bare name, without scheme and path"
    if name.startswith("["):
        return "write an IPv6 address without brackets"
    if re.fullmatch(r"[0-9.]+", name):
        return "looks like an address, but is none; give four numbers from 0 to 255"
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


def upstream_server(value: str) -> str | None:
    """Where a server on another host listens; a name could keep nginx from starting."""
    if re.fullmatch(r"[A-Za-z_][A-Za-z0-9_.-]*:[0-9]+", str(value)):
        return (
            "holds a name, without an answer for which nginx would not start; give the address and the port (of a host "
            "of the inventory: hostvars.HOST.ansible_host)"
        )
    return 'give "ADDRESS:PORT", such as "192.0.2.21:8443" or "[2001:db8::21]:8443"' if address_port(value) else None


def network(value: str) -> str | None:
    """An address or a network, as gunicorn takes them."""
    try:
        ipaddress.ip_network(str(value))
    except ValueError:
        return "give an address or a network, such as 10.0.0.5 or 10.0.0.0/24"
    return None


def balancer(value: str) -> str | None:
    """Somebody in particular."""
    everybody = str(value).endswith("/0")
    return "would believe everybody; name the balancer's own addresses" if everybody else network(value)


def redirect_target(value: str) -> str | None:
    """A path of this site, or a URL; the query is the client's."""
    plain = re.fullmatch(r"(https?://[A-Za-z0-9.:\[\]-]+)?(/(?!/)[A-Za-z0-9._~%@:,+/-]*)?", str(value))
    return None if value and plain else "give a path such as /new, or an http or https URL, without ? and #"


def inside(value: str) -> str | None:
    """A relative path that stays where it is."""
    parts = str(value).split("/")
    return "give a path below the source, without .." if str(value).startswith("/") or ".." in parts else None


def site_root(value: str) -> str | None:
    """A directory of the site's own, at least two levels deep."""
    if not re.fullmatch(r"(/[A-Za-z0-9._-]+){2,}", str(value)) or {".", ".."} & set(str(value).split("/")):
        return "give an absolute path of plain letters, at least two levels deep, such as /srv/SITE"
    system = r"/(etc|dev|proc|sys|run|boot|bin|sbin|lib\w*|tmp|usr/(?!local/)\w+|var/(lib|log|cache|spool))(/.*)?"
    return "is a place of the system; use one below /srv" if re.fullmatch(system, str(value)) else None


def command(value: str) -> str | None:
    """A command as a shell would split it, though no shell runs it."""
    try:
        words = shlex.split(str(value))
    except ValueError:
        return "a quotation mark is not closed"
    return None if words else "give a command, such as flask --app wsgi db upgrade"


MONTHS = ["jan", "feb", "mar", "apr", "may", "jun", "jul", "aug", "sep", "oct", "nov", "dec"]
WEEKDAYS = ["sun", "mon", "tue", "wed", "thu", "fri", "sat"]
# What each field of a crontab may be: lowest, highest, names.
CRON_FIELDS: dict[str, tuple[int, int, list[str]]] = {
    "minute": (0, 59, []),
    "hour": (0, 23, []),
    "day": (1, 31, []),
    "month": (1, 12, MONTHS),
    "weekday": (0, 7, WEEKDAYS),
}
CRON_WORDS = ("@reboot", "@yearly", "@annually", "@monthly", "@weekly", "@daily", "@midnight", "@hourly")
LONGEST = dict(zip(range(1, 13), (31, 29, 31, 30, 31, 30, 31, 31, 30, 31, 30, 31), strict=True))


def schedule(value: str) -> str | None:
    """When cron starts a job, in Debian's cron's words. It skips some mistakes without a word; this does not."""
    text = str(value)
    if text.startswith("@"):
        return None if text in CRON_WORDS else f"must be five fields, or one of {', '.join(CRON_WORDS)}"
    fields = text.split()
    if len(fields) != 5 or "\n" in text:
        return 'give five fields (minute, hour, day, month, weekday), such as "15 3 * * *", or @daily'
    for name, field in zip(CRON_FIELDS, fields, strict=True):
        if problem := cron_field(field, *CRON_FIELDS[name]):
            return f"the {name} {problem}"
    day, month, weekday = fields[2:]
    if weekday == "*" and day.isdigit() and month.isdigit() and int(day) > LONGEST[int(month)]:
        return "names a day that its month never has"
    return None


def cron_field(text: str, low: int, high: int, names: list[str]) -> str | None:
    """What is wrong with one field: ``*``, a number, ``a-b``, these with ``/step``, and lists of them; or one name."""
    if text.lower() in names:
        return None
    for part in text.split(","):
        match = re.fullmatch(r"(?:\*|([0-9]{1,2})(?:-([0-9]{1,2}))?)(?:/([0-9]{1,2}))?", part)
        if match is None:
            alone = ", or one name alone" if names else ""
            return f"must be *, a number, a range such as 1-5, a step such as */10, or a list of these{alone}"
        first, last, step = (int(number) if number else None for number in match.groups())
        if any(number is not None and not low <= number <= high for number in (first, last)):
            return f"must be from {low} to {high}"
        if last is not None and first is not None and last < first:
            return "has a range that ends before it begins"
        if step is not None and first is not None and last is None:
            return "has a step without a range; write a-b/step or */step"
        if step is not None and not 1 <= step <= high:
            return f"has a step that must be from 1 to {high}"
    return None


# Names that would be a slot's program, or a log that every site has.
TAKEN = {"blue": "a slot", "green": "a slot", "server": "a log", "access": "a log", "error": "a log",
         "scaler": "what lets workers follow the load"}  # fmt: skip


def process_name(value: str) -> str | None:
    """What a process or a job may be called: with the site's name it is a program, with .log a file."""
    if str(value) in TAKEN:
        return f"is the name of {TAKEN[str(value)]}; choose another"
    return pattern(r"[a-z][a-z0-9_]{0,29}", "use small letters, digits and _, at most 30, beginning with a letter")(
        value
    )


def optional(rule: Rule) -> Rule:
    """Empty, or what the rule asks for."""
    return lambda value: None if value == "" else rule(value)


def repository(value: str) -> str | None:
    """What git takes as a repository elsewhere. As roles/release reads it, which this role does not depend on."""
    text = str(value)
    if re.match(r"[a-z+]+://", text):
        fits = re.fullmatch(r"((https?|ssh|git)://[^\s/-][^\s/]*|file://)/\S+", text)
    else:
        fits = re.fullmatch(r"([\w.+-]+@)?[A-Za-z0-9][\w.-]*:(?!:|//)\S+", text)
    return None if fits else "give a URL (https, ssh, or file:///FOLDER on this machine), or USER@HOST:PATH"


def version(value: object) -> str | None:
    """A name of git's. As a text: `1.10` without quotes is the number 1.1 to YAML."""
    if not isinstance(value, str):
        return "must be a text; put it in quotes, or 1.10 becomes 1.1"
    fits = re.fullmatch(r"(?!-)[^\s\\~^:?*\[\0-\x1f]+", value) and ".." not in value
    return None if fits else "give the name of a tag or a branch, or a commit"


def archive(value: str) -> str | None:
    """A URL that Python can fetch, or a path."""
    fits = re.match(r"https?://[^/]", value) if "://" in str(value) else str(value).strip()
    return None if fits else "give an http or https URL, or a file on this machine"


def user(value: str) -> str | None:
    """A user of the site's own."""
    if str(value) in SYSTEM_USERS:
        return "is a user of the system; a site needs one of its own"
    return pattern(r"[a-z][a-z0-9_-]{0,29}", "use small letters, digits, _ and -, at most 30, beginning with a letter")(
        value
    )


def identifier(value: str) -> str | None:
    """What a site may be called."""
    if str(value) in RESERVED:
        return "is taken by the system on every host; give the site another name"
    return pattern(r"[a-z][a-z0-9_]{0,29}", "use small letters, digits and _, at most 30, beginning with a letter")(
        value
    )


# A path as browsers send it, decoded; no sign of nginx's own language in it.
PATH = r"/([A-Za-z0-9._~@:,+-]+/)*[A-Za-z0-9._~@:,+-]*"
PASSWORD_HASH = pattern(
    r"\$(apr1|5|6|y|2[aby])\$[./A-Za-z0-9$=,]{20,}",
    "is no hash of a password; make one with `openssl passwd -6` and keep it in a vault",
)

RULES: dict[str, Rule] = {
    "http_port": between(1, 65535),
    "https_port": between(1, 65535),
    "canonical_name": optional(server_name),
    "path": pattern(r"/|(/(?!\.\.?(/|$))[A-Za-z0-9._~-]+)+", "begin it with / and end it without, such as /blog"),
    "server_names.*": server_name,
    "tls.acme.directory": pattern(r"https://[^\s/]+(/\S*)?", "give the https URL of the authority's directory"),
    "tls.acme.email": optional(pattern(r"[^\s@]+@[^\s@]+\.[^\s@]+", "give one mail address, or leave it empty")),
    "tls.acme.renew_days": between(1, 80),
    "source.git": optional(repository),
    "source.version": optional(version),
    "source.archive": optional(archive),
    "source.sha256": optional(
        pattern(r"[0-9a-fA-F]{64}", "give the 64 hex digits that `sha256sum` says of the archive")
    ),
    "source.subfolder": optional(inside),
    "requirements": inside,
    "wsgi": pattern(
        r"[A-Za-z_]\w*(\.[A-Za-z_]\w*)*:[A-Za-z_]\w*(\.[A-Za-z_]\w*)*(\(.*\))?",
        "give MODULE:CALLABLE, such as wsgi:app or shop:create_app()",
    ),
    "user": user,
    "root": site_root,
    "env.@": pattern(r"[A-Za-z_][A-Za-z0-9_]*", "is no name for a variable; use letters, digits and _"),
    "workers": auto_or_count,
    "workers_max": between(0),
    "workers_min": between(0),
    "worker_class": worker_class,
    "threads": auto_or_count,
    "timeout": between(0),
    "graceful_timeout": between(1),
    "max_requests": between(0),
    "max_requests_jitter": between(0),
    "keepalive": between(2, words="give at least 2: it must outlast nginx's 1 s, or requests get lost"),
    "backlog": between(1),
    "bind.*": address_port,
    "trusted_proxies.*": network,
    "gunicorn.certfile": optional(pattern(r"/\S+", "give an absolute path on the host")),
    "gunicorn.keyfile": optional(pattern(r"/\S+", "give an absolute path on the host")),
    "gunicorn.ca_certs": optional(pattern(r"/\S+", "give an absolute path on the host")),
    "uwsgi.reload_on_rss": between(0),
    "uwsgi.stats": optional(
        pattern(r"socket|(127\.0\.0\.1|\[::1\]):[1-9][0-9]{0,4}", "say socket, or a port of loopback: 127.0.0.1:9191")
    ),
    "upstream.servers.*": upstream_server,
    "upstream.name": optional(pattern(rf"{LABEL}(\.{LABEL})*", "give the host name that stands in the certificate")),
    "health.path": pattern(r"/\S*", "begin it with /"),
    "health.host": optional(server_name),
    "health.status": between(100, 599),
    "health.timeout": between(1),
    "keep_releases": between(2, words="give at least 2: the live release and the one to go back to"),
    "start_retries": between(0),
    "hooks.before_start.*": command,
    "hooks.after_live.*": command,
    "hooks.on_failure.*": command,
    "hooks.schema": optional(command),
    "hooks.timeout": between(1),
    "processes.@": process_name,
    "processes.*.command": command,
    "processes.*.count": between(1, 100),
    "processes.*.patience": between(1),
    "cron.@": process_name,
    "cron.*.command": command,
    "cron.*.schedule": schedule,
    "cron.*.patience": between(1),
    "aliases.@": pattern(r"/|/((?!\.\.?/)[A-Za-z0-9._~-]+/)+", "begin and end it with /, such as /static/"),
    "aliases.*": pattern(
        r"(app|packages|shared)(/(?!\.\.?(/|$))[A-Za-z0-9._-]+)+/?",
        "begin it with app/, packages/ or shared/, and go nowhere with ..",
    ),
    # Not shared/: nginx obeys what these pages say, so nobody but a release brings them.
    "error_pages": optional(
        pattern(
            r"(app|packages)(/(?!\.\.?(/|$))[A-Za-z0-9._-]+)+/?",
            "begin it with app/ or packages/, and go nowhere with ..",
        )
    ),
    "maintenance.allow.*": network,
    "maintenance.retry_after": between(1),
    "hashed_names": expression,
    "static_max_age": between(0),
    "client_max_body_size": pattern(r"[0-9]+[kKmMgG]?", "give a number with k, m or g, such as 16m; 0 is no limit"),
    "proxy_timeout": between(1),
    "micro_cache.seconds": between(0, 3600),
    "micro_cache.stale": between(0),
    "micro_cache.wait": between(0, 60),
    "micro_cache.size": pattern(r"[1-9][0-9]*[kKmMgG]", "give a number with k, m or g, such as 100m"),
    "tls.hsts": between(0),
    "redirects.@": pattern(PATH, "begin it with /, and leave out ? and #"),
    "redirects.*": redirect_target,
    "deny.*": network,
    "allow.*": network,
    "basic_auth.@": pattern(r"[A-Za-z0-9._@+-]+", "is no name for a user; use letters, digits and . _ @ + -"),
    "basic_auth.*": PASSWORD_HASH,
    "limits.requests": optional(
        pattern(r"[1-9][0-9]*r/[sm]", "give requests a second or a minute, such as 20r/s or 30r/m")
    ),
    "limits.burst": between(0),
    "limits.connections": between(0),
    "ban.failures": between(0),
    "ban.within": between(1),
    "ban.seconds": between(1),
    "ban.ignore.*": network,
    "trusted_balancers.*": balancer,
    # Its length is what nginx's variables can bear, which are named after headers and sites.
    "headers.@": pattern(
        r"(?=.{1,50}\Z)[A-Za-z0-9]+(-[A-Za-z0-9]+)*", "is no name for a header; use letters, digits and -, at most 50"
    ),
    "headers.*": pattern(r"[^\"\\$\x00-\x1f\x7f]*", 'stay on one line, without ", \\ and $'),
    "mask_paths.*": pattern(PATH, "begin it with /, such as /account/reset/"),
}
"""Dotted key → rule. ``.*`` stands for each element (or value) of the key, ``.@`` for each name in it."""

# Keys that hold entries by name, and what each entry must say.
NEEDED = {"processes": ("command",), "cron": ("command", "schedule")}

# What `locations` may say of a path: keys of the site, for this path alone, and some of its own.
LOCATION_KEYS = ("client_max_body_size", "proxy_timeout", "allow", "deny", "basic_auth", "limits", "micro_cache")
LOCATION_ONLY = {"stream": {"type": "bool"}, "client_verify": {"type": "str", "choices": ["required", "optional"]}}
GUARDS = frozenset({"allow", "deny", "basic_auth", "limits", "client_verify"})

# What is said once for all of a name, by the site that has path /.
SERVER_KEYS = (
    "trusted_balancers", "proxy_protocol", "https_port", "canonical_name", "tls.mode", "tls.redirect", "tls.client_ca",
    "tls.client_verify",
)  # fmt: skip

# What only a host can need that has the site's server.
BACK_KEYS = (
    "source.path", "source.git", "source.archive", "env", "bind", "gunicorn.certfile", "aliases", "processes", "cron",
    "error_pages", "hooks.before_start", "hooks.after_live",
)  # fmt: skip

# Strict on purpose: templates get what the page says, and `"no"` is true in Jinja, and a string joins letter by letter.
TYPES: dict[str, tuple[Callable[[Any], bool], str]] = {
    "str": (
        lambda v: isinstance(v, str | int | float) and not isinstance(v, bool),
        "must be a text; put it in quotes",
    ),
    "int": (
        lambda v: isinstance(v, int) and not isinstance(v, bool),
        "must be a whole number; write it without quotes",
    ),
    "bool": (lambda v: isinstance(v, bool), "must be true or false, without quotes"),
    "list": (lambda v: isinstance(v, list | tuple), "must be a list; put it in [ ], or each on its line after a -"),
    "dict": (lambda v: isinstance(v, Mapping), "must hold `name: value` pairs; indent them below the key"),
    "raw": (lambda v: True, ""),
}

BROKEN: Any = object()  # stands for a value that could not be worked out, so that nothing else complains of it


# The ways to say where code is; and what goes with one of them alone: of which, and the remedy if it has to be there.
SOURCES = ("path", "git", "archive")
SOURCE_PARTS = {
    "version": ("git", "give the tag, branch or commit that is to be live"),
    "key": ("git", ""),
    "sha256": ("archive", "give what `sha256sum` says of the archive"),
}


class Page:
    """One host's page, as far as it can be read, and what is wrong with it."""

    def __init__(
        self, variables: Mapping[str, Any], loader: DataLoader, spec: Mapping[str, Any], keys: Mapping[str, Any]
    ) -> None:
        self.loader, self.spec, self.keys = loader, spec, keys
        self.variables = variables
        self.errors: dict[str, None] = {}
        self.sites: dict[str, dict[str, Any]] = {}
        self.names: list[str] = []
        self._read()

    def report(self, place: str, text: str) -> None:
        """Keep one line of what is wrong."""
        self.errors[f"{place}: {text}"] = None

    def _read(self) -> None:
        sites = self._container("sites")
        if sites is None:
            return
        for name, entry in sites.items():
            self.names.append(str(name))
            problem = identifier(str(name)) if isinstance(name, str) else "must be a text; put it in quotes"
            if problem:
                self.report(str(name), f"as the name of a site, {problem}" if "use" in problem else problem)
            shared = self._part("site_defaults", name, self.variables.get("site_defaults"), optional_part=True)
            own = self._part(str(name), name, entry)
            if isinstance(shared, dict) and isinstance(own, dict):
                base = self._resolve(self.keys, str(name), self._templar(name))
                merged = merge(merge(base, shared), own)
                self.sites[str(name)] = merged
                self._check_whole(str(name), merged)
        if not sites:
            self._part("site_defaults", "example", self.variables.get("site_defaults"), optional_part=True)

    def _templar(self, name: object) -> Templar:
        return Templar(loader=self.loader, variables={**self.variables, "site_name": name})

    def _container(self, variable: str) -> Mapping[str, Any] | None:
        """The page itself, which may also be worked out by a template."""
        value = self.variables.get(variable)
        if isinstance(value, str):
            value = self._value(value, variable, self._templar(""))
        if value is None or value is BROKEN:
            return None
        if not isinstance(value, Mapping):
            self.report(variable, "must hold one entry for each site; write `SITE:` below it, and indent its settings")
            return None
        return value

    def _part(self, place: str, name: object, value: object, *, optional_part: bool = False) -> dict[str, Any] | None:
        """What was written for one site, or in `site_defaults`: worked out, and every key of it checked."""
        if value is None and optional_part:
            return {}
        if value is None:
            self.report(place, "has no settings; indent them below its name, or write `state: absent`")
            return None
        value = self._resolve(value, place, self._templar(name))
        if value is BROKEN:
            return None
        if not isinstance(value, dict):
            self.report(place, TYPES["dict"][1])
            return None
        self._check_keys(value, self.spec, place, "")
        return value

    def _resolve(self, value: object, place: str, templar: Templar) -> object:
        """Work out every template in a value. One that cannot be worked out is reported and becomes BROKEN."""
        if isinstance(value, Mapping):
            return {key: self._resolve(item, f"{place}.{key}", templar) for key, item in value.items()}
        if isinstance(value, list | tuple):
            return [self._resolve(item, f"{place}[{number}]", templar) for number, item in enumerate(value)]
        return self._value(value, place, templar)

    def _value(self, value: object, place: str, templar: Templar) -> object:
        try:
            return templar.template(value)
        except (AnsibleError, TemplateError) as error:
            self.report(place, why(error))
            return BROKEN

    def _check_keys(self, given: Mapping[str, Any], spec: Mapping[str, Any], place: str, prefix: str) -> None:
        for key, value in given.items():
            if key not in spec:
                where = f"a key of `{prefix[:-1]}`" if prefix else "a site key"
                self.report(f"{place}.{key}", f"is not {where}; {suggest(str(key), prefix, self.spec)}")
                continue
            self._check_value(value, spec[key], f"{place}.{key}", prefix + key)

    def _check_value(self, value: object, option: Mapping[str, Any], place: str, dotted: str) -> None:
        if value is BROKEN:
            return
        if value is None:
            self.report(place, "is empty; give a value, or leave the key out to get its default")
            return
        fits, remedy = TYPES[option.get("type", "str")]
        if not fits(value):
            self.report(place, remedy)
        elif "choices" in option and value not in option["choices"]:
            self.report(place, f"must be one of: {', '.join(map(str, option['choices']))}")
        elif "options" in option:
            self._check_keys(value, option["options"], place, f"{dotted}.")
        elif dotted == "locations":
            self._check_locations(value, place)
        elif isinstance(value, list):
            for number, item in enumerate(value):
                self._check_value(item, {"type": option.get("elements", "raw")}, f"{place}[{number}]", f"{dotted}.*")
        elif isinstance(value, Mapping):
            for name, item in value.items():
                self._apply(f"{dotted}.@", str(name), f"{place}.{name}")
                if "each" in option:
                    each = {"type": "dict", "options": option["each"]}
                    self._check_value(item, each, f"{place}.{name}", f"{dotted}.*")
                else:
                    self._check_scalar(item, f"{place}.{name}", f"{dotted}.*")
        else:
            self._apply(dotted, value, place)

    def _check_locations(self, locations: Mapping[str, Any], place: str) -> None:
        """Each path has a few of the site's own keys, with the same types and rules."""
        known = {key: self.spec[key] for key in LOCATION_KEYS} | LOCATION_ONLY
        for path, keys in locations.items():
            here = f"{place}.{path}"
            if path == "/":
                self.report(here, "is the whole site; say it of the site itself")
            elif problem := pattern(PATH, "begin it with /, and leave out ? and #")(path):
                self.report(here, problem)
            if keys is BROKEN:
                continue
            if not isinstance(keys, Mapping):
                self.report(here, TYPES["dict"][1])
                continue
            for key, value in keys.items():
                if key in known:
                    self._check_value(value, known[key], f"{here}.{key}", key)
                else:
                    self.report(f"{here}.{key}", f"is no key of a path; there are: {', '.join(known)}")

    def _check_scalar(self, value: object, place: str, dotted: str) -> None:
        if value is BROKEN:
            return
        if isinstance(value, str | int | float):
            self._apply(dotted, value, place)
        else:
            self.report(place, 'must be one value; write "" for an empty one')

    def _apply(self, dotted: str, value: object, place: str) -> None:
        if (rule := RULES.get(dotted)) and (problem := rule(value)):
            self.report(place, problem)

    # --- What only the merged entry can tell ------------------------------------------------------------------------

    def _check_whole(self, name: str, site: dict[str, Any]) -> None:
        if site.get("state") != "present":
            return
        if not site["server_names"]:
            self.report(f"{name}.server_names", "is missing; give the names that it answers to, in [ ]")
        if isinstance(site["gunicorn"], Mapping):
            for one, other in (("certfile", "keyfile"), ("keyfile", "certfile")):
                if site["gunicorn"].get(one) and not site["gunicorn"].get(other):
                    self.report(f"{name}.gunicorn.{other}", f"is missing; {one} does nothing without it")
            if site["gunicorn"].get("ca_certs") and not site["gunicorn"].get("certfile"):
                self.report(f"{name}.gunicorn.certfile", "is missing; ca_certs does nothing without it")
        if site["server"] == "uwsgi" and isinstance(site["uwsgi"], Mapping):
            self._check_uwsgi(name, site, site["uwsgi"])
        self._check_crew(name, site)
        if isinstance(site["upstream"], Mapping) and site["upstream"].get("servers"):
            self._check_front(name, site, site["upstream"])
        elif isinstance(site["source"], Mapping):
            self._check_source(name, site)
        self._check_names(name, site)
        if isinstance(site["tls"], Mapping):
            self._check_tls(name, site, site["tls"])
        if site["proxy_protocol"] is True and not site["trusted_balancers"]:
            self.report(f"{name}.trusted_balancers", "is missing; proxy_protocol believes only who stands there")
        if isinstance(site["ban"], Mapping) and site["ban"].get("failures") and site["trusted_balancers"]:
            self.report(
                f"{name}.ban.failures",
                "would close the ports to the balancer, whose packets all of them are; let it ban, or use limits",
            )
        self._check_paths(name, site)
        self._check_cache(name, site)
        self._check_processes(name, site)

    def _check_crew(self, name: str, site: dict[str, Any]) -> None:
        """How few workers there can be, and who imports the app."""
        most = [one for one in (site["workers"], site["workers_max"] or "auto") if isinstance(one, int)]
        if isinstance(site["workers_min"], int) and site["workers_min"] >= min(most, default=3) > 0:
            self.report(
                f"{name}.workers_min", "must be less than the workers there can be: those of workers and workers_max, "
                "and 3 for auto on the smallest host"
            )  # fmt: skip
        if site["server"] == "gunicorn" and site["preload"] is True and "gevent" in str(site["worker_class"]):
            self.report(
                f"{name}.preload", "would import the app before gevent has patched Python, and a query would stop all "
                "requests of its worker; leave it out, or take another worker_class"
            )  # fmt: skip

    def _check_uwsgi(self, name: str, site: dict[str, Any], uwsgi: Mapping[str, Any]) -> None:
        """What only gunicorn has."""
        if site["worker_class"] not in ("gthread", "sync", BROKEN):
            self.report(
                f"{name}.worker_class", "is gunicorn's; with server: uwsgi say gthread (with threads) or sync (without)"
            )
        if isinstance(site["gunicorn"], Mapping) and site["gunicorn"].get("certfile"):
            self.report(
                f"{name}.gunicorn.certfile", "is gunicorn's, and uWSGI would speak without TLS; leave it out, or say "
                "server: gunicorn"
            )  # fmt: skip

    def _check_front(self, name: str, site: dict[str, Any], upstream: Mapping[str, Any]) -> None:
        """A site whose servers are on other hosts has nothing here that a server would need."""
        for dotted in BACK_KEYS:
            outer, _, inner = dotted.partition(".")
            holder = site[outer]
            value = holder.get(inner) if inner and isinstance(holder, Mapping) else None if inner else holder
            if value and value is not BROKEN:
                self.report(
                    f"{name}.{dotted}", "is for the host that has the server; leave it out here, or upstream.servers"
                )
        servers = items(upstream["servers"])
        for number, given in enumerate(servers):
            if given in servers[:number]:
                self.report(f"{name}.upstream.servers[{number}]", "stands there twice; leave one out")
        if upstream.get("tls") is not True:
            return
        first = next(iter(items(site["server_names"])), "")
        if not upstream.get("name") and (first.startswith("*.") or is_address(first)):
            words = "is missing; the first of server_names is no host's name, by which a certificate could be verified"
            self.report(f"{name}.upstream.name", words)
        if not isinstance(upstream.get("ca"), str):
            return
        if not upstream["ca"]:
            self.report(
                f"{name}.upstream.ca",
                "is missing; give the PEM file with the authorities of the servers' certificates (or tls: false)",
            )
            return
        try:
            text = provided_pair.text_of("ca", upstream["ca"], self.loader.get_text_file_contents)
            found = provided_pair.certificates_in("ca", text)
        except provided_pair.PairError as error:
            self.report(f"{name}.upstream.ca", error.words)
            return
        if all(each.not_valid_after_utc <= datetime.now(UTC) for each in found):
            self.report(f"{name}.upstream.ca", "has ended; give the one that the servers' certificates are of now")

    def _check_names(self, name: str, site: dict[str, Any]) -> None:
        canonical = site["canonical_name"]
        if canonical is BROKEN or not canonical:
            return
        if canonical not in items(site["server_names"]):
            self.report(f"{name}.canonical_name", "is none of server_names; add it there, or name one of them")
        elif str(canonical).startswith("*."):
            self.report(f"{name}.canonical_name", "is a wildcard, to which nobody can be sent; name one host")

    def _check_tls(self, name: str, site: dict[str, Any], tls: Mapping[str, Any]) -> None:
        mode = tls.get("mode")
        given = {key: str(tls[key]) for key in (*provided_pair.PARTS, "client_ca") if isinstance(tls.get(key), str)}
        if mode == "provided" and len(given) == len(provided_pair.PARTS) + 1:
            names = [one for one in items(site["server_names"]) if server_name(one) is None]
            for key, words in provided_pair.problems(given, names, self.loader.get_text_file_contents):
                self.report(f"{name}.tls.{key}", words)
        elif mode in ("none", "selfsigned", "acme"):
            for key in provided_pair.PARTS:
                if given.get(key):
                    self.report(f"{name}.tls.{key}", "is of no use with this mode; say mode: provided, or leave it out")
        if mode == "acme":
            self._check_acme(name, site)
        if given.get("client_ca") and mode == "none":
            self.report(f"{name}.tls.client_ca", "asks for certificates over plain http; give tls a mode")
        elif given.get("client_ca"):
            try:
                text = provided_pair.text_of("client_ca", given["client_ca"], self.loader.get_text_file_contents)
                provided_pair.certificates_in("client_ca", text)
            except provided_pair.PairError as error:
                self.report(f"{name}.tls.{error.key}", error.words)
            self._check_clients(name, site, tls)
        if tls.get("http3") is True and site["proxy_protocol"] is True:
            self.report(f"{name}.tls.http3", "comes by UDP, which the PROXY protocol does not; leave one of them out")
        if not given.get("client_ca"):
            for path, keys in site["locations"].items() if isinstance(site["locations"], Mapping) else ():
                if isinstance(keys, Mapping) and "client_verify" in keys:
                    self.report(f"{name}.locations.{path}.client_verify", "checks nothing without tls.client_ca")

    def _check_clients(self, name: str, site: dict[str, Any], tls: Mapping[str, Any]) -> None:
        """Nobody comes in by a way on which no certificate is asked for."""
        if site["trusted_balancers"] and site["proxy_protocol"] is False:
            self.report(
                f"{name}.tls.client_ca",
                "sees nobody behind a balancer that speaks HTTP; let it pass TLS on, and say proxy_protocol: true",
            )
        if tls.get("redirect") is False and tls.get("client_verify") == "required":
            self.report(f"{name}.tls.redirect", "lets clients in by plain http without a certificate; leave it true")

    def _check_paths(self, name: str, site: dict[str, Any]) -> None:
        """No path is two things at once."""
        aliases, locations, redirects = (
            site[key] if isinstance(site[key], Mapping) else {} for key in ("aliases", "locations", "redirects")
        )
        for path, keys in locations.items():
            place = f"{name}.locations.{path}"
            if path in aliases:
                if useless := sorted(set(keys if isinstance(keys, Mapping) else ()) - GUARDS):
                    self.report(place, f"is an alias, of files, for which there is no {', '.join(useless)}")
            elif above := next((alias for alias in aliases if alias != "/" and str(path).startswith(alias)), None):
                self.report(place, f"lies below the alias {above}; make it an alias of its own first")
        for path, target in redirects.items():
            place = f"{name}.redirects.{path}"
            if path in aliases or path in locations:
                self.report(place, f"is also one of {'aliases' if path in aliases else 'locations'}; keep one of them")
            elif target == path or (
                str(path).endswith("/") and str(target).endswith("/") and str(target).startswith(str(path))
            ):
                self.report(place, "leads to itself; give another address")

    def _check_cache(self, name: str, site: dict[str, Any]) -> None:
        """Nothing is kept where everybody is somebody, or where an answer has no end."""
        tls = site["tls"] if isinstance(site["tls"], Mapping) else {}
        locations = site["locations"] if isinstance(site["locations"], Mapping) else {}
        places = {name: site} | {f"{name}.locations.{path}": keys for path, keys in locations.items()}
        for place, keys in places.items():
            cache = keys.get("micro_cache") if isinstance(keys, Mapping) else None
            if not isinstance(cache, Mapping):
                continue
            here = f"{place}.micro_cache"
            if keys is not site and "size" in cache:
                self.report(f"{here}.size", "is that of the whole site; say it there")
            if cache.get("seconds") in (0, None, BROKEN):
                continue
            if keys.get("stream") is True:
                self.report(here, "keeps nothing of a stream; leave one of them out")
            if keys.get("basic_auth"):
                self.report(here, "keeps nothing where everybody gives a password; leave one of them out")
            if tls.get("client_ca") and keys.get("client_verify", tls.get("client_verify")) == "required":
                self.report(here, "keeps nothing where everybody shows a certificate (client_verify); leave it out")

    def _check_acme(self, name: str, site: dict[str, Any]) -> None:
        """What an authority cannot do that looks for a token at each name."""
        names = items(site["server_names"])
        for number, given in enumerate(names):
            if given.startswith("*."):
                words = "is a wildcard, which tls.mode acme cannot prove; name the hosts, or provide a certificate"
                self.report(f"{name}.server_names[{number}]", words)
        if names and all(is_address(given) for given in names):
            words = "holds addresses alone, and tls.mode acme needs a name; give one, or say selfsigned"
            self.report(f"{name}.server_names", words)
        if site["http_port"] not in (80, BROKEN):
            self.report(f"{name}.http_port", "must be 80 for tls.mode acme: there the authority looks for its token")

    def _check_processes(self, name: str, site: dict[str, Any]) -> None:
        entries = {key: site[key] if isinstance(site[key], Mapping) else {} for key in NEEDED}
        for twice in sorted(set(entries["processes"]) & set(entries["cron"])):
            self.report(f"{name}.cron.{twice}", "is also the name of one of `processes`; choose another")
        for key, needed in NEEDED.items():
            for title, entry in entries[key].items():
                if not isinstance(entry, Mapping):
                    continue
                for missing in (word for word in needed if word not in entry):
                    self.report(f"{name}.{key}.{title}.{missing}", "is missing")
                self._check_hosts(name, f"{name}.{key}.{title}.hosts", items(entry.get("hosts")))

    def _check_hosts(self, name: str, place: str, wanted: list[str]) -> None:
        """A name that is none would be obeyed by nobody, without a word."""
        if not wanted or "hostvars" not in self.variables:
            return
        hostvars = self.variables["hostvars"]
        known = [host for host in hostvars if name in self._sites_of(hostvars.raw_get(host))]
        for number, host in enumerate(wanted):
            if host not in known:
                self.report(f"{place}[{number}]", f"is no host of this site; there are: {', '.join(known)}")

    def _sites_of(self, variables: Mapping[str, Any]) -> Any:
        """The names of another host's sites. A page that is worked out by a template is asked for them."""
        sites = variables.get("sites")
        if isinstance(sites, str):
            try:
                sites = Templar(loader=self.loader, variables={**variables}).template(sites)
            except (AnsibleError, TemplateError):  # that host's own check says so
                sites = None
        return sites if isinstance(sites, Mapping) else {}

    def _check_source(self, name: str, site: dict[str, Any]) -> None:
        source = site["source"]
        if any(value is BROKEN for value in source.values()):
            return
        given = [kind for kind in SOURCES if source.get(kind)]
        if not given:
            self.report(f"{name}.source", "is missing; give one of path (such as app), git or archive")
            return
        if len(given) > 1:
            self.report(f"{name}.source", f'has {" and ".join(given)}; give one of them, and empty the other: ""')
            return
        for key, (kind, needed) in SOURCE_PARTS.items():
            if kind in given and needed and not source.get(key):
                self.report(f"{name}.source.{key}", f"is missing; {needed}")
            elif kind not in given and source.get(key):
                self.report(f"{name}.source.{key}", f"belongs to a source of {kind}; leave it out")
        if given == ["path"]:
            if source.get("subfolder"):
                self.report(f"{name}.source.subfolder", "belongs to git or archive; name the folder in path")
            self._check_folder(name, site, PROJECT / Path(str(source["path"])).expanduser())
        for key in ("key", "archive"):
            path = str(source.get(key) or "")
            if path and "://" not in path and not (PROJECT / Path(path).expanduser()).is_file():
                self.report(f"{name}.source.{key}", "is no file on this machine; it is relative to the project's root")

    def _check_folder(self, name: str, site: dict[str, Any], folder: Path) -> None:
        if not folder.is_dir():
            self.report(f"{name}.source.path", "is no folder on this machine; it is relative to the project's root")
            return
        inventory = self.variables.get("inventory_dir")
        if inventory and Path(inventory).resolve().is_relative_to(folder.resolve()):
            self.report(f"{name}.source.path", "holds your inventory, secrets and all; give the app's own folder")
        if not isinstance(site["requirements"], str) or inside(site["requirements"]):
            return
        lock = folder / site["requirements"]
        if not lock.is_file():
            self.report(f"{name}.requirements", f"is not a file below the source; make it with `{lock_command(lock)}`")
        elif lock.name == "uv.lock" and not (lock.parent / "pyproject.toml").is_file():
            self.report(f"{name}.requirements", "uv.lock needs the pyproject.toml it was made from beside it")
        elif lock.name != "uv.lock" and unhashed(lock.read_text(encoding="utf-8", errors="replace")):
            self.report(f"{name}.requirements", f"has packages without hashes; run `{lock_command(lock)}` beside it")

    def in_git(self) -> list[str]:
        """The sites whose source has versions."""
        sources = {name: site.get("source") for name, site in self.sites.items()}
        return [name for name, source in sources.items() if isinstance(source, Mapping) and source.get("git")]

    def check_together(self) -> None:
        """What two sites on one host cannot share."""
        present = {name: site for name, site in self.sites.items() if site.get("state") == "present"}
        names: dict[tuple[str, Any, Any], str] = {}
        binds: list[tuple[str, str, str]] = []
        # nginx's ports: by which key of which site.
        ports: dict[str, tuple[str, str]] = {}
        addressed: dict[Any, str] = {}
        seen: dict[tuple[str, str], str] = {}
        for name, site in present.items():
            for key in port_keys(site):
                if isinstance(site[key], int):
                    other, its = ports.setdefault(str(site[key]), (name, key))
                    if its != key:
                        self.report(f"{name}.{key}", f"is the {its} of {other}; http and https need a port each")
            for number, given in enumerate(items(site["server_names"])):
                place = f"{name}.server_names[{number}]"
                first = [names.setdefault((given.lower(), site[key], site["path"]), name) for key in port_keys(site)]
                if others := [other for other in first if other != name]:
                    self.report(place, f"is also a name of {others[0]}; a name belongs to one site, or one gets a path")
                elif [other.lower() for other in items(site["server_names"])].index(given.lower()) < number:
                    self.report(place, "stands there twice; leave one out")
                if "https_port" in port_keys(site) and is_address(given):
                    first_one = addressed.setdefault(site["https_port"], name)
                    # Below a path of another site, its names, addresses too, are the other's.
                    if first_one != name and given not in items(present[first_one]["server_names"]):
                        self.report(
                            place,
                            f"is an address, and {first_one} has some on this https_port; who asks for one says no "
                            "name to choose a certificate by, so take https_port of another number for one of them",
                        )
            for key in ("user", "root"):
                first = seen.setdefault((key, str(site[key]).rstrip("/")), name)
                if first != name and site[key] is not BROKEN:
                    self.report(f"{name}.{key}", f"is also that of {first}; give each site its own")
            binds += [(name, f"{name}.bind[{n}]", given) for n, given in enumerate(items(site["bind"]))]
        for number, (_, place, given) in enumerate(binds):
            address, _, port = given.rpartition(":")
            if port in ports:
                self.report(place, f"takes the port of nginx ({'.'.join(ports[port])}); choose another")
            for other, _, taken in binds[:number]:
                taken_address, _, taken_port = taken.rpartition(":")
                if port == taken_port and (address == taken_address or {address, taken_address} & ANY_ADDRESS):
                    self.report(place, f"takes a port that {other}.bind takes too; choose another")
        for name, site in present.items():
            if site["path"] != "/" and isinstance(site["path"], str):
                self._check_mount(name, site, present)
        speak: dict[Any, str] = {}
        for name, site in present.items():
            firsts = [speak.setdefault(site[key], name) for key in port_keys(site)]
            if other := next(
                (one for one in firsts if present[one]["proxy_protocol"] is not site["proxy_protocol"]), None
            ):
                self.report(
                    f"{name}.proxy_protocol",
                    f"is not as that of {other}, on the same port; a port speaks it or does not",
                )
        roots = {name: str(site["root"]).rstrip("/") for name, site in present.items()}
        for name, root in roots.items():
            if outer := next((other for other, above in roots.items() if root.startswith(f"{above}/")), None):
                self.report(f"{name}.root", f"lies inside that of {outer}; give each site its own")

    def _check_mount(self, name: str, site: dict[str, Any], present: Mapping[str, dict[str, Any]]) -> None:
        """A site below a path has its names to itself, or shares all of them with one that has path /."""
        own = set(items(site["server_names"]))
        sharing = {
            other: entry
            for other, entry in present.items()
            if other != name and entry["http_port"] == site["http_port"] and own & set(items(entry["server_names"]))
        }
        owner = next((other for other, entry in sharing.items() if entry["path"] == "/"), None)
        if owner is None:
            if sharing:
                others = ", ".join(sharing)
                self.report(f"{name}.path", f"shares a name with {others}; one of the sites of a name needs path /")
            return
        if not own <= set(items(sharing[owner]["server_names"])):
            self.report(
                f"{name}.server_names", f"are not all names of {owner}, which has path / there; share all or none"
            )
        for key in SERVER_KEYS:
            outer, _, inner = key.partition(".")
            own_word, its = (each[outer].get(inner) if inner else each[outer] for each in (site, sharing[owner]))
            if own_word != its:
                self.report(f"{name}.{key}", f"is not as that of {owner}, which has path / there; say the same")
        for path, keys in site["locations"].items() if isinstance(site["locations"], Mapping) else ():
            if isinstance(keys, Mapping) and "client_verify" in keys and site["tls"].get("client_ca"):
                self.report(f"{name}.locations.{path}.client_verify", f"is for {owner} to say, which has path / there")
        for key in ("aliases", "locations", "redirects"):
            for path in sharing[owner][key] if isinstance(sharing[owner][key], Mapping) else ():
                if f"{path}/".startswith(f"{site['path']}/"):
                    self.report(f"{owner}.{key}.{path}", f"stands below the path of {name}; say it there")


def port_keys(site: Mapping[str, Any]) -> list[str]:
    """The keys that say which ports of nginx a site uses."""
    plain = not isinstance(site["tls"], Mapping) or site["tls"].get("mode") == "none"
    return ["http_port"] if plain else ["http_port", "https_port"]


def is_address(name: str) -> bool:
    """Whether a name is an address."""
    try:
        ipaddress.ip_address(name)
    except ValueError:
        return False
    return True


def items(value: object) -> list[str]:
    """The texts of a list, without what was already found broken."""
    return [item for item in value if isinstance(item, str)] if isinstance(value, list) else []


def merge(base: Mapping[str, Any], over: Mapping[str, Any]) -> dict[str, Any]:
    """As the `combine` filter with `recursive=true`: dicts merge, everything else is replaced."""
    merged = dict(base)
    for key, value in over.items():
        both = isinstance(merged.get(key), Mapping) and isinstance(value, Mapping)
        merged[key] = merge(merged[key], value) if both else value
    return merged


def why(error: BaseException) -> str:
    """Why a template could not be worked out: names of variables, never what they hold."""
    chain: list[BaseException] = []
    step: BaseException | None = error
    while step is not None:
        chain.append(step)
        step = step.__cause__
    for step in reversed(chain):
        if "ault" in type(step).__name__ or "decrypt" in str(step):
            return "cannot be decrypted; give the vault password (--vault-password-file, or --ask-vault-pass)"
    for step in reversed(chain):
        text = str(getattr(step, "message", step))
        if name := re.search(r"'([A-Za-z_]\w*)' is undefined", text):
            return (
                f"uses the variable `{name[1]}`, which is not defined; define it in the inventory "
                "(a secret: in a vault file beside the page, as vault.yml.example shows)"
            )
        if name := re.search(r"has no attribute '([^']*)'", text):
            return f"asks a variable for `{name[1]}`, which it does not have; check the spelling, or add it there"
    if isinstance(error, AnsibleUndefinedVariable):
        return "uses a variable that is not defined; define it in the inventory"
    return f"cannot be worked out ({type(chain[-1]).__name__}); check the template that stands there"


def suggest(key: str, prefix: str, spec: Mapping[str, Any]) -> str:
    """The likeliest key that was meant."""
    every = list(dotted_keys(spec))
    level = [name for name in every if name.startswith(prefix) and "." not in name[len(prefix) :]]
    if close := difflib.get_close_matches(prefix + key, level, n=1, cutoff=0.7):
        return f"did you mean `{close[0]}`?"
    elsewhere = [name for name in every if name.split(".")[-1] == key]
    if elsewhere:
        return f"did you mean `{elsewhere[0]}`?"
    if prefix:
        return f"there are: {', '.join(name[len(prefix) :] for name in level)}"
    return "roles/site/defaults/main.yml lists them all"


def dotted_keys(spec: Mapping[str, Any], prefix: str = "") -> Iterator[str]:
    """Every key of the spec by its dotted name."""
    for key, option in spec.items():
        yield prefix + key
        yield from dotted_keys(option.get("options", {}), f"{prefix}{key}.")
        yield from dotted_keys(option.get("each", {}), f"{prefix}{key}.*.")


def site_spec(argument_specs: Mapping[str, Any]) -> dict[str, Any]:
    """The spec of a site's keys; a key that holds entries by name has the spec of one as `each`."""
    options = argument_specs["main"]["options"]
    spec = dict(options["site_entry"]["options"])
    for key in NEEDED:
        spec[key] = {**spec[key], "each": options[f"site_{key}_keys"]["options"]}
    return spec


def unhashed(text: str) -> bool:
    """Whether a requirements file names a package without its hash."""
    lines = re.sub(r"\\\r?\n", " ", text).splitlines()
    wanted = [line for line in (re.sub(r"(^|\s)#.*", "", line).strip() for line in lines) if line]
    packages = [line for line in wanted if not line.startswith("-") or line.startswith(("-e", "--editable"))]
    return any("--hash=" not in line for line in packages)


def misplaced_version(extra: Mapping[str, Any], in_git: set[str]) -> list[str]:
    """What is wrong with a version that the command line asks for (a variable of the inventory may be called so)."""
    if "version" not in extra:
        return []
    if "site" not in extra:
        return ["-e version=…: is the version of one site; name it with -e site=…"]
    problem = version(extra["version"])
    if extra["site"] not in in_git:
        problem = "only a site whose source is in git has versions; leave it out"
    return [f"-e version=…: {problem}"] if problem else []


def lock_command(lock: Path) -> str:
    """How to make a lock file as it should be."""
    if lock.name == "uv.lock":
        return "uv lock"
    return f"uv pip compile --universal --generate-hashes {lock.with_suffix('.in').name} -o {lock.name}"


class ActionModule(ActionBase):
    """``preflight:`` reads the variables of every host in the play.

    With ``only: site`` it looks at nothing but whether there is the site that ``-e site=…`` names, and with ``only:
    one_site`` it also wants one to be named if there are several: a way back must not depend on a page without faults.
    """

    _requires_connection = False

    def run(self, tmp: str | None = None, task_vars: dict[str, Any] | None = None) -> dict[str, Any]:
        """Check every host's page; the result names no value."""
        result = super().run(tmp, task_vars)
        variables = task_vars or {}
        if only := self._task.args.get("only"):
            return {**result, **self._choose(variables, one=only == "one_site")}
        argument_specs = self._loader.load_from_file(str(SITE_ROLE / "meta/argument_specs.yml"))["argument_specs"]
        spec = site_spec(argument_specs)
        keys = self._loader.load_from_file(str(SITE_ROLE / "defaults/main.yml"), trusted_as_template=True)["site_keys"]

        hosts = list(variables["ansible_play_hosts_all"])
        found: dict[str, list[str]] = {}
        known: dict[str, None] = {}
        in_git: set[str] = set()
        for host in hosts:
            own = {**variables["hostvars"].raw_get(host), "hostvars": variables["hostvars"]}
            page = Page(own, self._loader, spec, keys)
            page.check_together()
            known.update(dict.fromkeys(page.names))
            in_git.update(page.in_git())
            for line in page.errors:
                found.setdefault(line, []).append(host)

        # All of a site stands together, in the order of the page.
        order = {name: number for number, name in enumerate(known, 1)}
        lines = [
            line if len(where) == len(hosts) else f"{line} (on {', '.join(where)})"
            for line, where in sorted(found.items(), key=lambda item: order.get(re.split(r"[.:]", item[0])[0], 0))
        ]
        lines += misplaced_version(load_extra_vars(self._loader), in_git)
        if "site" in variables:
            lines += self._unknown_selection(self._templar.template(variables["site"]), list(known))
        self._warn_of_stray_overrides(variables, known)
        if lines:
            things = "one thing" if len(lines) == 1 else f"{len(lines)} things"
            result.update(
                failed=True,
                msg=f"The page needs {things} mended; no host was touched.\n"
                + "\n".join(f"  {line}" for line in lines),
            )
        else:
            result.update(changed=False, msg=f"{len(known)} site(s) on {len(hosts)} host(s)")
        return result

    def _choose(self, variables: Mapping[str, Any], *, one: bool) -> dict[str, Any]:
        """Which site is meant: the answer is the fact ``site_name``, empty for all."""
        known: dict[str, None] = {}
        for host in variables["ansible_play_hosts_all"]:
            own = variables["hostvars"].raw_get(host)
            sites = own.get("sites")
            if isinstance(sites, str):
                templar = Templar(loader=self._loader, variables={**own, "hostvars": variables["hostvars"]})
                sites = templar.template(sites)
            known.update(dict.fromkeys(map(str, sites if isinstance(sites, Mapping) else [])))
        if "site" in variables:
            wanted = str(self._templar.template(variables["site"]))
            problems = self._unknown_selection(wanted, list(known))
        elif one and len(known) != 1:
            wanted = ""
            problems = [f"-e site=…: say which site is meant. There are: {', '.join(known) or 'none'}"]
        else:
            wanted, problems = (next(iter(known)) if one else ""), []
        if problems:
            return {"failed": True, "changed": False, "msg": problems[0]}
        return {"changed": False, "ansible_facts": {"site_name": wanted}}

    @staticmethod
    def _unknown_selection(wanted: object, known: list[str]) -> list[str]:
        if wanted in known:
            return []
        close = difflib.get_close_matches(str(wanted), known, n=1)
        hint = f"did you mean {close[0]}? " if close else ""
        return [f"-e site=…: there is no such site on these hosts; {hint}There are: {', '.join(known) or 'none'}"]

    def _warn_of_stray_overrides(self, variables: Mapping[str, Any], known: Mapping[str, None]) -> None:
        """A folder for a site that nobody knows is probably a typo, and would silently do nothing."""
        folder = PROJECT / str(self._templar.template(variables.get("operator_templates", "templates")))
        folders = [path.name for path in folder.iterdir() if path.is_dir()] if folder.is_dir() else []
        strays = sorted(set(folders) - set(known))
        if strays:  # a run with --limit does not know every site, so ask the other hosts too
            hostvars = variables["hostvars"]
            everywhere = {str(name) for host in hostvars for name in self._names(hostvars.raw_get(host))}
            strays = sorted(set(strays) - everywhere)
        for stray in strays:
            self._display.warning(f"{folder.name}/{stray}/ overrides nothing: no site has that name.")

    @staticmethod
    def _names(variables: Mapping[str, Any]) -> list[Any]:
        sites = variables.get("sites")
        return list(sites) if isinstance(sites, Mapping) else []
