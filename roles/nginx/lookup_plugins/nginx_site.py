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
  - C(names) are all names, IPv6 addresses in brackets; C(main_names) those that serve; C(other_names) lead to
    C(canonical).
  - C(listens) has the words of each C(listen) by server, C(main), C(redirect) and C(addresses); a server without any is
    not needed. C(http2) asks for C(http2 on), which newer releases have instead of a word.
  - C(live) is the link to the live slot, C(backend) what C(proxy_pass) says, C(encrypted) whether TLS is spoken there.
  - C(uwsgi) says whether nginx speaks the uwsgi protocol to a live release that does.
  - C(mount) is the site's path without its last slash, C(root) that of the location for all that no other takes.
  - C(asked_scheme) is the variable that tells how the client asked. Where a C(balancer) tells it, C(insecure) is the
    variable that says who has to be led to https; C(https) is where to, without the path.
  - C(verify) is the word of C(ssl_verify_client). Where paths differ, C(certified) has the site's C(default), what
    C(paths) want instead, the most special first, and the variable C(missing) that says who lacks a certificate.
  - C(headers) are those of every answer, C(name) and C(value); C(header_maps) are behind those that the app may say
    itself.
  - C(guards), and the C(directives) of a path, are pairs of a directive and its value, in their order. C(counters) are
    such pairs for outside of C(server), C(uncounted) the patterns of paths that are not counted, or nothing.
  - C(redirects), C(aliases) and C(paths) are locations in their order, with C(location) as that word takes it.
  - C(streams) and C(masks) are the patterns of paths that may be a WebSocket, or are hidden from the log. C(log) names
    the log's format, and C(log_format) is its text if it is the site's own.
options:
  _terms:
    description: The site's merged entry, and the name of the site.
    required: true
  version: {description: The release of nginx., type: str, required: true}
  ipv6: {description: Whether to listen on IPv6 too., type: bool, required: true}
  client_connections: {description: Requests that one client may have under way on the host., type: int, default: 0}
  log_format: {description: "The host's format of access.log, for a site that masks it.", type: str, default: ""}
"""

EXAMPLES = """
- name: Show where the site listens
  ansible.builtin.debug:
    msg: "{{ lookup('nginx_site', site_entry, site_name, version='1.26', ipv6=true).listens.main }}"
"""

RETURN = """
_raw:
  description: The settings.
  type: list
  elements: dict
"""

# A directive and its value.
Pair = tuple[str, str]

# A WebSocket, or a stream, may be silent for so long.
STREAM_TIMEOUT = 3600


class LookupModule(LookupBase):
    """``lookup('nginx_site', site_entry, site_name, …)``."""

    def run(self, terms: list[Any], variables: Mapping[str, Any] | None = None, **kwargs: Any) -> list[dict[str, Any]]:
        """Answer the lookup."""
        entry, name = terms
        return [settings({**entry, "name": str(name)}, **kwargs)]


def settings(
    site: Mapping[str, Any], version: str, ipv6: bool, client_connections: int = 0, log_format: str = ""
) -> dict[str, Any]:
    """Everything that ``DOCUMENTATION`` names, for the site's merged entry with its name."""
    name, mount = site["name"], site["path"].rstrip("/")
    names = [bracketed(each) for each in site["server_names"]]
    canonical = bracketed(site["canonical_name"])
    main_names = [canonical] if canonical else names
    encrypted = site["server"] == "gunicorn" and bool(site["gunicorn"]["certfile"])
    live = f"{site['root']}/live"
    return {
        "names": names,
        "canonical": canonical,
        "main_names": main_names,
        "other_names": [each for each in names if each not in main_names],
        "live": live,
        "encrypted": encrypted,
        "uwsgi": speaks_uwsgi(site),
        "backend": f"{'https' if encrypted else 'http'}://site_{name}",
        "mount": mount,
        "root": f"{mount}/",
        "balancer": balanced(site),
        "asked_scheme": asked_scheme(site),
        **doors(site, version, ipv6),
        "https": f"https://{canonical or '$host'}{https_port(site)}",
        **client_certificates(site),
        **answer_headers(site, version),
        "guards": guards(site, {key: value for key, value in site.items() if value}, client_connections),
        "counters": list(counters(site)),
        "uncounted": uncounted(site),
        "redirects": [redirect(mount, path, target) for path, target in by_name(site["redirects"])],
        "aliases": [alias(site, live, prefix, client_connections) for prefix in sorted(site["aliases"])],
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
    }


# --- Words of nginx ------------------------------------------------------------------------------------------------


def bracketed(name: str) -> str:
    """A name as it comes in a Host header, where IPv6 addresses stand in brackets."""
    return f"[{name}]" if ":" in name and not name.startswith("[") else name


def location(mount: str, path: str) -> str:
    """A path of the page, as ``location`` takes it: all below it, or only itself."""
    return f"{'^~' if path.endswith('/') else '='} {mount}{path}"


def pattern(mount: str, path: str) -> str:
    """The same as a pattern for ``map $uri``."""
    return f"~^{re.escape(mount + path)}{'' if path.endswith('/') else '$'}"


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
    by_address = any(re.fullmatch(r"[0-9.]+|.*:.*", each) for each in site["server_names"])
    return {
        "http2": http2,
        "insecure": f"$sites_insecure__{site['name']}" if leads and not apart else "",
        "listens": {
            "redirect": plain if apart else [],
            "main": encrypted if apart else plain + encrypted,
            "addresses": [f"{each} default_server" for each in encrypted] if by_address else [],
        },
    }


def client_certificates(site: Mapping[str, Any]) -> dict[str, Any]:
    """Of whom a certificate is wanted; nginx itself can only say it for a whole server."""
    tls, mount = site["tls"], site["path"].rstrip("/")
    special = {path: keys["client_verify"] for path, keys in site["locations"].items() if "client_verify" in keys}
    if not tls["client_ca"]:
        return {"verify": "", "certified": None}
    if not special:
        return {"verify": "on" if tls["client_verify"] == "required" else "optional", "certified": None}
    # As nginx chooses a location: the path itself before all below it, and of these the longest.
    order = sorted(special, key=lambda path: (path.endswith("/"), -len(path), path))
    return {
        "verify": "optional",
        "certified": {
            "default": tls["client_verify"],
            "paths": [{"pattern": pattern(mount, path), "wants": special[path]} for path in order],
            "missing": f"$sites_uncertified__{site['name']}",
        },
    }


# --- What browsers are told ----------------------------------------------------------------------------------------


def answer_headers(site: Mapping[str, Any], version: str) -> dict[str, Any]:
    """The headers of every answer, and the maps behind those that the app may say itself."""
    headers = [{"name": "X-Request-ID", "value": "$request_id"}]
    if has_http3(site, version):
        headers.append({"name": "Alt-Svc", "value": f"'h3=\":{site['https_port']}\"; ma=86400'"})
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
        pairs.append(("auth_basic_user_file", f"/etc/{site['name']}/htpasswd{path.replace('/', ':')}"))
    elif "basic_auth" in keys:
        pairs.append(("auth_basic", "off"))
    limits = keys.get("limits", {})
    if limits.get("requests"):
        burst = limits.get("burst", site["limits"]["burst"])
        pairs.append(
            ("limit_req", f"zone=requests_{site['name']}{path}" + (f" burst={burst} nodelay" if burst else ""))
        )
    if limits.get("connections"):
        pairs.append(("limit_conn", f"connections_{site['name']}{path} {limits['connections']}"))
        # Said anew, since a limit of its own takes that of the host away.
        if client_connections:
            pairs.append(("limit_conn", f"clients {client_connections}"))
    return pairs


def counters(site: Mapping[str, Any]) -> Iterator[Pair]:
    """Where nginx counts for these limits."""
    counted = [("", site["limits"], f"$sites_counted__{site['name']}")]
    counted += [(path, keys.get("limits", {}), "$sites_client") for path, keys in by_name(site["locations"])]
    for path, limits, who in counted:
        if limits.get("requests"):
            yield "limit_req_zone", f"{who} zone=requests_{site['name']}{path}:10m rate={limits['requests']}"
        if limits.get("connections"):
            yield "limit_conn_zone", f"{who} zone=connections_{site['name']}{path}:10m"


def uncounted(site: Mapping[str, Any]) -> list[str] | None:
    """Where the site's limits do not count: files, and paths that say so. Nothing, if it has none."""
    if not (site["limits"]["requests"] or site["limits"]["connections"]):
        return None
    free = [f"{prefix.rstrip('/')}/" for prefix in sorted(site["aliases"])]
    free += [path for path, keys in by_name(site["locations"]) if "limits" in keys and not keys["limits"]]
    return [pattern(site["path"].rstrip("/"), path) for path in free]


# --- uWSGI ---------------------------------------------------------------------------------------------------------


def speaks_uwsgi(site: Mapping[str, Any]) -> bool:
    """Whether nginx speaks the uwsgi protocol where it can."""
    return site["server"] == "uwsgi" and site["uwsgi"]["protocol"] == "uwsgi"


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
        "uploads": uploads,
        "directives": guards(site, site["locations"].get(prefix, {}), client_connections, prefix),
        "hashed": f'~ "^{re.escape(place)}/(?<sites_file>{hashed})$"' if hashed else "",
        "tries": [f"/{release}/{folder}/$sites_file" for release in ("release", "before")],
        "again": f"{place}/$sites_file",
    }


def path_directives(site: Mapping[str, Any], path: str, keys: Mapping[str, Any], client_connections: int) -> list[Pair]:
    """What a path of ``locations`` changes."""
    pairs: list[Pair] = []
    if "client_max_body_size" in keys:
        pairs.append(("client_max_body_size", keys["client_max_body_size"]))
    pairs += guards(site, keys, client_connections, path)
    if keys.get("stream"):
        pairs.append(("proxy_buffering", "off"))
    if keys.get("stream") or "proxy_timeout" in keys:
        seconds = keys.get("proxy_timeout", STREAM_TIMEOUT)
        pairs += [("proxy_send_timeout", f"{seconds}s"), ("proxy_read_timeout", f"{seconds}s")]
        # Streams go by http.
        if speaks_uwsgi(site) and not keys.get("stream"):
            pairs += [("uwsgi_send_timeout", f"{seconds}s"), ("uwsgi_read_timeout", f"{seconds}s")]
    return pairs


def masked(log_format: str, name: str) -> str:
    """The host's format of the log, with the variables that have a site's masks."""
    return log_format.replace('$request"', f'$sites_request__{name}"').replace(
        "$http_referer", f"$sites_referer__{name}"
    )
