"""Paths of the collection and of the operator's files on the controller."""

from __future__ import annotations

from pathlib import Path

from ansible import constants

COLLECTION = Path(__file__).resolve().parents[2]
ROLES = COLLECTION / "roles"


def project() -> Path:
    """The folder that relative paths of the site config, `templates/` and `build/` start from.

    A checkout is its own project: the collection and the operator's files share its root. Where the collection is
    installed, it is the folder of the ansible.cfg in use, else the current folder.
    """
    if (COLLECTION / "ansible.cfg").is_file():
        return COLLECTION
    config = Path(constants.CONFIG_FILE or "")
    shared = (Path("/etc/ansible/ansible.cfg"), Path("~/.ansible.cfg").expanduser())
    return config.resolve().parent if config.is_file() and config not in shared else Path.cwd()


PROJECT = project()
# Cache of sources and wheels, beside the files of playbooks/render.yml; not a valid host name.
CACHE = PROJECT / "build" / ".cache"
