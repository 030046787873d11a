"""What a site's templates for nginx say of http, said for the uwsgi protocol."""

from __future__ import annotations

import re
from collections.abc import Mapping
from typing import Any

from ansible.plugins.lookup import LookupBase

DOCUMENTATION = """
name: uwsgi_directives
short_description: What a site's templates for nginx say of http, said for the uwsgi protocol
description:
  - Takes lines of nginx's language, and answers with those that C(uwsgi_pass) needs instead of those that
    C(proxy_pass) needs. So both are told the same, and an override of the one is one of the other.
  - What has no meaning there is left out, comments too.
options:
  _terms:
    description: The lines.
    required: true
author: The authors of wsgi.sites (@wsgi)
"""

EXAMPLES = """
- name: Tell uWSGI what any server is told
  ansible.builtin.debug:
    msg: "{{ lookup('wsgi.sites.uwsgi_directives', 'proxy_set_header X-Real-IP $remote_addr;') }}"
"""

RETURN = """
_raw:
  description: The lines for uWSGI, of each term.
  type: list
  elements: str
"""

# Between nginx and one server by http alone: kept connections, WebSockets.
HOP = {"connection", "upgrade"}
# The same directives for both protocols, by their name after the first `_`.
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
    """The lines that mean the same to ``uwsgi_pass``."""
    found = []
    for line in lines.splitlines():
        match = re.fullmatch(r"\s*proxy_(\w+)\s+(.*?)\s*;\s*(?:#.*)?", line)
        if not match:
            continue
        directive, value = match.groups()
        if directive == "set_header":
            name, _, value = value.partition(" ")
            if name.lower() not in HOP:
                # A header by this name is taken out in any case; one without a value is not sent.
                found.append(f"uwsgi_param HTTP_{name.upper().replace('-', '_')} {value.strip()} if_not_empty;")
        elif directive in SAME:
            found.append(f"uwsgi_{directive} {value};")
    return found
