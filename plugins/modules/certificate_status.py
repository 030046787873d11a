"""List the certificates of the sites of this host."""

from __future__ import annotations

DOCUMENTATION = r"""
module: certificate_status
short_description: List the certificates of the sites of this host
description:
  - Returns issuer, names, remaining days and renewal of each site's certificate. Changes nothing.
options:
  sites: {description: Sites and their C(tls.mode)., type: dict, required: true}
  etc: {description: Where the sites' folders are; for tests., type: path, default: /etc}
  certbot: {description: Certbot's own folder; for tests., type: path, default: /etc/letsencrypt}
author: The authors of wsgi.sites (@wsgi)
"""

EXAMPLES = r"""
- name: List the certificates
  wsgi.sites.certificate_status:
    sites: {shop: acme}
"""

RETURN = r"""
sites:
  description: One entry per site.
  type: list
  elements: dict
  returned: always
  contains:
    site: {description: The site's key., type: str, returned: always}
    mode: {description: Its C(tls.mode)., type: str, returned: always}
    issuer: {description: Its issuer., type: str, returned: always}
    names: {description: Its names., type: list, elements: str, returned: always}
    days: {description: Days left; -1 where there is none., type: int, returned: always}
    renewal: {description: "How and when it is renewed, in words.", type: str, returned: always}
"""

from datetime import UTC, datetime
from pathlib import Path
from typing import Any

from ansible.module_utils.basic import AnsibleModule

from ansible_collections.wsgi.sites.plugins.module_utils.certificates.folder import Folder
from ansible_collections.wsgi.sites.plugins.module_utils.certificates.inspection import Run, inspect, renewal
from ansible_collections.wsgi.sites.plugins.module_utils.certificates.lineage import Lineage


def timer(run: Run) -> str:
    """The timer or cron that calls certbot on this host; empty if there is none."""
    if Path("/run/systemd/system").is_dir():
        return "timer" if run(["systemctl", "is-active", "--quiet", "certbot.timer"])[0] == 0 else ""
    crontab = Path("/etc/cron.d/certbot")
    return "cron" if crontab.is_file() and run(["pidof", "cron"])[0] == 0 else ""


def report(folder: Folder, lineage: Lineage, mode: str, run: Run, now: datetime) -> dict[str, Any]:
    """One line of the table."""
    nothing = {"site": folder.site, "mode": mode, "issuer": "", "names": [], "days": -1}
    if mode == "none":
        return {**nothing, "renewal": ""}
    used = folder.used
    seen = inspect(used, run) if used else None
    if used is None or seen is None:
        return {**nothing, "renewal": "NONE YET: ansible-playbook site.yml"}
    kind = used.name.partition("-")[0]
    words = renewal(kind, seen, lineage.setting("renew_before_expiry"), timer(run) if kind == "acme" else "", now)
    if kind != mode:
        words = f"STANDS IN: there is none by {mode} yet; run again"
    return nothing | {"issuer": seen.issuer, "names": seen.names, "days": seen.days(now), "renewal": words}


def main() -> None:
    """Entry point."""
    module = AnsibleModule(
        argument_spec={
            "sites": {"type": "dict", "required": True},
            "etc": {"type": "path", "default": "/etc"},
            "certbot": {"type": "path", "default": "/etc/letsencrypt"},
        },
        supports_check_mode=True,
    )
    etc, certbot, now = Path(module.params["etc"]), Path(module.params["certbot"]), datetime.now(UTC)
    sites = [
        report(Folder(site, etc), Lineage(site, certbot), mode, module.run_command, now)
        for site, mode in module.params["sites"].items()
    ]
    module.exit_json(changed=False, sites=sites)


if __name__ == "__main__":
    main()
