"""Lookup that converts nginx's proxy_* directives to their uwsgi_* equivalents."""

from __future__ import annotations

DOCUMENTATION = """
name: uwsgi_directives
short_description: Convert nginx's proxy_* directives to uwsgi_* directives
description:
  - Converts nginx directives for C(proxy_pass) to those for C(uwsgi_pass), so that both protocols get the same settings
    and an override applies to both.
  - Directives without equivalent and comments are left out.
options:
  _terms:
    description: The lines.
    required: true
author: The authors of wsgi.sites (@wsgi)
"""

EXAMPLES = """
- name: Show a header as a uwsgi parameter
  ansible.builtin.debug:
    msg: "{{ lookup('wsgi.sites.uwsgi_directives', 'proxy_set_header X-Real-IP $remote_addr;') }}"
"""

RETURN = """
_raw:
  description: The lines for uWSGI, of each term.
  type: list
  elements: str
"""

import re
from collections.abc import Mapping
from typing import Any

from ansible.plugins.lookup import LookupBase

# Directives for HTTP only: keepalive connections, WebSockets.
HOP = {"connection", "upgrade"}
# Directives of both protocols, by the name after the first `_`.
SAME = {
    "hide_header", "pass_header", "ignore_headers", "connect_timeout", "send_timeout", "read_timeout", "buffering",
    "buffer_size", "buffers", "busy_buffers_size", "max_temp_file_size", "request_buffering", "next_upstream",
    "next_upstream_tries", "next_upstream_timeout", "intercept_errors", "ignore_client_abort", "limit_rate",
}  # fmt: skip


class LookupModule(LookupBase):
    """``lookup('wsgi.sites.uwsgi_directives', LINES)``."""

    def run(self, terms: list[str], variables: Mapping[str, Any] | None = None, **kwargs: Any) -> list[str]:
        """Answer the lookup."""
        return ["\n".join(words(str(term))) for term in terms]


def words(lines: str) -> list[str]:
    """The equivalent lines for ``uwsgi_pass``."""
    found = []
    for line in lines.splitlines():
        match = re.fullmatch(r"\s*proxy_(\w+)\s+(.*?)\s*;\s*(?:#.*)?", line)
        if not match:
            continue
        directive, value = match.groups()
        if directive == "set_header":
            name, _, value = value.partition(" ")
            if name.lower() not in HOP:
                # The client's header of this name is always removed; a header without a value is not sent.
                found.append(f"uwsgi_param HTTP_{name.upper().replace('-', '_')} {value.strip()} if_not_empty;")
        elif directive in SAME:
            found.append(f"uwsgi_{directive} {value};")
    return found
