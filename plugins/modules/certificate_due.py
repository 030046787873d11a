"""Check whether a site needs a new certificate, self-signed or requested, and create the folder for it."""

from __future__ import annotations

DOCUMENTATION = r"""
module: certificate_due
short_description: Check whether a site needs a new certificate
description:
  - Inspects the self-signed pair that nginx uses for the site. A new one is due if there is none, if names or type of
    key differ, or if less than a third of its lifetime or 30 days are left (at most half its lifetime). Then creates
    the folder for it.
  - With O(acme), any pair that nginx can use is sufficient; the result says whether certbot has to request one, or
    whether its certificate is not installed yet.
options:
  site: {description: The site's name., type: str, required: true}
  names: {description: Names and addresses of the site., type: list, elements: str, required: true}
  key_type: {description: Type of key., type: str, choices: [ecdsa, rsa], default: ecdsa}
  acme: {description: The site's C(tls.acme)., type: dict, default: {}}
  force: {description: Report a new one as due in any case., type: bool, default: false}
  etc: {description: Parent of the site's folder; for tests., type: path, default: /etc}
  certbot: {description: Certbot's own folder; for tests., type: path, default: /etc/letsencrypt}
attributes:
  check_mode: {support: full, description: Changes nothing and reports what would change.}
author: The authors of wsgi.sites (@wsgi)
"""

EXAMPLES = r"""
- name: Check whether a new certificate is due
  wsgi.sites.certificate_due:
    site: wordbook
    names: [localhost, 127.0.0.1]
"""

RETURN = r"""
why: {description: Why one must be made on the host; empty if none is due., type: str, returned: always}
folder: {description: Empty folder for the new pair., type: str, returned: always}
subject_alt_name: {description: Names in the form of a certificate., type: list, elements: str, returned: always}
ask: {description: Whether certbot has to be run., type: bool, returned: always}
"""

from pathlib import Path

from ansible.module_utils.basic import AnsibleModule

from ansible_collections.wsgi.sites.plugins.module_utils.certificates.folder import FULLCHAIN, PRIVKEY, Folder, read
from ansible_collections.wsgi.sites.plugins.module_utils.certificates.lineage import Lineage

try:
    from ansible_collections.wsgi.sites.plugins.module_utils.certificates.request import CertificateRequest
    from ansible_collections.wsgi.sites.plugins.module_utils.certificates.validity import alternative_names, why_new
except ImportError:  # a bare host in check mode, or the first such site deployed by playbooks/deploy.yml alone
    CertificateRequest, alternative_names, why_new = None, None, None


LACKS = (
    "{}: this host cannot make or request certificates yet. `ansible-playbook site.yml` installs the packages"
    " (python3-cryptography)."
)


def why_make(folder: Folder, names: list[str], key_type: str, acme: bool, force: bool) -> str:
    """Why a new one must be made."""
    used = folder.used
    own = used if used and used.name.startswith("selfsigned-") else None
    stands = acme and used is not None and own is None and all(read(used / name) for name in (FULLCHAIN, PRIVKEY))
    if stands:
        return ""
    if force and not acme:
        return "it was requested"
    return why_new(own, names, key_type)


def main() -> None:
    """Entry point."""
    module = AnsibleModule(
        argument_spec={
            "site": {"type": "str", "required": True},
            "names": {"type": "list", "elements": "str", "required": True},
            "key_type": {"type": "str", "choices": ["ecdsa", "rsa"], "default": "ecdsa"},
            "acme": {"type": "dict", "default": {}},
            "force": {"type": "bool", "default": False},
            "etc": {"type": "path", "default": "/etc"},
            "certbot": {"type": "path", "default": "/etc/letsencrypt"},
        },
        supports_check_mode=True,
    )
    site, names, key_type, acme, force = (module.params[key] for key in ("site", "names", "key_type", "acme", "force"))
    folder = Folder(site, Path(module.params["etc"]))
    if CertificateRequest is None:
        if not module.check_mode:
            module.fail_json(msg=LACKS.format(site))
        why, stated, ask = "there is none yet", [], bool(acme)
    else:
        lineage = Lineage(site, Path(module.params["certbot"]))
        why, stated = why_make(folder, names, key_type, bool(acme), force), alternative_names(names)
        ask = bool(acme) and (force or not CertificateRequest(folder, lineage, names, key_type, **acme).is_settled())
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
        ask=ask,
        diff={"before": "", "after": words},
    )


if __name__ == "__main__":
    main()
