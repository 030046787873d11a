"""Lookup of the configuration files in a release of a site on one host."""

from __future__ import annotations

DOCUMENTATION = """
name: release_files
short_description: Configuration files in a release of a site on one host
description:
  - The server's settings and the WSGI middleware, the program files of both slots, those of the site's processes and
    jobs, and the crontab of the jobs.
  - Each is rendered from its role's template, or from the operator's own version of it.
options:
  _terms:
    description: The site's merged entry.
    required: true
author: The authors of wsgi.sites (@wsgi)
"""

EXAMPLES = """
- name: List the files of a release
  ansible.builtin.debug:
    msg: "{{ lookup('wsgi.sites.release_files', site_entry) | list }}"
"""

RETURN = """
_raw:
  description: File name to content.
  type: list
  elements: dict
"""

from collections.abc import Mapping
from typing import Any

from ansible.plugins.loader import lookup_loader
from ansible.plugins.lookup import LookupBase

from ansible_collections.wsgi.sites.plugins.plugin_utils.places import ROLES

MIDDLEWARE = "wsgi_middleware.py"
SERVERS = {"gunicorn": ["gunicorn.conf.py"], "uwsgi": ["uwsgi.ini", "uwsgi_app.py"]}


class LookupModule(LookupBase):
    """``lookup('wsgi.sites.release_files', site_entry)``."""

    def run(
        self, terms: list[Any], variables: Mapping[str, Any] | None = None, **kwargs: object
    ) -> list[dict[str, str]]:
        """Answer the lookup."""
        site, self.variables = terms[0], variables or {}
        processes = self._ask("site_processes", site)
        jobs = [process for process in processes if process["kind"] == "job"]

        files = {name: self._render(f"server/{name}", site) for name in SERVERS[site["server"]]}
        files[MIDDLEWARE] = (ROLES / "server/files" / MIDDLEWARE).read_text(encoding="utf-8")
        for slot in ("blue", "green"):
            files[f"program-{slot}.conf"] = self._render("supervisor/program.conf", site, slot=slot)
        for process in processes:
            files[f"program-{process['name']}.conf"] = self._render("supervisor/process.conf", site, process=process)
        if jobs:
            files["crontab"] = self._render("supervisor/crontab", site, jobs=jobs)
        return [files]

    def _render(self, template: str, site: Mapping[str, Any], **more: object) -> str:
        return self._ask("template", f"{template}.j2", site=site, **more)[0]

    def _ask(self, name: str, *terms: object, **options: object) -> list[Any]:
        """The result of another lookup of the collection."""
        lookup = lookup_loader.get(f"wsgi.sites.{name}", loader=self._loader, templar=self._templar)
        return lookup.run(list(terms), self.variables, **options)
