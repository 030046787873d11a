"""Action plugin behind the links in `plugins/action/`: runs a module and validates its result."""

from __future__ import annotations

from typing import Any

from ansible.plugins.action import ActionBase

from ansible_collections.wsgi.sites.plugins.plugin_utils.results import ask


class ActionModule(ActionBase):
    """Runs the module that the task names."""

    _supports_check_mode = True
    _supports_async = False

    def run(self, tmp: str | None = None, task_vars: dict[str, Any] | None = None) -> dict[str, Any]:
        """Entry point."""
        result = super().run(tmp, task_vars)
        return {**result, **ask(self, self._task.action, dict(self._task.args), task_vars or {})}
