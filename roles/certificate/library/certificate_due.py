"""Say whether a site needs a new certificate that is made on its host, and make room for it."""

from __future__ import annotations

from pathlib import Path

from ansible.module_utils.basic import AnsibleModule
from ansible.module_utils.certificates.folder import Folder

try:
    from ansible.module_utils.certificates.judge import KEYS, alternative_names, why_new
except ImportError:  # a bare host in check mode, or a page with its first such site and only playbooks/deploy.yml
    KEYS, alternative_names, why_new = {}, None, None

DOCUMENTATION = r"""
module: certificate_due
short_description: Say whether a site needs a new certificate that is made on its host, and make room for it
description:
  - Looks at the self-signed pair that nginx uses for the site. A new one is due when there is none, when names or kind
    of key are others, or when less than a third of its time or 30 days are left.
options:
  site: {description: The site's name., type: str, required: true}
  names: {description: Names and addresses of the site., type: list, elements: str, required: true}
  key_type: {description: The kind of key., type: str, choices: [ecdsa, rsa], default: ecdsa}
  etc: {description: Where the site's folder is; for tests., type: path, default: /etc}
attributes:
  check_mode: {support: full}
author: The project's authors
"""

EXAMPLES = r"""
- name: See whether a new one is due
  certificate_due:
    site: wordbook
    names: [localhost, 127.0.0.1]
"""

RETURN = r"""
why: {description: Why a new one is due; empty if none is., type: str, returned: always}
folder: {description: "Empty, and ready for the new pair.", type: str, returned: always}
subject_alt_name: {description: "The names, as a certificate states them.", type: list, returned: always}
"""


def main() -> None:
    """Entry point."""
    module = AnsibleModule(
        argument_spec={
            "site": {"type": "str", "required": True},
            "names": {"type": "list", "elements": "str", "required": True},
            "key_type": {"type": "str", "choices": ["ecdsa", "rsa"], "default": "ecdsa"},
            "etc": {"type": "path", "default": "/etc"},
        },
        supports_check_mode=True,
    )
    site, names = module.params["site"], module.params["names"]
    folder = Folder(site, Path(module.params["etc"]))
    used = folder.used
    own = used if used and used.name.startswith("selfsigned-") else None
    if why_new is None:
        if not module.check_mode:
            module.fail_json(
                msg=f"{site}: this host cannot make certificates yet. `ansible-playbook site.yml` installs what that"
                " needs (python3-cryptography)."
            )
        why, stated = "there is none yet", []
    else:
        why, stated = why_new(own, names, module.params["key_type"]), alternative_names(names)
    try:
        if why and not module.check_mode:
            folder.make_room()
    except OSError as error:
        module.fail_json(msg=f"{site}: {error.strerror}: {error.filename}; correct that, then run again")
    words = f"make a self-signed certificate: {why}\n" if why else ""
    module.exit_json(
        changed=bool(why),
        why=why,
        folder=str(folder.new),
        subject_alt_name=stated,
        diff={"before": "", "after": words},
    )


if __name__ == "__main__":
    main()
