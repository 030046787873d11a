"""Read the site config of every host in the play once, and report all its errors together."""

from __future__ import annotations

import difflib
import re
from collections.abc import Mapping
from typing import Any

from ansible.plugins.action import ActionBase
from ansible.utils.vars import load_extra_vars

from ansible_collections.wsgi.sites.plugins.plugin_utils.config import site_config
from ansible_collections.wsgi.sites.plugins.plugin_utils.config.checks.whole import CheckedConfig
from ansible_collections.wsgi.sites.plugins.plugin_utils.config.reading import Reading, site_spec
from ansible_collections.wsgi.sites.plugins.plugin_utils.config.rules.source import version
from ansible_collections.wsgi.sites.plugins.plugin_utils.places import PROJECT, ROLES

SITE_ROLE = ROLES / "site"


def misplaced_version(extra: Mapping[str, Any], in_git: set[str]) -> list[str]:
    """The error of a version on the command line; an inventory variable of that name is ignored."""
    if "version" not in extra:
        return []
    if "site" not in extra:
        return ["-e version=…: applies to one site; name it with -e site=…"]
    problem = version(extra["version"])
    if extra["site"] not in in_git:
        problem = "only a site whose source is in git has versions; leave it out"
    return [f"-e version=…: {problem}"] if problem else []


class ActionModule(ActionBase):
    """``preflight:`` reads the site config of every host in the play, and gives it back to be registered.

    With ``only: site`` it refuses only an ``-e site=…`` that names no site; with ``only: one_site`` it also requires
    ``-e site=…`` if there are several sites, since a rollback must not depend on a site config without errors. Both use
    a registered ``preflight_config`` without reading again.
    """

    _requires_connection = False

    def run(self, tmp: str | None = None, task_vars: dict[str, Any] | None = None) -> dict[str, Any]:
        """Check every host's site config; errors quote no values, and the result is never shown."""
        result = super().run(tmp, task_vars)
        variables = task_vars or {}
        hosts = list(variables["ansible_play_hosts_all"])
        if only := self._task.args.get("only"):
            return {**result, **self._choose(variables, hosts, one=only == "one_site")}

        pages = {host: self._read(CheckedConfig, host, variables["hostvars"]) for host in hosts}
        found: dict[str, list[str]] = {}
        known: dict[str, None] = {}
        in_git: set[str] = set()
        for host, page in pages.items():
            page.check_together()
            known.update(dict.fromkeys(page.names))
            in_git.update(page.in_git())
            for line in page.errors:
                found.setdefault(line, []).append(host)

        # All errors of a site together, in the order of the site config.
        order = {name: number for number, name in enumerate(known, 1)}
        lines = [
            line if len(where) == len(hosts) else f"{line} (on {', '.join(where)})"
            for line, where in sorted(found.items(), key=lambda item: order.get(re.split(r"[.:]", item[0])[0], 0))
        ]
        extra = load_extra_vars(self._loader)
        lines += misplaced_version(extra, in_git)
        chosen = self._wanted(extra)
        if chosen:
            lines += self._unknown_selection(chosen, list(known))
        self._warn_of_stray_overrides(variables, known)
        if lines:
            things = "one error" if len(lines) == 1 else f"{len(lines)} errors"
            head = f"The site config has {things}; no host was touched.\n"
            return {**result, "failed": True, "msg": head + "\n".join(f"  {line}" for line in lines)}
        return {**result, **self._copy(pages, chosen)}

    def _read(self, kind: type[Reading], host: str, hostvars: Any) -> Reading:
        """A host's variables from the inventory, without anything that the host has returned."""
        site_config.guard_first(hostvars, host, self._loader)
        own = {**site_config.of_play(self._task, hostvars, host), "hostvars": hostvars}
        argument_specs = self._loader.load_from_file(str(SITE_ROLE / "meta/argument_specs.yml"))["argument_specs"]
        keys = self._loader.load_from_file(str(SITE_ROLE / "defaults/main.yml"), trusted_as_template=True)["site_keys"]
        return kind(own, self._loader, site_spec(argument_specs), keys)

    @staticmethod
    def _copy(pages: Mapping[str, Reading], chosen: str) -> dict[str, Any]:
        """The result that every later step uses. It contains secrets."""
        hosts = {
            host: {
                "names": page.names,
                "sites": page.entries,
                "digests": site_config.digests(page.variables),
            }
            for host, page in pages.items()
        }
        return {"changed": False, "hosts": hosts, "chosen": chosen, "_ansible_no_log": True}

    def _choose(self, variables: Mapping[str, Any], hosts: list[str], *, one: bool) -> dict[str, Any]:
        """The same, with the chosen site as ``chosen``, empty for all."""
        hostvars = variables["hostvars"]
        before = self._registered(variables)
        if before is not None and before["hosts"].keys() >= set(hosts):
            # A host that has changed a variable since fails in its own next step, without affecting other hosts.
            copy = {**before, "_ansible_no_log": True}
        else:
            copy = self._copy({host: self._read(Reading, host, hostvars) for host in hosts}, "")
        known = list(dict.fromkeys(name for host in hosts for name in copy["hosts"][host]["names"]))
        chosen = self._wanted(load_extra_vars(self._loader))
        if chosen:
            problems = self._unknown_selection(chosen, known)
        elif one and len(known) != 1:
            problems = [f"-e site=…: is missing; name a site. There are: {', '.join(known) or 'none'}"]
        else:
            chosen, problems = (known[0] if one else ""), []
        if problems:
            return {"failed": True, "changed": False, "msg": problems[0]}
        return {**copy, "chosen": chosen}

    def _registered(self, variables: Mapping[str, Any]) -> dict[str, Any] | None:
        """The registered result of an earlier task; a host's fact of that name is refused."""
        if site_config.VARIABLE in (variables.get("ansible_facts") or {}):
            site_config.refuse(str(variables["inventory_hostname"]), [site_config.VARIABLE])
        before = variables.get(site_config.VARIABLE)
        return dict(before) if isinstance(before, Mapping) and "hosts" in before else None

    def _wanted(self, extra: Mapping[str, Any]) -> str:
        """The site of ``-e site=…``; other variables of that name are ignored."""
        return str(self._templar.template(extra["site"])) if "site" in extra else ""

    @staticmethod
    def _unknown_selection(wanted: object, known: list[str]) -> list[str]:
        if wanted in known:
            return []
        close = difflib.get_close_matches(str(wanted), known, n=1)
        hint = f"did you mean {close[0]}? " if close else ""
        return [f"-e site=…: there is no such site on these hosts; {hint}There are: {', '.join(known) or 'none'}"]

    def _warn_of_stray_overrides(self, variables: Mapping[str, Any], known: Mapping[str, None]) -> None:
        """Refuse a template folder of an unknown site, probably a typo, which would have no effect."""
        folder = PROJECT / str(self._templar.template(variables.get("operator_templates", "templates")))
        folders = [path.name for path in folder.iterdir() if path.is_dir()] if folder.is_dir() else []
        strays = sorted(set(folders) - set(known))
        if strays:  # a run with --limit does not cover every site, so other hosts are included
            hostvars = variables["hostvars"]
            everywhere = {
                str(name) for host in hostvars for name in self._names(site_config.of_play(self._task, hostvars, host))
            }
            strays = sorted(set(strays) - everywhere)
        for stray in strays:
            self._display.warning(f"{folder.name}/{stray}/ has no effect: no site has that name.")

    @staticmethod
    def _names(variables: Mapping[str, Any]) -> list[Any]:
        sites = variables.get("sites")
        return list(sites) if isinstance(sites, Mapping) else []
