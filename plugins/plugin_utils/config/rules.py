"""What a value of the page may be, beyond its type."""

from __future__ import annotations

import ipaddress
import re
import shlex
from collections.abc import Callable
from typing import Any

# What a type cannot say. Each rule takes a value and answers what is wrong with it and what to do, or nothing.
# No answer may quote the value: it could be a secret in the wrong place.
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
certbot fail2ban letsencrypt sites-uv
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


# Of these, a value may have several lines.
LONG_TEXTS = frozenset({
    "env.*", "tls.certificate", "tls.chain", "tls.key", "tls.client_ca", "upstream.ca", "health.body",
    "hooks.before_start.*", "hooks.after_live.*", "hooks.on_failure.*", "hooks.schema", "processes.*.command",
    "cron.*.command",
})  # fmt: skip


def characters(dotted: str, value: object) -> str | None:
    """What no text of the page holds, whatever its own rule says: it would end a line or a word in some file."""
    text = str(value)
    if re.search(r"[\0\ud800-\udfff]", text):
        return "holds a character that no file can hold (a NUL, or half of a pair); take it out"
    if dotted != "env.*" and re.search(r"[\x01-\x08\x0b\x0c\x0e-\x1f\x7f]", text):
        return "holds a control character; take it out"
    # A schedule may have tabs between its fields.
    breaks = r"[\n\r\x85\u2028\u2029]" if dotted == "cron.*.schedule" else r"[\t\n\r\x85\u2028\u2029]"
    if dotted not in LONG_TEXTS and re.search(breaks, text):
        return "holds a line end or a tab; write it on one line, and of a block of YAML's (|, >) say |- or >-"
    return None


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


def tasks_max(value: object) -> str | None:
    """How many processes and threads."""
    fits = value == "infinity" or (isinstance(value, int) and not isinstance(value, bool) and value >= 16)
    return None if fits else "say infinity, or a whole number of at least 16 without quotes"


def worker_class(value: str) -> str | None:
    """The name of a class; which there are, only the gunicorn of the lock file knows."""
    if "asgi" in str(value).lower():
        return "is for ASGI apps, and a site's is WSGI; give gthread, sync, gevent or tornado"
    return pattern(r"[A-Za-z_][\w.]*", "give the name of a worker class, such as gthread, sync or gevent")(value)


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
        return "has letters that no name in DNS has; write it as xn--…"
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


def stats_place(value: str) -> str | None:
    """Where uWSGI tells of its workers: nowhere that others than this host reach."""
    loopback = str(value).rpartition(":")[0] in ("127.0.0.1", "[::1]") and address_port(value) is None
    return None if value == "socket" or loopback else "say socket, or a port of loopback: 127.0.0.1:9191"


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
        if "%" in str(value):  # behind which Python takes any text for the name of an interface
            raise ValueError
        ipaddress.ip_network(str(value))
    except ValueError:
        return "give an address or a network, such as 10.0.0.5 or 10.0.0.0/24"
    return None


def balancer(value: str) -> str | None:
    """Somebody in particular."""
    problem = network(value)
    everybody = problem is None and ipaddress.ip_network(str(value)).prefixlen == 0
    return "would believe everybody; name the balancer's own addresses" if everybody else problem


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
    fields = re.split(r"[ \t]+", text.strip(" \t"))
    if len(fields) != 5:
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
TAKEN = {
    **dict.fromkeys(("blue", "green"), "a slot"),
    **dict.fromkeys(("server", "access", "error"), "a log"),
    "scaler": "what lets workers follow the load",
}


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


def needs_commit(url: object, version: object) -> bool:
    """Whether anybody on the way could answer what a version means: nothing but a full hash can be held against it."""
    plain = re.match(r"(http|git)://", str(url), re.IGNORECASE)
    return bool(plain) and not re.fullmatch(r"[0-9a-f]{40}|[0-9a-f]{64}", str(version))


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
# Stands in quotes in Python's language.
HOST_PATH = pattern(r"/[^\s\"\\]+", "give an absolute path on the host")
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
    "tls.acme.directory": pattern(
        r"https://[A-Za-z0-9.:\[\]-]+(/[A-Za-z0-9._~:/?@!&()*+,;=%-]*)?",
        "give the https URL of the authority's directory",
    ),
    "tls.acme.email": optional(pattern(r"(?!-)[^\s@]+@[^\s@]+\.[^\s@]+", "give one mail address, or leave it empty")),
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
    "gunicorn.certfile": optional(HOST_PATH),
    "gunicorn.keyfile": optional(HOST_PATH),
    "gunicorn.ca_certs": optional(HOST_PATH),
    "uwsgi.reload_on_rss": between(0),
    "uwsgi.stats": optional(stats_place),
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
    # Not shared/: these are nginx's own words, so nobody but a release brings them.
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
    "resources.memory_max": pattern(
        r"infinity|[1-9][0-9]{0,17}|[1-9][0-9]{0,5}[KMGT]|([1-9][0-9]?|100)%",
        "give bytes such as 500M or 8G, a share such as 90%, or infinity",
    ),
    "resources.tasks_max": tasks_max,
    "resources.file_size_max": pattern(
        r"infinity|[1-9][0-9]{0,17}|[1-9][0-9]{0,5}[KMGT]",
        "give bytes such as 10G, or infinity",
    ),
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
