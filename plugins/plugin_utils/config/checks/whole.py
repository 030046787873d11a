"""Runs all checks of one host's site config."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

from ansible_collections.wsgi.sites.plugins.plugin_utils.config.checks import paths, proxy_only, server, source, tls
from ansible_collections.wsgi.sites.plugins.plugin_utils.config.checks.between_sites import between_sites
from ansible_collections.wsgi.sites.plugins.plugin_utils.config.reading import Reading


class CheckedConfig(Reading):
    """The site config of one host, checked."""

    def _check_whole(self, name: str, site: dict[str, Any]) -> None:
        if site.get("state") != "present":
            return
        if not site["server_names"]:
            self.report(f"{name}.server_names", "is missing; give the names of the site, in [ ]")
        if isinstance(site["gunicorn"], Mapping):
            server.check_certificate(self, name, site["gunicorn"])
        if site["server"] == "uwsgi" and isinstance(site["uwsgi"], Mapping):
            server.check_uwsgi(self, name, site, site["uwsgi"])
        server.check_workers(self, name, site)
        if isinstance(site["upstream"], Mapping) and site["upstream"].get("servers"):
            proxy_only.check_proxy_only(self, name, site, site["upstream"])
        elif isinstance(site["source"], Mapping):
            source.check_source(self, name, site)
        tls.check_names(self, name, site)
        if isinstance(site["tls"], Mapping):
            tls.check_tls(self, name, site, site["tls"])
        tls.check_balancers(self, name, site)
        paths.check_paths(self, name, site)
        paths.check_micro_cache(self, name, site)
        server.check_processes(self, name, site)

    def check_together(self) -> None:
        """Check what two sites on one host cannot share."""
        between_sites(self)

    def in_git(self) -> list[str]:
        """The sites whose source has versions."""
        sources = {name: site.get("source") for name, site in self.sites.items()}
        return [name for name, given in sources.items() if isinstance(given, Mapping) and given.get("git")]
