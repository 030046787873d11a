"""Runs a module's entry as Ansible does: arguments in, one JSON result out."""

from __future__ import annotations

import contextlib
import io
import json
from pathlib import Path
from types import ModuleType
from typing import Any

from ansible.module_utils.testing import patch_module_args

from ansible_collections.wsgi.sites.plugins.plugin_utils import results


def run(module: ModuleType, *, check_mode: bool = False, judged: bool = True, **arguments: Any) -> dict[str, Any]:
    """The module's result, checked as on the controller unless parts of the module were replaced."""
    out = io.StringIO()
    with (
        patch_module_args({**arguments, "_ansible_check_mode": check_mode}),
        contextlib.redirect_stdout(out),
        contextlib.suppress(SystemExit),
    ):
        module.main()
    answer = json.loads(out.getvalue())
    if judged:
        results.taken_in(answer, results.described(Path(str(module.__file__))))
    return answer
