"""Host facts that nginx's files depend on: IPv6 and nginx's version."""

from __future__ import annotations

import re
import subprocess
from pathlib import Path
from typing import Any

NGINX = Path("/usr/sbin/nginx")


def has_ipv6(root: Path = Path("/")) -> bool:
    """Whether the kernel has IPv6; without it nginx cannot listen on [::] and does not start."""
    return (root / "proc/net/if_inet6").exists()


def nginx_version(binary: Path = NGINX) -> str:
    """The version of nginx, such as 1.22.1; empty if it is not installed."""
    try:
        done = subprocess.run([binary, "-v"], capture_output=True, text=True, check=False, timeout=30)
    except OSError:
        return ""
    found = re.search(r"nginx/([0-9.]+)", done.stderr)
    return found.group(1) if found else ""


def facts() -> dict[str, Any]:
    """The facts in Ansible's form; without nginx its version is omitted, so that the role's default applies."""
    version = nginx_version()
    return {"ansible_sites_ipv6": has_ipv6(), **({"ansible_sites_nginx": version} if version else {})}
