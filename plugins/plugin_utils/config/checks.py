"""Check what no key of the page tells alone: one site as a whole, and all of a host's together."""

from __future__ import annotations

from collections.abc import Mapping
from datetime import UTC, datetime
from pathlib import Path
from typing import Any

from ansible.errors import AnsibleError
from ansible.template import Templar
from jinja2 import TemplateError

from ansible_collections.wsgi.sites.plugins.module_utils.packages import lockfile
from ansible_collections.wsgi.sites.plugins.plugin_utils.config import certificate_files, derived
from ansible_collections.wsgi.sites.plugins.plugin_utils.config.reading import BROKEN, NEEDED, Reading
from ansible_collections.wsgi.sites.plugins.plugin_utils.config.rules import (
    ANY_ADDRESS,
    inside,
    is_address,
    needs_commit,
    server_name,
)
from ansible_collections.wsgi.sites.plugins.plugin_utils.places import PROJECT

# What of a path's keys says who may come.
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

# The ways to say where code is; and what goes with one of them alone: of which, and the remedy if it has to be there.
SOURCES = ("path", "git", "archive")
SOURCE_PARTS = {
    "version": ("git", "give the tag, branch or commit that is to be live"),
    "key": ("git", ""),
    "sha256": ("archive", "give what `sha256sum` says of the archive"),
}


class Page(Reading):
    """One host's page, and all that is wrong with it."""

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
        least = site["workers_min"] if isinstance(site["workers_min"], int) else 0
        most = [3 if site["workers"] == "auto" else site["workers"], site["workers_max"] or least + 1]
        if least and least >= min((one for one in most if isinstance(one, int)), default=least + 1):
            self.report(
                f"{name}.workers_min", "must be less than the workers there can be: those of workers and workers_max, "
                "and 3 for auto on the smallest host"
            )  # fmt: skip
        if least and site["server"] == "gunicorn" and site["bind"]:
            self.report(
                f"{name}.workers_min", "goes by who waits at nginx's socket, and nobody would see who comes by bind; "
                "leave one of them out, or say server: uwsgi"
            )  # fmt: skip
        if site["server"] == "gunicorn" and site["preload"] is True and "gevent" in str(site["worker_class"]):
            self.report(
                f"{name}.preload", "would import the app before gevent has patched Python, and a query would stop all "
                "requests of its worker; leave it out, or take another worker_class"
            )  # fmt: skip
        if site["server"] == "gunicorn" and "tornado" in str(site["worker_class"]):
            for key in ("workers_min", "max_requests"):
                if site[key] not in (0, BROKEN):
                    self.report(
                        f"{name}.{key}", "would let workers go, and one of tornado takes requests along when it goes; "
                        "leave it out, or take another worker_class"
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
            text = certificate_files.text_of("ca", upstream["ca"], self.loader.get_text_file_contents)
            found = certificate_files.certificates_in("ca", text)
        except certificate_files.PairError as error:
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
        given = {key: str(tls[key]) for key in (*certificate_files.PARTS, "client_ca") if isinstance(tls.get(key), str)}
        if mode == "provided" and len(given) == len(certificate_files.PARTS) + 1:
            names = [one for one in items(site["server_names"]) if server_name(one) is None]
            for key, words in certificate_files.problems(given, names, self.loader.get_text_file_contents):
                self.report(f"{name}.tls.{key}", words)
        elif mode in ("none", "selfsigned", "acme"):
            for key in certificate_files.PARTS:
                if given.get(key):
                    self.report(f"{name}.tls.{key}", "is of no use with this mode; say mode: provided, or leave it out")
        if mode == "acme":
            self._check_acme(name, site)
        if given.get("client_ca") and mode == "none":
            self.report(f"{name}.tls.client_ca", "asks for certificates over plain http; give tls a mode")
        elif given.get("client_ca"):
            try:
                text = certificate_files.text_of("client_ca", given["client_ca"], self.loader.get_text_file_contents)
                certificate_files.certificates_in("client_ca", text)
            except certificate_files.PairError as error:
                self.report(f"{name}.tls.{error.key}", error.words)
            self._check_clients(name, site, tls)
        if tls.get("http3") is True and site["trusted_balancers"]:
            self.report(f"{name}.tls.http3", "comes by UDP, which no balancer passes on; leave one of them out")
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
        if given == ["git"] and source.get("version") and needs_commit(source["git"], source["version"]):
            self.report(
                f"{name}.source.version",
                "must be the full hash of a commit, since source.git comes over http or git, where anybody on the way "
                "can change what a name means; give all its digits, or use https or ssh",
            )
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
        try:
            lockfile.load(folder, site["requirements"])
        except lockfile.LockError as error:
            self.report(f"{name}.requirements", str(error))

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
            binds += [(f"{name}.bind", f"{name}.bind[{n}]", given) for n, given in enumerate(items(site["bind"]))]
            stats = site["uwsgi"].get("stats") if isinstance(site["uwsgi"], Mapping) else ""
            if site["server"] == "uwsgi" and isinstance(stats, str) and ":" in stats:
                binds.append((f"{name}.uwsgi.stats", f"{name}.uwsgi.stats", stats))
        for number, (_, place, given) in enumerate(binds):
            address, _, port = given.rpartition(":")
            if port in ports:
                self.report(place, f"takes the port of nginx ({'.'.join(ports[port])}); choose another")
            for other, _, taken in binds[:number]:
                taken_address, _, taken_port = taken.rpartition(":")
                if port == taken_port and (address == taken_address or {address, taken_address} & ANY_ADDRESS):
                    self.report(place, f"takes a port that {other} takes too; choose another")
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
        locations = site["locations"] if isinstance(site["locations"], Mapping) else {}
        # To nginx, allow and deny are one list: who says one of them anew has said all of it.
        places = {name: {key: site[key] for key in ("allow", "deny") if site[key]}}
        places |= {f"{name}.locations.{path}": keys for path, keys in locations.items() if isinstance(keys, Mapping)}
        for place, keys in places.items():
            for said, other in (("deny", "allow"), ("allow", "deny")):
                if said in keys and other not in keys and not site[other] and sharing[owner][other]:
                    self.report(
                        f"{place}.{other}", f"of {owner} holds no more below {said} of its own; say it here too"
                    )
        for path, keys in locations.items():
            if isinstance(keys, Mapping) and "client_verify" in keys and site["tls"].get("client_ca"):
                self.report(f"{name}.locations.{path}.client_verify", f"is for {owner} to say, which has path / there")
        for key in ("aliases", "locations", "redirects"):
            for path in sharing[owner][key] if isinstance(sharing[owner][key], Mapping) else ():
                if f"{path}/".startswith(f"{site['path']}/"):
                    self.report(f"{owner}.{key}.{path}", f"stands below the path of {name}; say it there")


def port_keys(site: Mapping[str, Any]) -> list[str]:
    """The keys that say which ports of nginx a site uses."""
    has_https = isinstance(site["tls"], Mapping) and derived.https(site)
    return ["http_port", "https_port"] if has_https else ["http_port"]


def items(value: object) -> list[str]:
    """The texts of a list, without what was already found broken."""
    return [item for item in value if isinstance(item, str)] if isinstance(value, list) else []
