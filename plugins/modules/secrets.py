"""The documentation of the action plugin `secrets`, which runs on the controller alone."""

DOCUMENTATION = r"""
module: secrets
short_description: Generate a SECRET_KEY for each site that has none
description:
  - Writes C(.secrets.yml) beside the inventory, readable by its owner only, and encrypted if a vault password is given.
  - A site that has C(env.SECRET_KEY) keeps its own. In check mode only reports what would be generated.
options: {}
author: The authors of wsgi.sites (@wsgi)
"""

EXAMPLES = r"""
- name: Generate the missing secrets
  wsgi.sites.secrets:
  run_once: true
  delegate_to: localhost
  become: false
"""

RETURN = r"""
msg:
  description: The sites that got a secret, and its file.
  type: str
  returned: always
"""
