#!/usr/bin/python
"""Add CA certificates to the host's trust store."""

from __future__ import annotations

DOCUMENTATION = r"""
module: host_authorities
short_description: Add CA certificates to the trust store of a Debian host
description:
  - Installs each certificate in C(/usr/local/share/ca-certificates) and rebuilds the system's bundle if one is not in
    it yet, so the next run completes one that was interrupted between the two steps.
options:
  certificates:
    description: PEM certificates by name.
    type: dict
    required: true
author: The authors of wsgi.sites (@wsgi)
"""

EXAMPLES = r"""
- name: Trust a private CA
  wsgi.sites.host_authorities:
    certificates: "{{ lookup('wsgi.sites.ca_certificates', 'tls/internal-ca.pem') }}"
"""

RETURN = r"""
added: {description: Names of the certificates that were added., type: list, elements: str, returned: always}
"""

import os
from pathlib import Path

from ansible.module_utils.basic import AnsibleModule

FOLDER = Path("/usr/local/share/ca-certificates")
BUNDLE = Path("/etc/ssl/certs/ca-certificates.crt")
UPDATE = ["/usr/sbin/update-ca-certificates"]


def read(path: Path) -> str:
    """The text of a file; empty if it does not exist."""
    try:
        return path.read_text(encoding="utf-8")
    except FileNotFoundError:
        return ""


def main() -> None:
    """Entry point."""
    module = AnsibleModule(argument_spec={"certificates": {"type": "dict", "required": True}}, supports_check_mode=True)
    # Normalize Windows line ends, which would show a change in every run.
    certificates = {
        name: text.replace("\r\n", "\n").strip() + "\n" for name, text in module.params["certificates"].items()
    }
    bad = [name for name, text in certificates.items() if "-----BEGIN CERTIFICATE-----" not in text]
    if bad:
        module.fail_json(
            msg=f"host_ca_certificates: {', '.join(sorted(bad))} is no PEM certificate. "
            "Convert it: openssl x509 -inform der -in FILE -out FILE.pem"
        )
    bundle = read(BUNDLE)
    missing = [
        name
        for name, text in certificates.items()
        if text.strip() not in bundle or read(FOLDER / f"{name}.crt") != text
    ]
    if missing and not module.check_mode:
        FOLDER.mkdir(parents=True, exist_ok=True)
        for name in missing:
            temporary = FOLDER / f".{name}.new"
            temporary.write_text(certificates[name], encoding="utf-8")
            temporary.chmod(0o644)
            os.replace(temporary, FOLDER / f"{name}.crt")
        module.run_command(UPDATE, check_rc=True)
    module.exit_json(changed=bool(missing), added=sorted(missing))


if __name__ == "__main__":
    main()
