"""Remove unused certificates and keys of a site."""

from __future__ import annotations

DOCUMENTATION = r"""
module: certificate_cleanup
short_description: Remove unused certificates and keys of a site
description:
  - Removes everything in C(/etc/SITE/certificates) except the pair that C(/etc/SITE/tls) links to; for a site without a
    certificate, both. Only after nginx has loaded the pair that it uses instead. Removes certbot's files of a site that
    no longer uses ACME.
options:
  site: {description: The site's name., type: str, required: true}
  mode: {description: The site's C(tls.mode)., type: str, required: true}
  etc: {description: Parent of the site's folder; for tests., type: path, default: /etc}
  certbot: {description: Certbot's own folder; for tests., type: path, default: /etc/letsencrypt}
attributes:
  check_mode: {support: full, description: Changes nothing and reports what would change.}
author: The authors of wsgi.sites (@wsgi)
"""

EXAMPLES = r"""
- name: Remove unused certificates
  wsgi.sites.certificate_cleanup:
    site: wordbook
    mode: selfsigned
"""

RETURN = r"""
changes: {description: "What was removed, in words.", type: list, elements: str, returned: always}
"""

from pathlib import Path

from ansible.module_utils.basic import AnsibleModule

from ansible_collections.wsgi.sites.plugins.module_utils.certificates.folder import Folder, remove
from ansible_collections.wsgi.sites.plugins.module_utils.certificates.lineage import Lineage, spare


def main() -> None:
    """Entry point."""
    module = AnsibleModule(
        argument_spec={
            "site": {"type": "str", "required": True},
            "mode": {"type": "str", "required": True},
            "etc": {"type": "path", "default": "/etc"},
            "certbot": {"type": "path", "default": "/etc/letsencrypt"},
        },
        supports_check_mode=True,
    )
    site = module.params["site"]
    folder, lineage = Folder(site, Path(module.params["etc"])), Lineage(site, Path(module.params["certbot"]))
    changes: list[str] = []

    def note(words: str) -> bool:
        changes.append(words)
        return not module.check_mode

    try:
        remove(spare(module.params["mode"], folder, lineage), note)
    except OSError as error:
        module.fail_json(msg=f"{site}: {error.strerror}: {error.filename}; correct that, run again")
    diff = {"before": "".join(f"{line}\n" for line in changes), "after": ""}
    module.exit_json(changed=bool(changes), changes=changes, diff=diff)


if __name__ == "__main__":
    main()
