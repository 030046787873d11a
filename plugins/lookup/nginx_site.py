"""What a site's templates for nginx print, worked out from its page."""

from __future__ import annotations

import re
from collections.abc import Iterator, Mapping
from typing import Any

from ansible.module_utils.compat.version import LooseVersion
from ansible.plugins.lookup import LookupBase

DOCUMENTATION = """
name: nginx_site
short_description: What a site's templates for nginx print, worked out from its page
description:
  - The templates see it as C(nginx), beside the page's own words in C(site). They print, and decide nothing.
  - C(names) are all names, IPv6 addresses in brackets; C(main_names) those that serve, C(starred) if one of
    these is a wildcard; C(other_names) lead to C(canonical).
  - C(listens) has the words of each C(listen) by server, C(main), C(redirect) and C(addresses); a server without any is
    not needed. C(http2) asks for C(http2 on), which newer releases have instead of a word.
  - C(live) is the link to the live slot, C(backend) what C(proxy_pass) says, C(encrypted) whether TLS is spoken there.
  - C(uwsgi) says whether nginx speaks the uwsgi protocol to a live release that does.
  - C(front) is nothing where the site's server is on this host; else C(servers) as C(server) takes them, C(verified)
    with the C(name) that their certificate must have and the file C(ca), or nothing for plain http, the C(retry) words
    of C(proxy_next_upstream), how many C(tries), and the seconds to C(connect).
  - C(mount) is the site's path without its last slash, C(root) that of the location for all that no other takes.
  - C(asked_scheme) is the variable that tells how the client asked. Where a C(balancer) tells it, C(insecure) is the
    variable that says who has to be led to https; C(https) is where to, without the path.
  - C(verify) is the word of C(ssl_verify_client). Where paths differ, C(certified) has the site's C(default), what
    C(paths) want instead, the most special first, and the variable C(missing) that says who lacks a certificate.
    C(misdirected) is the variable that says whose certificate may have been another site's to judge.
  - C(headers) are those of every answer, C(name) and C(value); C(header_maps) are behind those that the app may say
    itself.
  - C(guards), and the C(directives) of a path, are pairs of a directive and its value, in their order. Where paths
    have such, C(astray) is the variable that says who goes through one and out again. C(counters) are such pairs for
    outside of C(server), C(uncounted) the patterns of paths that are not counted, or nothing.
  - C(redirects), C(aliases) and C(paths) are locations in their order, with C(location) as that word takes it.
  - C(lives) are the variables with the C(Cache-Control) of a file whose name carries a hash, empty for any other, by
    C(public) and C(private); those that an alias uses as its C(life). C(packed) are the directives by which files come
    packed as they lie there.
  - C(cache) is nothing, or how answers are kept for a moment, with C(zone), C(path) and C(size), the C(unused) seconds
    after which one goes, the C(key) and the C(known) variable that says who gets answers of his own; C(unkept) has a
    variable and a pattern for each time that an answer is kept. C(cached) are the C(directives) of the location for all
    that no other takes.
  - C(streams) and C(masks) are the patterns of paths that may be a WebSocket, or are hidden from the log. C(log) names
    the log's format, and C(log_format) is its text if it is the site's own.
  - C(errors) is the path below which nginx's own errors are, C(error_codes) which these are, and C(error_pages) the
    folder of the release with pages for them, if it has one. C(never_shut) are the patterns of what is there for
    everybody while the site is shut. C(mount_pattern) and C(errors_pattern) are C(mount) and C(errors) as patterns.
options:
  _terms:
    description: The site's merged entry, and the name of the site.
    required: true
  version: {description: The release of nginx., type: str, required: true}
  ipv6: {description: Whether to listen on IPv6 too., type: bool, required: true}
  client_connections: {description: Requests that one client may have under way on the host., type: int, default: 0}
  log_format: {description: "The host's format of access.log, for a site that masks it.", type: str, default: ""}
  brotli: {description: Whether nginx can serve files that are packed by brotli., type: bool, default: false}
author: The authors of wsgi.sites (@wsgi)
"""

EXAMPLES = """
- name: Show where the site listens
  ansible.builtin.debug:
    msg: "{{ lookup('wsgi.sites.nginx_site', site_entry, site_name, version='1.26', ipv6=true).listens.main }}"
"""

RETURN = """
_raw:
  description: The settings.
  type: list
  elements: dict
"""

# A directive and its value.
Pair = tuple[str, str]

# Below the site's own path: where nginx leads a request that it answers with an error. No client gets in there.
ERRORS = "/.sites-errors"
# What nginx may say by itself to somebody who is still there to read it.
ERROR_CODES = (400, 401, 403, 404, 405, 413, 414, 421, 429, 500, 501, 502, 503, 504, 505, 507)

# What of a path's keys says who may come, and how often.
DOORS = {"allow", "deny", "basic_auth", "limits", "client_verify"}

# A WebSocket, or a stream, may be silent for so long.
STREAM_TIMEOUT = 3600
# When an older answer is better than none, or than to wait for a new one.
STALE_WHEN = "error timeout invalid_header updating http_500 http_502 http_503 http_504"


class LookupModule(LookupBase):
    """``lookup('wsgi.sites.nginx_site', site_entry, site_name, …)``."""

    def run(self, terms: list[Any], variables: Mapping[str, Any] | None = None, **kwargs: Any) -> list[dict[str, Any]]:
        """Answer the lookup."""
        entry, name = terms
        return [settings({**entry, "name": str(name)}, **kwargs)]


def settings(
    site: Mapping[str, Any],
    version: str,
    ipv6: bool,
    client_connections: int = 0,
    log_format: str = "",
    brotli: bool = False,
) -> dict[str, Any]:
    """Everything that ``DOCUMENTATION`` names, for the site's merged entry with its name."""
    name, mount = site["name"], site["path"].rstrip("/")
    names = [bracketed(each) for each in site["server_names"]]
    canonical = bracketed(site["canonical_name"])
    main_names = [canonical] if canonical else names
    elsewhere = front(site)
    encrypted = bool(
        elsewhere["verified"] if elsewhere else site["server"] == "gunicorn" and site["gunicorn"]["certfile"]
    )
    live = f"{site['root']}/live"
    return {
        "names": names,
        "starred": any(each.startswith("*.") for each in main_names),
        "canonical": canonical,
        "main_names": main_names,
        "other_names": [each for each in names if each not in main_names],
        "live": live,
        "encrypted": encrypted,
        "uwsgi": speaks_uwsgi(site),
        "front": elsewhere,
        "backend": f"{'https' if encrypted else 'http'}://site_{name}",
        "mount": mount,
        "root": f"{mount}/",
        "balancer": balanced(site),
        "asked_scheme": asked_scheme(site),
        **doors(site, version, ipv6),
        "https": f"https://{canonical or '$host'}{https_port(site)}",
        **client_certificates(site),
        **answer_headers(site, version),
        "cache": micro_cache(site),
        "cached": kept_answers(site, {"micro_cache": {}}),
        "guards": guards(site, {key: value for key, value in site.items() if value}, client_connections),
        "astray": f"$sites_astray__{name}" if any(DOORS & keys.keys() for keys in site["locations"].values()) else "",
        "counters": list(counters(site)),
        "uncounted": uncounted(site),
        "redirects": [redirect(mount, path, target) for path, target in by_name(site["redirects"])],
        "aliases": (aliases := [alias(site, live, prefix, client_connections) for prefix in sorted(site["aliases"])]),
        "lives": dict(
            sorted({each["life"]: hashed_life(site, each["life"]) for each in aliases if each["life"]}.items())
        ),
        "packed": ["gzip_static", *(["brotli_static"] if brotli else [])] if site["precompress"] else [],
        "paths": [
            {
                "location": location(mount, path),
                "directives": path_directives(site, path, keys, client_connections),
                "stream": bool(keys.get("stream")),
            }
            for path, keys in by_name(site["locations"])
            if path not in site["aliases"]
        ],
        "streams": [pattern(mount, path) for path, keys in by_name(site["locations"]) if keys.get("stream")],
        "masks": [re.escape(mount + path) for path in site["mask_paths"]],
        "log": name if site["mask_paths"] else "sites",
        "log_format": masked(log_format.strip(), name) if site["mask_paths"] else "",
        **errors(site, live),
    }


# --- Words of nginx ------------------------------------------------------------------------------------------------


def bracketed(name: str) -> str:
    """A name as it comes in a Host header, where IPv6 addresses stand in brackets."""
    return f"[{name}]" if ":" in name and not name.startswith("[") else name


def location(mount: str, path: str) -> str:
    """A path of the page, as ``location`` takes it: all below it, or only itself."""
    return f"{'^~' if path.endswith('/') else '='} {mount}{path}"


def pattern(mount: str, path: str) -> str:
    """The same as a pattern for ``map $uri``; `$` would also stand before a last %0A."""
    return rf"~^{re.escape(mount + path)}" + ("" if path.endswith("/") else r"\z")


def in_a_name(path: str) -> str:
    """A path as part of a zone's name, which ends at its first colon."""
    return path.replace(":", "%3A")


def by_name(entries: Mapping[str, Any]) -> list[tuple[str, Any]]:
    """A mapping's entries, so that their order on the page makes no other file."""
    return sorted(entries.items(), key=lambda entry: entry[0].lower())


# --- Doors: ports, names, schemes and certificates -----------------------------------------------------------------


def has_tls(site: Mapping[str, Any]) -> bool:
    """Whether nginx speaks https for it."""
    return site["tls"]["mode"] != "none"


def balanced(site: Mapping[str, Any]) -> bool:
    """Whether a balancer that speaks HTTP says how the client has asked; else the listener does."""
    return bool(site["trusted_balancers"]) and not site["proxy_protocol"]


def asked_scheme(site: Mapping[str, Any]) -> str:
    """The variable that tells how the client has asked."""
    return f"$sites_scheme__{site['name']}" if balanced(site) else "$scheme"


def https_port(site: Mapping[str, Any]) -> str:
    """What a URL says of the port; behind a balancer it is the balancer's, and the usual one."""
    return "" if site["https_port"] == 443 or site["trusted_balancers"] else f":{site['https_port']}"


def has_http3(site: Mapping[str, Any], version: str) -> bool:
    """Whether it is wanted, and nginx has it."""
    return has_tls(site) and bool(site["tls"]["http3"]) and LooseVersion(version) >= LooseVersion("1.25")


def by_address(site: Mapping[str, Any]) -> bool:
    """Whether some ask for it by an address."""
    return any(re.fullmatch(r"[0-9.]+|.*:.*", each) for each in site["server_names"])


def doors(site: Mapping[str, Any], version: str, ipv6: bool) -> dict[str, Any]:
    """Where each of the site's servers listens."""
    # HTTP/2 is a directive of its own since 1.25.1.
    http2 = has_tls(site) and LooseVersion(version) >= LooseVersion("1.25.1")
    proxied = ["proxy_protocol"] if site["proxy_protocol"] else []

    def words(port: int, *more: str) -> list[str]:
        places = [str(port), f"[::]:{port}"] if ipv6 else [str(port)]
        return [" ".join([place, *more]) for place in places]

    plain = words(site["http_port"], *proxied)
    encrypted = []
    if has_tls(site):
        encrypted = words(site["https_port"], "ssl", *([] if http2 else ["http2"]), *proxied)
    if has_http3(site, version):
        encrypted += words(site["https_port"], "quic")
    leads = has_tls(site) and bool(site["tls"]["redirect"])
    # Behind a balancer that ends TLS, plain http is not what the client has asked by: the main server has to see.
    apart = leads and not balanced(site)
    return {
        "http2": http2,
        "insecure": f"$sites_insecure__{site['name']}" if leads and not apart else "",
        "listens": {
            "redirect": plain if apart else [],
            "main": encrypted if apart else plain + encrypted,
            "addresses": [f"{each} default_server" for each in encrypted] if by_address(site) else [],
        },
    }


def client_certificates(site: Mapping[str, Any]) -> dict[str, Any]:
    """Of whom a certificate is wanted; nginx itself can only say it for a whole server."""
    tls, mount = site["tls"], site["path"].rstrip("/")
    # By no name in TLS, or an unknown one, only a site with addresses lets anybody in, by its own authorities.
    misdirected = f"$sites_misdirected__{site['name']}" if tls["client_ca"] and not by_address(site) else ""
    special = {path: keys["client_verify"] for path, keys in site["locations"].items() if "client_verify" in keys}
    if not tls["client_ca"]:
        return {"verify": "", "certified": None, "misdirected": ""}
    if not special:
        verify = "on" if tls["client_verify"] == "required" else "optional"
        return {"verify": verify, "certified": None, "misdirected": misdirected}
    # As nginx chooses a location: the path itself before all below it, and of these the longest.
    order = sorted(special, key=lambda path: (path.endswith("/"), -len(path), path))
    return {
        "verify": "optional",
        "misdirected": misdirected,
        "certified": {
            "default": tls["client_verify"],
            "paths": [{"pattern": pattern(mount, path), "wants": special[path]} for path in order],
            "missing": f"$sites_uncertified__{site['name']}",
        },
    }


# --- Servers on other hosts ----------------------------------------------------------------------------------------


def front(site: Mapping[str, Any]) -> dict[str, Any] | None:
    """How nginx reaches the site's servers, where they are not on this host."""
    upstream = site["upstream"]
    servers = upstream["servers"]
    if not servers:
        return None
    verified = {"name": upstream["name"] or site["server_names"][0], "ca": f"/etc/nginx/upstream-ca/{site['name']}.pem"}
    alone = len(servers) == 1
    return {
        # Who is alone is never "down", and stands there twice: what ends before a request was sent, as when a server
        # changes over, is tried again. Of several, one that fails is left alone for a while.
        "servers": [f"{each} max_fails=0" for each in servers * 2]
        if alone
        else [f"{each} max_fails=3 fail_timeout=10s" for each in servers],
        "verified": verified if upstream["tls"] else None,
        "retry": "error" if alone else "error timeout",
        # Not all of many: what kills a server must not be carried to each of them.
        "tries": 2 if alone else min(len(servers), 3),
        "connect": 5 if alone else 2,
    }


# --- What browsers are told ----------------------------------------------------------------------------------------


def answer_headers(site: Mapping[str, Any], version: str) -> dict[str, Any]:
    """The headers of every answer, and the maps behind those that the app may say itself."""
    headers = [{"name": "X-Request-ID", "value": "$request_id"}]
    if has_http3(site, version):
        headers.append({"name": "Alt-Svc", "value": f"'h3=\":{site['https_port']}\"; ma=86400'"})
    if kept_for(site):
        headers.append({"name": "X-Cache", "value": "$upstream_cache_status"})
    told = dict(site["headers"])
    if site["tls"]["hsts"]:
        told.setdefault("Strict-Transport-Security", f"max-age={site['tls']['hsts']}")
    maps = []
    for name, value in by_name(told):
        if not value:
            continue
        word = name.lower().replace("-", "_")
        of, unsaid = f"$sent_http_{word}", ""
        if word == "strict_transport_security":  # which means nothing over plain http
            of, unsaid = f"{asked_scheme(site)}:{of}", "https:"
        variable = f"$sites_header_{word}__{site['name']}"
        maps.append({"of": of, "unsaid": unsaid, "variable": variable, "value": value})
        headers.append({"name": name, "value": variable})
    return {"headers": headers, "header_maps": maps}


# --- Who may come, and how often -----------------------------------------------------------------------------------


def guards(site: Mapping[str, Any], keys: Mapping[str, Any], client_connections: int, path: str = "") -> list[Pair]:
    """Who may come, with what, how often: what the site says (``path`` is empty), or one path instead of it."""
    pairs: list[Pair] = []
    if "allow" in keys or "deny" in keys:
        allowed = keys.get("allow", site["allow"])
        pairs += [("deny", address) for address in keys.get("deny", site["deny"])]
        pairs += [("allow", address) for address in allowed]
        pairs.append(("deny" if allowed else "allow", "all"))
    if keys.get("basic_auth"):
        pairs.append(("auth_basic", f'"{site["server_names"][0]}"'))
        pairs.append(("auth_basic_user_file", f"/etc/{site['name']}/htpasswd{in_a_name(path).replace('/', ':')}"))
    elif "basic_auth" in keys:
        pairs.append(("auth_basic", "off"))
    limits, zone = keys.get("limits", {}), f"{site['name']}{in_a_name(path)}"
    if limits.get("requests"):
        burst = limits.get("burst", site["limits"]["burst"])
        pairs.append(("limit_req", f"zone=requests_{zone}" + (f" burst={burst} nodelay" if burst else "")))
    if limits.get("connections"):
        pairs.append(("limit_conn", f"connections_{zone} {limits['connections']}"))
        # Said anew, since a limit of its own takes that of the host away.
        if client_connections:
            pairs.append(("limit_conn", f"clients {client_connections}"))
    return pairs


def counters(site: Mapping[str, Any]) -> Iterator[Pair]:
    """Where nginx counts for these limits."""
    counted = [("", site["limits"], f"$sites_counted__{site['name']}")]
    counted += [(path, keys.get("limits", {}), "$sites_client") for path, keys in by_name(site["locations"])]
    for path, limits, who in counted:
        zone = f"{site['name']}{in_a_name(path)}"
        if limits.get("requests"):
            yield "limit_req_zone", f"{who} zone=requests_{zone}:10m rate={limits['requests']}"
        if limits.get("connections"):
            yield "limit_conn_zone", f"{who} zone=connections_{zone}:10m"


def uncounted(site: Mapping[str, Any]) -> list[str] | None:
    """Where the site's limits do not count: files, and paths that say so. Nothing, if it has none."""
    if not (site["limits"]["requests"] or site["limits"]["connections"]):
        return None
    free = [f"{prefix.rstrip('/')}/" for prefix in sorted(site["aliases"])]
    free += [path for path, keys in by_name(site["locations"]) if "limits" in keys and not keys["limits"]]
    return [pattern(site["path"].rstrip("/"), path) for path in free]


# --- uWSGI ---------------------------------------------------------------------------------------------------------


def speaks_uwsgi(site: Mapping[str, Any]) -> bool:
    """Whether nginx speaks the uwsgi protocol where it can. Answers are kept of http alone."""
    here = site["server"] == "uwsgi" and not front(site)
    return here and site["uwsgi"]["protocol"] == "uwsgi" and not kept_for(site)


# --- Answers that are kept for a moment ----------------------------------------------------------------------------


def caching(site: Mapping[str, Any], keys: Mapping[str, Any]) -> dict[str, Any]:
    """How answers are kept at a path."""
    return {**site["micro_cache"], **keys.get("micro_cache", {})}


def kept_for(site: Mapping[str, Any]) -> list[int]:
    """For how many seconds answers are kept: each such time once."""
    places = [{}, *site["locations"].values()]
    return sorted({caching(site, keys)["seconds"] for keys in places if not keys.get("stream")} - {0})


def micro_cache(site: Mapping[str, Any]) -> dict[str, Any] | None:
    """What stands once for all answers that the site keeps."""
    times, name = kept_for(site), site["name"]
    if not times:
        return None
    stale = max(caching(site, keys)["stale"] for keys in [{}, *site["locations"].values()])
    return {
        "zone": f"micro_{name}",
        "path": f"/var/cache/nginx-{name}",
        "size": site["micro_cache"]["size"],
        "unused": times[-1] + stale,
        # The release, so that after a switch none of the one before is shown; and all that tells one page from another.
        # Of a server elsewhere, no release is known here.
        "key": f"{'' if front(site) else '$realpath_root '}{asked_scheme(site)}://$host$sites_port$request_uri",
        "known": f"$sites_known__{name}",
        "unkept": [{"variable": unkept(name, seconds), "kept": may_be_kept(seconds)} for seconds in times],
    }


def unkept(name: str, seconds: int) -> str:
    """The variable that says that an answer may not be kept for so long."""
    return f"$sites_unkept_{seconds}__{name}"


def may_be_kept(seconds: int) -> str:
    """The pattern of an answer's length, Expires and Cache-Control, if it may be kept for so long.

    It has to say its length, below 1 MB: what comes bit by bit, or fills the disk, is none for a cache.
    """
    words = "private|no-store|no-cache|must-revalidate|proxy-revalidate"
    refused = rf"(?:{words}|(?:max-age|s-maxage)=\W?0*(?:{below(seconds)})(?![0-9]))"
    return rf"~*^[0-9]{{1,6}};(?:;|[^;]+;(?=.*max-age=))(?!.*{refused})"


def below(limit: int) -> str:
    """A pattern of the numbers below a limit."""
    digits = str(limit)
    found = [f"[0-9]{{0,{len(digits) - 1}}}"]
    for place, digit in enumerate(digits):
        lowest = 0 if place else 1
        if int(digit) > lowest:
            found.append(f"{digits[:place]}[{lowest}-{int(digit) - 1}][0-9]{{{len(digits) - place - 1}}}")
    return "|".join(found)


def kept_answers(site: Mapping[str, Any], keys: Mapping[str, Any]) -> list[Pair]:
    """How a location keeps answers, if the site keeps any."""
    how, name = caching(site, keys), site["name"]
    if not kept_for(site) or not (how["seconds"] and not keys.get("stream")):
        return []
    # Serves nothing: it is where the name of the live release comes from.
    root = [] if front(site) else [("root", f"{site['root']}/live/release")]
    return [
        *root,
        ("proxy_cache", f"micro_{name}"),
        ("proxy_cache_valid", f"200 301 302 404 {how['seconds']}s"),
        ("proxy_no_cache", f"$sites_known__{name} {unkept(name, how['seconds'])}"),
        ("proxy_cache_use_stale", STALE_WHEN if how["stale"] else "off"),
        ("proxy_cache_background_update", "on" if how["stale"] else "off"),
        ("proxy_cache_lock", "on" if how["wait"] else "off"),
        ("proxy_cache_lock_timeout", f"{how['wait']}s"),
        ("proxy_cache_lock_age", f"{max(how['wait'], 5)}s"),
    ]


# --- Paths ---------------------------------------------------------------------------------------------------------


def redirect(mount: str, path: str, target: str) -> dict[str, str]:
    """One that has moved; when both end in a slash, what stands below goes along, which takes a rewrite."""
    target = (mount if target.startswith("/") else "") + target
    rewrite = ""
    if path.endswith("/") and target.endswith("/"):
        # Not to what begins with a slash of either kind: browsers would take it for another host.
        rewrite = rf"^{re.escape(mount + path)}(?![/\x5C])(.*)$ {target}$1"
    return {"location": location(mount, path), "rewrite": rewrite, "target": target}


def alias(site: Mapping[str, Any], live: str, prefix: str, client_connections: int) -> dict[str, Any]:
    """Files that nginx serves itself, of the live release or uploaded ones."""
    folder = site["aliases"][prefix].rstrip("/")
    uploads = f"{folder}/".startswith("shared/")
    place = site["path"].rstrip("/") + prefix.rstrip("/")
    hashed = not uploads and site["hashed_names"]
    return {
        # Both end in a slash, or /static../ would reach the folder above.
        "location": f"^~ {place}/",
        "folder": f"{site['root'] if uploads else f'{live}/release'}/{folder}/",
        # How much of that is root's to change: below, the app could exchange a folder for a link.
        "safe": f"{site['root']}/{'/'.join(folder.split('/')[:2])}/" if uploads else f"{live}/release/{folder}/",
        "uploads": uploads,
        "directives": guards(site, site["locations"].get(prefix, {}), client_connections, prefix),
        "life": whose(site, prefix) if hashed else "",
        "hashed": f'~ "^{re.escape(place)}/(?<sites_file>{hashed})$"' if hashed else "",
        "tries": [f"/{release}/{folder}/$sites_file" for release in ("release", "before")],
        "again": f"{place}/.again",
    }


def whose(site: Mapping[str, Any], prefix: str) -> str:
    """What a cache between here and a client is told of an alias's files: not all may see what has a guard.

    Below a path, those of the site with path / may hold as well.
    """
    own = site["locations"].get(prefix, {})
    guarded = any(own.get(key, site[key]) for key in ("allow", "deny", "basic_auth")) or site["tls"]["client_ca"]
    return "private" if guarded or site["path"] != "/" else "public"


def hashed_life(site: Mapping[str, Any], word: str) -> str:
    """The variable with the C(Cache-Control) of such a file."""
    return f"$sites_hashed_{word}__{site['name']}"


def path_directives(site: Mapping[str, Any], path: str, keys: Mapping[str, Any], client_connections: int) -> list[Pair]:
    """What a path of ``locations`` changes."""
    pairs: list[Pair] = []
    if "client_max_body_size" in keys:
        pairs.append(("client_max_body_size", keys["client_max_body_size"]))
    pairs += guards(site, keys, client_connections, path)
    pairs += kept_answers(site, keys)
    if keys.get("stream"):
        pairs.append(("proxy_buffering", "off"))
    if keys.get("stream") or "proxy_timeout" in keys:
        seconds = keys.get("proxy_timeout", STREAM_TIMEOUT)
        pairs += [("proxy_send_timeout", f"{seconds}s"), ("proxy_read_timeout", f"{seconds}s")]
        # Streams go by http.
        if speaks_uwsgi(site) and not keys.get("stream"):
            pairs += [("uwsgi_send_timeout", f"{seconds}s"), ("uwsgi_read_timeout", f"{seconds}s")]
    return pairs


def errors(site: Mapping[str, Any], live: str) -> dict[str, Any]:
    """What nginx says itself, and what is there while the site is shut."""
    mount, folder = site["path"].rstrip("/"), site["error_pages"].rstrip("/")
    own = re.escape(f"{mount}{ERRORS}/")
    return {
        "mount_pattern": re.escape(mount),
        "errors": f"{mount}{ERRORS}",
        "errors_pattern": own,
        "error_codes": list(ERROR_CODES),
        "error_pages": f"{live}/release/{folder}" if folder else "",
        "never_shut": [own, *([r"/\.well-known/acme-challenge/"] if site["tls"]["mode"] == "acme" else [])],
    }


def masked(log_format: str, name: str) -> str:
    """The host's format of the log, with the variables that have a site's masks."""
    return log_format.replace('$request"', f'$sites_request__{name}"').replace(
        "$http_referer", f"$sites_referer__{name}"
    )
