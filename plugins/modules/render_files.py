"""The documentation of the action plugin `render_files`, which runs on the controller alone."""

DOCUMENTATION = r"""
module: render_files
short_description: Write the files that a host would get to build/HOST/ on the controller
description:
  - Each file at its real path below C(build/HOST/) in the project's root. The host is not contacted.
  - Only the owner can read files and folders. Links below C(build/) are not followed.
options:
  files:
    description: The contents of the files, by their path on the host.
    type: dict
    required: true
  links:
    description: The targets of symbolic links, by their path on the host.
    type: dict
    default: {}
author: The authors of wsgi.sites (@wsgi)
"""

EXAMPLES = r"""
- name: Write supervisor's own configuration to build/
  wsgi.sites.render_files:
    files: {/etc/supervisor/supervisord.conf: "{{ lookup('wsgi.sites.template', 'supervisor/supervisord.conf.j2') }}"}
"""

RETURN = r"""
files:
  description: The paths on the host whose copy below C(build/HOST/) was written.
  type: list
  returned: always
  elements: str
"""
