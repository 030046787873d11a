"""Install certificate and key of a site."""

from __future__ import annotations

DOCUMENTATION = r"""
module: certificate_install
short_description: Install certificate and key of a site
description:
  - Installs the pair in its own folder, C(/etc/SITE/certificates/KIND-HASH), and renames the link C(/etc/SITE/tls) to
    it. So nginx never finds a certificate with another's key. M(wsgi.sites.nginx_config) reloads nginx.
options:
  site: {description: The site's name., type: str, required: true}
  kind: {description: "Source of the pair, C(selfsigned) or C(provided).", type: str, required: true}
  fullchain:
    description: The certificate and its chain. Without it, the pair in the folder of C(certificate_due) is installed.
    type: str
    default: ""
  privkey: {description: Private key. Never shown., type: str, default: ""}
  etc: {description: Parent of the site's folder; for tests., type: path, default: /etc}
attributes:
  check_mode: {support: full, description: Changes nothing and reports what would change.}
author: The authors of wsgi.sites (@wsgi)
"""

EXAMPLES = r"""
- name: Install the certificate that was made
  wsgi.sites.certificate_install:
    site: wordbook
    kind: selfsigned
"""

RETURN = r"""
changes: {description: "What was changed, in words.", type: list, elements: str, returned: always}
"""

from pathlib import Path

from ansible.module_utils.basic import AnsibleModule

from ansible_collections.wsgi.sites.plugins.module_utils.certificates.folder import FULLCHAIN, PRIVKEY, Folder, read


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
