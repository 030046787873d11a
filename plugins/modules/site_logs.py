"""Return the last lines of a site's logs."""

from __future__ import annotations

DOCUMENTATION = r"""
module: site_logs
short_description: Return the last lines of a site's logs
description:
  - Returns the last lines of C(server.log), C(access.log), C(error.log) and the logs of its processes, or the lines
    with a request's ID, also from the file before the last rotation. Changes nothing.
options:
  site: {description: The site's name., type: str, required: true}
  lines: {description: Number of lines of each log., type: int, default: 50}
  request_id: {description: Only lines with this ID., type: str, default: ""}
author: The authors of wsgi.sites (@wsgi)
"""

EXAMPLES = r"""
- name: Find the log lines of a request
  wsgi.sites.site_logs:
    site: wordbook
    request_id: 7f3c
"""

RETURN = r"""
text: {description: "The lines of each log, below its name.", type: str, returned: always}
"""

from ansible.module_utils.basic import AnsibleModule

from ansible_collections.wsgi.sites.plugins.module_utils.site import logs
from ansible_collections.wsgi.sites.plugins.module_utils.site.paths import LOGS


def main() -> None:
    """Entry point."""
    module = AnsibleModule(
        argument_spec={
            "site": {"type": "str", "required": True},
            "lines": {"type": "int", "default": 50},
            "request_id": {"type": "str", "default": ""},
        },
        supports_check_mode=True,
    )
    given = module.params
    module.exit_json(changed=False, text=logs.show(LOGS / given["site"], given["lines"], given["request_id"]))


if __name__ == "__main__":
    main()
