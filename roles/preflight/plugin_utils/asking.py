"""Run a module of ours on a host and take in its answer: what stands behind an action plugin of the module's name.

The plugins are links to this file, so that there is one of it: `roles/ROLE/action_plugins/MODULE.py`.
"""

from __future__ import annotations

import sys
from pathlib import Path
from typing import Any

from ansible.errors import AnsibleActionFail
from ansible.plugins.action import ActionBase
from ansible.plugins.loader import module_loader

UTILS = Path(__file__).resolve().parent
if str(UTILS) not in sys.path:
    sys.path.append(str(UTILS))

import answers  # noqa: E402
import site_config  # noqa: E402


def ask(action: ActionBase, module: str, arguments: dict[str, Any], variables: dict[str, Any]) -> dict[str, Any]:
    """The answer of the host to a module, or a failure that names the host."""
    site_config.guard(variables)
    answer = action._execute_module(module, arguments, task_vars=variables)
    try:
        return answers.taken_in(answer, answers.described(Path(module_loader.find_plugin(module))))
    except answers.Nonsense as what:
        host = str(variables.get("inventory_hostname", "the host"))
        raise AnsibleActionFail(answers.refusal(host, module, what)) from None


class ActionModule(ActionBase):
    """The module of this plugin's name."""

    _supports_check_mode = True
    _supports_async = False

    def run(self, tmp: str | None = None, task_vars: dict[str, Any] | None = None) -> dict[str, Any]:
        """Entry point."""
        result = super().run(tmp, task_vars)
        return {**result, **ask(self, self._task.action, dict(self._task.args), task_vars or {})}
