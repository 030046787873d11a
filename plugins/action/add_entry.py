"""Add one entry to a YAML file of the inventory, without changing anything else in it."""

from __future__ import annotations

from pathlib import Path
from typing import Any

from ansible.errors import AnsibleActionFail
from ansible.plugins.action import ActionBase

from ansible_collections.wsgi.sites.plugins.plugin_utils import files
from ansible_collections.wsgi.sites.plugins.plugin_utils.places import PROJECT
from ansible_collections.wsgi.sites.plugins.plugin_utils.yaml_insert import insert


class ActionModule(ActionBase):
    """``add_entry: {file, below: [key, …], name, text}``; fails if the name exists."""

    _requires_connection = False
    _VALID_ARGS = frozenset({"file", "below", "name", "text"})

    def run(self, tmp: str | None = None, task_vars: dict[str, Any] | None = None) -> dict[str, Any]:
        """Write the file with the new entry, or fail with the reason."""
        result = super().run(tmp, task_vars)
        arguments = self._task.args
        path = PROJECT / str(arguments["file"])
        before = path.read_text(encoding="utf-8") if path.exists() else "---\n"
        try:
            after = insert(before, [str(key) for key in arguments["below"]], str(arguments["name"]), arguments["text"])
        except ValueError as error:
            raise AnsibleActionFail(f"{arguments['file']}: {error}") from None
        if not self._task.check_mode:
            write(path, after)
        result["changed"] = True
        result["diff"] = {"before": before, "after": after, "before_header": str(path), "after_header": str(path)}
        return result


def write(path: Path, text: str) -> None:
    """Write the file with its present permissions."""
    try:
        path.parent.mkdir(parents=True, exist_ok=True)
        files.replace(path, text.encode(), path.stat().st_mode & 0o7777 if path.exists() else 0o644)
    except OSError as error:
        raise AnsibleActionFail(f"Cannot write {path}: {error.strerror}. Make the folder writable.") from None
