"""Lay a site's certificate and key down, and point nginx to them."""

from __future__ import annotations

from pathlib import Path

from ansible.module_utils.basic import AnsibleModule

from ansible_collections.wsgi.sites.plugins.module_utils.certificates.folder import FULLCHAIN, PRIVKEY, Folder, read

DOCUMENTATION = r"""
module: certificate_install
short_description: Lay a site's certificate and key down, and point nginx to them
description:
  - The pair gets a folder of its own, C(/etc/SITE/certificates/KIND-HASH), and C(/etc/SITE/tls) is renamed to lead
    there. So nginx never finds a certificate with the key of another. nginx itself is told by M(nginx_config).
options:
  site: {description: The site's name., type: str, required: true}
  kind: {description: Where the pair comes from., type: str, required: true}
  fullchain:
    description: The certificate and its chain. Without it, the pair is taken that lies in C(certificate_due)'s folder.
    type: str
    default: ""
  privkey: {description: The key. Never shown., type: str, default: ""}
  etc: {description: Where the site's folder is; for tests., type: path, default: /etc}
attributes:
  check_mode: {support: full}
author: The project's authors
"""

EXAMPLES = r"""
- name: Use the certificate that was made
  wsgi.sites.certificate_install:
    site: wordbook
    kind: selfsigned
"""

RETURN = r"""
changes: {description: "What was changed, in words.", type: list, elements: str, returned: always}
"""


def main() -> None:
    """Entry point."""
    module = AnsibleModule(
        argument_spec={
            "site": {"type": "str", "required": True},
            "kind": {"type": "str", "required": True},
            "fullchain": {"type": "str", "default": ""},
            "privkey": {"type": "str", "default": "", "no_log": True},
            "etc": {"type": "path", "default": "/etc"},
        },
        required_together=[("fullchain", "privkey")],
        supports_check_mode=True,
    )
    folder = Folder(module.params["site"], Path(module.params["etc"]))
    files = {FULLCHAIN: module.params["fullchain"].encode(), PRIVKEY: module.params["privkey"].encode()}
    if not files[FULLCHAIN]:
        files = {name: read(folder.new / name) or b"" for name in files}
    changes: list[str] = []

    def note(words: str) -> bool:
        changes.append(words)
        return not module.check_mode

    if not all(files.values()):
        module.fail_json(msg=f"{folder.site}: there is no certificate in {folder.new}; run again to make one")
    try:
        folder.place(module.params["kind"], files, note)
    except OSError as error:
        module.fail_json(msg=f"{folder.site}: {error.strerror}: {error.filename}; correct that, then run again")
    diff = {"before": "", "after": "".join(f"{line}\n" for line in changes)}
    module.exit_json(changed=bool(changes), changes=changes, diff=diff)


if __name__ == "__main__":
    main()
