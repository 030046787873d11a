"""Table of the rules by key."""

from __future__ import annotations

from ansible_collections.wsgi.sites.plugins.plugin_utils.config.rules.basic import (
    Rule,
    between,
    expression,
    optional,
    pattern,
)
from ansible_collections.wsgi.sites.plugins.plugin_utils.config.rules.names import user
from ansible_collections.wsgi.sites.plugins.plugin_utils.config.rules.network import (
    LABEL,
    address_port,
    balancer,
    network,
    server_name,
    stats_place,
    upstream_server,
)
from ansible_collections.wsgi.sites.plugins.plugin_utils.config.rules.paths import (
    HOST_PATH,
    PATH,
    inside,
    redirect_target,
    site_root,
)
from ansible_collections.wsgi.sites.plugins.plugin_utils.config.rules.processes import (
    auto_or_count,
    command,
    process_name,
    schedule,
    tasks_max,
    worker_class,
)
from ansible_collections.wsgi.sites.plugins.plugin_utils.config.rules.source import (
    archive,
    repository,
    version,
)

PASSWORD_HASH = pattern(
    r"\$(apr1|5|6|y|2[aby])\$[./A-Za-z0-9$=,]{20,}",
    "is no hash of a password; make one with `openssl passwd -6`, and store it in a vault",
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
    "upstream.name": optional(pattern(rf"{LABEL}(\.{LABEL})*", "give the host name in the certificate")),
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
        "begin it with app/, packages/ or shared/, and use no ..",
    ),
    # Not shared/: error pages are a part of the release.
    "error_pages": optional(
        pattern(
            r"(app|packages)(/(?!\.\.?(/|$))[A-Za-z0-9._-]+)+/?",
            "begin it with app/ or packages/, and use no ..",
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
