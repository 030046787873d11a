"""The retained releases of a site on this host: list them, and resolve the operator's choice."""

from __future__ import annotations

import difflib

from ansible_collections.wsgi.sites.plugins.module_utils.releases import fingerprint
from ansible_collections.wsgi.sites.plugins.module_utils.releases.deployment import StepError, is_whole
from ansible_collections.wsgi.sites.plugins.module_utils.releases.store import complete
from ansible_collections.wsgi.sites.plugins.module_utils.runtime import history
from ansible_collections.wsgi.sites.plugins.module_utils.site.paths import Layout


def choose(site: Layout, wanted: str) -> str:
    """Resolve the operator's choice to an ID: ``previous``, ``live``, an ID or an unambiguous part of one.

    A release that is to go live must be unchanged since its build; the live one need not be.

    :raises StepError: with the existing IDs
    """
    live, names = site.live_release() or "", complete(site)
    if wanted == "live":
        if not live:
            raise StepError(f"{site.name}: nothing is live yet; deploy it first")
        return live
    if wanted == "previous":
        found = site.previous_release()
        if not found:
            raise StepError(f"{site.name}: no release was live before {live or 'this one'}. {_listed(site, names)}")
        if found == live:
            raise StepError(
                f"{site.name}: it is unknown which release was live before {live}, since a run was interrupted during "
                f"the switch. Name the release: -e release=ID. {_listed(site, names)}"
            )
        if not is_whole(site, found):
            raise StepError(f"{site.name}: the previous release {found} is gone or incomplete. {_listed(site, names)}")
        return _sound(site, found, names)
    fitting = [name for name in names if wanted == name] or [name for name in names if wanted in name]
    if len(fitting) == 1:
        return fitting[0] if fitting[0] == live else _sound(site, fitting[0], names)
    if fitting:
        raise StepError(f"{site.name}: {wanted} matches several releases. {_listed(site, fitting)}")
    close = difflib.get_close_matches(wanted, names, n=1)
    hint = f" Did you mean {close[0]}?" if close else ""
    raise StepError(
        f"{site.name}: the release {wanted} is not on this host: it was never here, or is no longer retained "
        f"(keep_releases).{hint} {_listed(site, names)}"
    )


def _sound(site: Layout, found: str, names: list[str]) -> str:
    """The release, if it is unchanged since its build."""
    remedy = f"Nothing was started. Choose another one, or deploy its version again. {_listed(site, names)}"
    if not is_whole(site, found):
        raise StepError(f"{site.name}: the release {found} is incomplete. {remedy}")
    try:
        damage = fingerprint.damage(site.release(found))
    except (OSError, KeyError) as error:
        raise StepError(f"{site.name}: the release {found} cannot be read ({error}). {remedy}") from error
    if damage:
        raise StepError(f"{site.name}: the {damage} of the release {found} were changed since its build. {remedy}")
    return found


def _listed(site: Layout, names: list[str]) -> str:
    live, before = site.live_release(), site.previous_release()
    marks = {live: " (live)", before: " (previous)"}
    return f"There are: {', '.join(name + marks.get(name, '') for name in names) or 'none'}."


def report(site: Layout, lines: int = 10) -> dict:
    """The retained releases, newest first, with time and author of going live, and the end of the history."""
    log = history.read(site)
    went_live = {line["release"]: line for line in log if line.get("result") == "ok" and line.get("release")}
    live, before = site.live_release(), site.previous_release()
    releases = []
    for name in reversed(complete(site)):
        manifest, line = site.manifest(name), went_live.get(name, {})
        releases.append(
            {
                "release": name,
                "mark": "live" if name == live else "previous" if name == before else "",
                "built": manifest.get("created", ""),
                "live_since": line.get("time", ""),
                "by": line.get("by") or manifest.get("by", ""),
                "source": manifest.get("source", ""),
            }
        )
    return {"site": site.name, "releases": releases, "history": log[-lines:]}
