"""Take away certificates and keys of a site that nothing uses any more."""

from __future__ import annotations

import shutil
from pathlib import Path

from ansible.module_utils.basic import AnsibleModule
from ansible.module_utils.certificates.folder import Folder

DOCUMENTATION = r"""
module: certificate_tidy
short_description: Take away certificates and keys of a site that nothing uses any more
description:
  - Everything in C(/etc/SITE/certificates) but the pair that C(/etc/SITE/tls) leads to; without a certificate, both go.
    Only once nginx has loaded what it uses instead.
options:
  site: {description: The site's name., type: str, required: true}
  wanted: {description: Whether the site has a certificate at all., type: bool, required: true}
  etc: {description: Where the site's folder is; for tests., type: path, default: /etc}
attributes:
  check_mode: {support: full}
author: The project's authors
"""

EXAMPLES = r"""
- name: Take the rest away
  certificate_tidy:
    site: wordbook
    wanted: true
"""

RETURN = r"""
changes: {description: "What was taken away, in words.", type: list, elements: str, returned: always}
"""


def main() -> None:
    """Entry point."""
    module = AnsibleModule(
        argument_spec={
            "site": {"type": "str", "required": True},
            "wanted": {"type": "bool", "required": True},
            "etc": {"type": "path", "default": "/etc"},
        },
        supports_check_mode=True,
    )
    spare = Folder(module.params["site"], Path(module.params["etc"])).spare(module.params["wanted"])
    try:
        for path in [] if module.check_mode else spare:
            if path.is_dir() and not path.is_symlink():
                shutil.rmtree(path)
            else:
                path.unlink()
    except OSError as error:
        module.fail_json(msg=f"{module.params['site']}: {error.strerror}: {error.filename}; correct that, run again")
    changes = [f"remove {path}" for path in spare]
    diff = {"before": "".join(f"{line}\n" for line in changes), "after": ""}
    module.exit_json(changed=bool(changes), changes=changes, diff=diff)


if __name__ == "__main__":
    main()
