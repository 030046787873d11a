"""The server of a site: workers, and keys that only one of the servers has."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

from ansible.errors import AnsibleError
from ansible.template import Templar
from jinja2 import TemplateError

from ansible_collections.wsgi.sites.plugins.plugin_utils.config.checks.values import items
from ansible_collections.wsgi.sites.plugins.plugin_utils.config.reading import BROKEN, NEEDED, Reading


def check_certificate(config: Reading, name: str, gunicorn: Mapping[str, Any]) -> None:
    """Gunicorn's certificate has all its keys or none."""
    for one, other in (("certfile", "keyfile"), ("keyfile", "certfile")):
        if gunicorn.get(one) and not gunicorn.get(other):
            config.report(f"{name}.gunicorn.{other}", f"is missing; {one} does nothing without it")
    if gunicorn.get("ca_certs") and not gunicorn.get("certfile"):
        config.report(f"{name}.gunicorn.certfile", "is missing; ca_certs does nothing without it")


def check_workers(config: Reading, name: str, site: dict[str, Any]) -> None:
    """The number of workers, and preloading of the app."""
    least = site["workers_min"] if isinstance(site["workers_min"], int) else 0
    most = [3 if site["workers"] == "auto" else site["workers"], site["workers_max"] or least + 1]
    if least and least >= min((one for one in most if isinstance(one, int)), default=least + 1):
        config.report(
            f"{name}.workers_min", "must be less than the workers there can be: those of workers and workers_max, "
            "and 3 for auto on the smallest host"
        )  # fmt: skip
    if least and site["server"] == "gunicorn" and site["bind"]:
        config.report(
            f"{name}.workers_min",
            "follows the connections that wait at nginx's socket, and those to bind are not counted; "
            "leave one of them out, or set server: uwsgi"
        )  # fmt: skip
    if site["server"] == "gunicorn" and site["preload"] is True and "gevent" in str(site["worker_class"]):
        config.report(
            f"{name}.preload", "imports the app before gevent has patched Python, and a query would block all "
            "requests of its worker; leave it out, or take another worker_class"
        )  # fmt: skip
    if site["server"] == "gunicorn" and "tornado" in str(site["worker_class"]):
        for key in ("workers_min", "max_requests"):
            if site[key] not in (0, BROKEN):
                config.report(
                    f"{name}.{key}", "stops workers, and a tornado worker drops its requests when it stops; "
                    "leave it out, or take another worker_class"
                )  # fmt: skip


def check_uwsgi(config: Reading, name: str, site: dict[str, Any], uwsgi: Mapping[str, Any]) -> None:
    """Keys that only gunicorn has."""
    if site["worker_class"] not in ("gthread", "sync", BROKEN):
        config.report(
            f"{name}.worker_class",
            "is a class of gunicorn; with server: uwsgi use gthread (with threads) or sync (without)",
        )
    if isinstance(site["gunicorn"], Mapping) and site["gunicorn"].get("certfile"):
        config.report(
            f"{name}.gunicorn.certfile", "is a key of gunicorn, and uWSGI would use no TLS; leave it out, or set "
            "server: gunicorn"
        )  # fmt: skip


def check_processes(config: Reading, name: str, site: dict[str, Any]) -> None:
    """Processes and jobs are complete, have names of their own, and run on hosts of the site."""
    entries = {key: site[key] if isinstance(site[key], Mapping) else {} for key in NEEDED}
    for twice in sorted(set(entries["processes"]) & set(entries["cron"])):
        config.report(f"{name}.cron.{twice}", "is also the name of one of `processes`; choose another")
    for key, needed in NEEDED.items():
        for title, entry in entries[key].items():
            if not isinstance(entry, Mapping):
                continue
            for missing in (word for word in needed if word not in entry):
                config.report(f"{name}.{key}.{title}.{missing}", "is missing")
            _hosts(config, name, f"{name}.{key}.{title}.hosts", items(entry.get("hosts")))


def _hosts(config: Reading, name: str, place: str, wanted: list[str]) -> None:
    """Each name is one of the site's hosts, since a misspelled one would never run the process."""
    if not wanted or "hostvars" not in config.variables:
        return
    hostvars = config.variables["hostvars"]
    known = [host for host in hostvars if name in _sites_of(config, hostvars.raw_get(host))]
    for number, host in enumerate(wanted):
        if host not in known:
            config.report(f"{place}[{number}]", f"is no host of this site; there are: {', '.join(known)}")


def _sites_of(config: Reading, variables: Mapping[str, Any]) -> Any:
    """The names of another host's sites, whose site config may be a template."""
    sites = variables.get("sites")
    if isinstance(sites, str):
        try:
            sites = Templar(loader=config.loader, variables={**variables}).template(sites)
        except (AnsibleError, TemplateError):  # that host's own check says so
            sites = None
    return sites if isinstance(sites, Mapping) else {}
