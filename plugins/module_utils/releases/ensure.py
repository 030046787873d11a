"""Ensure that a site has the release of a manifest: the live one, a retained one, or a new one."""

from __future__ import annotations

import errno
from collections.abc import Mapping
from datetime import datetime
from pathlib import Path
from typing import Any

from ansible_collections.wsgi.sites.plugins.module_utils.packages import build_account
from ansible_collections.wsgi.sites.plugins.module_utils.releases import (
    deployment,
    host_python,
    public_files,
    store,
    uv,
)
from ansible_collections.wsgi.sites.plugins.module_utils.releases.build import Build
from ansible_collections.wsgi.sites.plugins.module_utils.releases.decision import Decision, decide
from ansible_collections.wsgi.sites.plugins.module_utils.releases.uv import Toolbox
from ansible_collections.wsgi.sites.plugins.module_utils.runtime import processes, run_identity
from ansible_collections.wsgi.sites.plugins.module_utils.runtime.lock import site_lock
from ansible_collections.wsgi.sites.plugins.module_utils.site.paths import Layout
from ansible_collections.wsgi.sites.plugins.module_utils.system.text import visible


def ensure_release(
    params: Mapping[str, Any], check_mode: bool, tools: Toolbox | None = None, now: datetime | None = None
) -> dict[str, Any]:
    """The implementation of the module release_build.

    :param params: its arguments: `manifest`, `parts`, `environment_hash` and `payload`
    :param tools: for tests
    :raises BuildError: with the problem and the remedy
    """
    now, tools = now or run_identity.moment(), tools or Toolbox(account=build_account.ACCOUNT)
    manifest = params["manifest"]
    layout = Layout(manifest["site"], Path(manifest["root"]))
    parts = {
        **params["parts"],
        "environment": params["environment_hash"],
        "python": host_python.python_version(tools.python),
    }
    with site_lock(layout, enabled=not check_mode) as held:
        cleaned = [] if check_mode else store.remove_half_built(layout)
        remark = "" if check_mode else deployment.recover(layout)
        decision, report = decide(layout, parts), processes.Report()
        if not decision.needed:
            report = _repair(layout, cleaned, check_mode)
            if not layout.has_pending_hooks():
                held.let_go()
        result = {
            **_described(layout, decision),
            "changed": bool(cleaned or remark or report.changes),
            "remark": remark,
            "problems": report.problems,
        }
        if not decision.build:
            return result
        if check_mode or not params["payload"]:
            if manifest["packages"] == "wheelhouse":
                result["target"] = host_python.target(tools.python)
            return {**result, "release": store.new_id(layout, parts["code"], now)}
        if decision.suspicious_cache:
            uv.forget_packages(tools)
        release = Build(layout, manifest, parts, Path(params["payload"]), tools).run(now)
        pruned = store.prune(layout, manifest["keep_releases"], release)
        return {**result, "changed": True, "build": False, "release": release, "pruned": pruned}


def _repair(layout: Layout, cleaned: list[str], check_mode: bool) -> processes.Report:
    """Repair processes and slots around the live release. No start follows that would clear an interrupted run."""
    cleaned += deployment.abort(layout, check_mode)["removed"]
    if public_files.publish(layout, layout.live_slot() or "", check_mode):
        cleaned.append("public")
    return processes.reconcile(layout, check_mode)


def _described(layout: Layout, decision: Decision) -> dict[str, Any]:
    return {
        "site": layout.name,
        "needed": decision.needed,
        "after_live": not decision.needed and layout.has_pending_hooks(),
        "build": decision.build,
        "reason": decision.reason,
        "release": decision.release,
        "slot": decision.slot,
    }


def explain(error: OSError) -> str:
    """A file system error as a message with remedy."""
    if error.errno in (errno.ENOSPC, errno.EDQUOT):
        where = visible(str(error.filename or "while a release was built"))
        return f"the disk is full ({where}). Free some space, then run again."
    return f"{error.strerror or error}: {visible(str(error.filename))}" if error.filename else str(error)
