"""Request a certificate for a site by certbot, and install it."""

from __future__ import annotations

DOCUMENTATION = r"""
module: certificate_request
short_description: Request a certificate for a site by certbot, and install it
description:
  - Requests one if certbot has none for the site, if names, type of key or directory differ, or if renewal is due. The
    CA then fetches a token at the site's names, which the running nginx serves.
  - Copies certbot's pair to its own folder, renames the link C(/etc/SITE/tls) to it, and reloads nginx.
  - If the CA issues none, the module does not fail, since the site is up; RV(problem) has the reason.
options:
  site: {description: The site's name., type: str, required: true}
  names: {description: Names of the site; IP addresses are left out., type: list, elements: str, required: true}
  key_type: {description: Type of key., type: str, choices: [ecdsa, rsa], default: ecdsa}
  directory: {description: URL of the ACME directory., type: str, required: true}
  email: {description: Contact address of the ACME account., type: str, default: ""}
  renew_days: {description: Days before expiry from which it is renewed., type: int, default: 30}
  force: {description: Request one in any case., type: bool, default: false}
attributes:
  check_mode: {support: full, description: Changes nothing and reports what would change.}
author: The authors of wsgi.sites (@wsgi)
"""

EXAMPLES = r"""
- name: Request a certificate
  wsgi.sites.certificate_request:
    site: shop
    names: [shop.example.com, www.shop.example.com]
    directory: https://acme-v02.api.letsencrypt.org/directory
"""

RETURN = r"""
changes: {description: "What was changed, in words.", type: list, elements: str, returned: always}
problem: {description: Why there is no new certificate; empty if there is., type: str, returned: always}
"""

from ansible.module_utils.basic import AnsibleModule

from ansible_collections.wsgi.sites.plugins.module_utils.certificates.folder import Folder
from ansible_collections.wsgi.sites.plugins.module_utils.certificates.lineage import Lineage
from ansible_collections.wsgi.sites.plugins.module_utils.certificates.renewal import take
from ansible_collections.wsgi.sites.plugins.module_utils.daemons.errors import Refused

try:
    from ansible_collections.wsgi.sites.plugins.module_utils.certificates.request import CertificateRequest
except ImportError:  # a bare host in check mode
    CertificateRequest = None


def main() -> None:
    """Entry point."""
    module = AnsibleModule(
        argument_spec={
            "site": {"type": "str", "required": True},
            "names": {"type": "list", "elements": "str", "required": True},
            "key_type": {"type": "str", "choices": ["ecdsa", "rsa"], "default": "ecdsa"},
            "directory": {"type": "str", "required": True},
            "email": {"type": "str", "default": ""},
            "renew_days": {"type": "int", "default": 30},
            "force": {"type": "bool", "default": False},
        },
        supports_check_mode=True,
    )
    given = dict(module.params)
    site, force = given.pop("site"), given.pop("force")
    folder, lineage = Folder(site), Lineage(site)
    changes: list[str] = []
    problem = ""

    def note(words: str) -> bool:
        changes.append(words)
        return not module.check_mode

    if CertificateRequest is None:
        note(f"request a certificate from {given['directory']}")
    else:
        request = CertificateRequest(folder, lineage, **given)
        try:
            why = "it was requested" if force else request.why()
            if why or not lineage.ours:
                problem = "" if module.check_mode else request.send(module.run_command)
                problem or note(f"request a certificate from {request.directory}: {why}")
            if not module.check_mode and lineage.ours and lineage.pair:
                interval = request.interval()
                if lineage.setting("renew_before_expiry") != interval and note(f"renew it {interval} before expiry"):
                    lineage.set_renewal(interval)
                take(folder, lineage, note)
        except Refused as error:
            problem = str(error)
        except OSError as error:
            module.fail_json(msg=f"{site}: {error.strerror}: {error.filename}; correct that, then run again")
        problem = request.message(problem) if problem else ""
    diff = {"before": "", "after": "".join(f"{line}\n" for line in changes)}
    module.exit_json(changed=bool(changes), changes=changes, problem=problem, diff=diff)


if __name__ == "__main__":
    main()
