"""Write files that a host would get under ``build/HOST/`` on the controller."""

from __future__ import annotations

from pathlib import Path
from typing import Any

from ansible.errors import AnsibleActionFail
from ansible.plugins.action import ActionBase

DOCUMENTATION = r"""
module: render_files
short_description: Write files that a host would get under build/HOST/ on the controller
description:
  - Each file at its real path below C(build/HOST/) in the project's root. The host is not asked for anything.
options:
  files:
    description: The files' contents by their path on the host.
    type: dict
    required: true
  links:
    description: Targets of symbolic links by their path on the host.
    type: dict
    default: {}
"""

BUILD = Path(__file__).resolve().parents[3] / "build"


class ActionModule(ActionBase):
    """``render_files: {files: {/etc/…: …}}``."""

    _requires_connection = False

    def run(self, tmp: str | None = None, task_vars: dict[str, Any] | None = None) -> dict[str, Any]:
        """Write what differs."""
        super().run(tmp, task_vars)
        _validated, arguments = self.validate_argument_spec(
            {"files": {"type": "dict", "required": True}, "links": {"type": "dict", "default": {}}}
        )
        host = BUILD / task_vars["inventory_hostname"]
        changed = [path for path, content in arguments["files"].items() if write(below(host, path), str(content))]
        changed += [path for path, target in arguments["links"].items() if link(below(host, path), str(target))]
        return {"changed": bool(changed), "files": sorted(changed)}


def below(host: Path, path: str) -> Path:
    """Where a path of the host lies in its build folder."""
    place = host / path.lstrip("/")
    if ".." in place.parts:
        raise AnsibleActionFail(f"{path} leads out of {host}.")
    place.parent.mkdir(parents=True, exist_ok=True)
    return place


def write(place: Path, content: str) -> bool:
    """Write a file; answer whether it differed."""
    if place.is_file() and place.read_text(encoding="utf-8") == content:
        return False
    place.write_text(content, encoding="utf-8")
    place.chmod(0o600)  # a rendered environment may hold secrets, if the operator asked for them
    return True


def link(place: Path, target: str) -> bool:
    """Lay a symbolic link; answer whether it differed."""
    if place.is_symlink() and str(place.readlink()) == target:
        return False
    place.unlink(missing_ok=True)
    place.symlink_to(target)
    return True
