"""The documentation of the action plugin `secrets`, which runs on the controller alone."""

DOCUMENTATION = r"""
module: secrets
short_description: Make a SECRET_KEY for each site that has none
description:
  - Writes C(.secrets.yml) beside the inventory, readable by its owner alone; encrypted if a vault password is given.
  - A site that has C(env.SECRET_KEY) keeps its own. In check mode only says what would be made.
options: {}
author: The authors of this bundle
"""

EXAMPLES = r"""
- name: Make the secrets that sites do not have yet
  wsgi.sites.secrets:
  run_once: true
  delegate_to: localhost
  become: false
"""

RETURN = r"""
msg:
  description: The sites that got a secret, and where it is.
  type: str
"""
