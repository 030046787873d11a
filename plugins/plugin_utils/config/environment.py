"""The environment of a site: the operator's values over the generated secrets."""

from __future__ import annotations

from collections.abc import Mapping
from pathlib import Path
from typing import Any

import yaml
from ansible.errors import AnsibleError
from ansible.parsing.dataloader import DataLoader

from ansible_collections.wsgi.sites.plugins.module_utils.releases.environment import MASK, EnvironmentFault, as_texts

# Made secrets, beside the inventory.
SECRETS = ".secrets.yml"


def values(
    site: str, given: Mapping[str, Any], inventory: object, loader: DataLoader, check_mode: bool
) -> dict[str, str]:
    """Name to value, as text.

    :param given: the site's `env`
    :param inventory: the inventory's folder, with the made secrets
    :param check_mode: a first run in check mode makes no secret
    """
    try:
        made = {} if "SECRET_KEY" in given else _made(site, Path(str(inventory)) / SECRETS, loader, check_mode)
        return as_texts({**made, **dict(given.items())})
    except EnvironmentFault as error:
        raise AnsibleError(f"{site}: {error}") from None


def masked(given: Mapping[str, Any]) -> dict[str, str]:
    """The same names without the values."""
    return dict.fromkeys(sorted({"SECRET_KEY", *map(str, given)}), MASK)


def _made(site: str, path: Path, loader: DataLoader, check_mode: bool) -> dict[str, Any]:
    made: dict[str, Any] = {}
    if path.is_absolute() and path.exists():  # Ansible says "None" for `-i host,`
        try:
            made = (yaml.safe_load(loader.get_text_file_contents(str(path))) or {}).get(site) or {}
        except (AnsibleError, yaml.YAMLError, AttributeError):
            raise AnsibleError(
                f"{path} cannot be read: it is damaged, or its vault password is missing "
                "(--vault-password-file, or --ask-vault-pass)."
            ) from None
    if "SECRET_KEY" in made:
        return made
    if check_mode:
        return {"SECRET_KEY": MASK}
    raise AnsibleError(f"There is no SECRET_KEY for {site} yet; run playbooks/preflight.yml, which makes one.")
