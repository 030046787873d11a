"""Read the page of every host in the play, and refuse it with all that is wrong with it, before a host is touched."""

from __future__ import annotations

import difflib
import re
import sys
from collections.abc import Mapping
from pathlib import Path
from typing import Any

from ansible.plugins.action import ActionBase
from ansible.template import Templar
from ansible.utils.vars import load_extra_vars

ROLE = Path(__file__).resolve().parent.parent
PROJECT = ROLE.parent.parent
SITE_ROLE = PROJECT / "roles/site"
if str(ROLE / "plugin_utils") not in sys.path:
    sys.path.append(str(ROLE / "plugin_utils"))

from page_checks import Page  # noqa: E402
from page_reading import site_spec  # noqa: E402
from page_rules import version  # noqa: E402


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
