#!/usr/bin/python
"""Set the proxy of apt."""

from __future__ import annotations

DOCUMENTATION = r"""
module: host_apt_proxy
short_description: Set the proxy of apt
description:
  - Writes the proxy to a file of apt's that only root can read, so that unattended upgrades use it too. Without a proxy
    the file is removed. Neither result nor diff shows its content.
  - For other users, C(apt list) warns that it cannot read the file, and works.
options:
  http_proxy:
    description: URL of the proxy. It can contain a password and is never printed.
    type: str
    default: ""
  no_proxy:
    description:
      - Names that are reached without it, as a comma-separated list. apt supports whole names only, so domains and
        networks are left out.
    type: str
    default: ""
author: The authors of wsgi.sites (@wsgi)
"""

EXAMPLES = r"""
- name: Set the proxy of apt
  wsgi.sites.host_apt_proxy:
    http_proxy: http://proxy.example.com:3128
    no_proxy: localhost,127.0.0.1
"""

RETURN = r"""
changed: {description: Whether apt's file was written., type: bool, returned: always}
"""

import os
import re
from pathlib import Path

from ansible.module_utils.basic import AnsibleModule

from ansible_collections.wsgi.sites.plugins.module_utils.daemons.files import place

FILE = Path("/etc/apt/apt.conf.d/90sites-proxy")
MODE = 0o600
# Characters that could end the quoted value, or that must be encoded in a URL anyway.
URL = re.compile(r"https?://[^\s\"\\]+")


def settings(http_proxy: str, no_proxy: str) -> str:
    """The file's text; empty without a proxy."""
    if not http_proxy:
        return ""
    names = [name for name in map(str.strip, no_proxy.split(",")) if re.fullmatch(r"[\w-][\w.-]*", name)]
    lines = ["// Made from host_http_proxy by the role host; edits here are lost."]
    for scheme in ("http", "https"):
        lines.append(f'Acquire::{scheme}::Proxy "{http_proxy}";')
        lines += [f'Acquire::{scheme}::Proxy::{name} "DIRECT";' for name in names]
    return "".join(f"{line}\n" for line in lines)


def right(text: str) -> bool:
    """Whether the file has the right content, owner and mode."""
    if not FILE.exists():
        return not text
    status = FILE.stat()
    closed = (status.st_mode & 0o7777, status.st_uid) == (MODE, os.geteuid())
    return closed and FILE.read_text(encoding="utf-8") == text


def main() -> None:
    """Entry point."""
    module = AnsibleModule(
        argument_spec={
            "http_proxy": {"type": "str", "default": "", "no_log": True},
            "no_proxy": {"type": "str", "default": ""},
        },
        supports_check_mode=True,
    )
    http_proxy = module.params["http_proxy"]
    if http_proxy and not URL.fullmatch(http_proxy):
        module.fail_json(
            msg="host_http_proxy is not a proxy's URL. Give http://HOST:PORT, or http://USER:PASSWORD@HOST:PORT with "
            "special characters percent-encoded."
        )
    text = settings(http_proxy, module.params["no_proxy"])
    changed = not right(text)
    if changed and not module.check_mode:
        place(FILE, text.encode() if text else None, None, MODE)
    module.exit_json(changed=changed)


if __name__ == "__main__":
    main()
