"""Documentation of the action plugin `preflight`, which runs only on the controller."""

DOCUMENTATION = r"""
module: preflight
short_description: Read and check the site config of every host in the play
description:
  - Merges C(sites), C(site_defaults) and the keys' own defaults for each host, once, before any host has answered, and
    gives them back. Register the result as C(preflight_config); every later role reads that copy.
  - All that is wrong comes in one message that names site, key and remedy, and quotes no value.
options:
  only:
    description:
      - Refuse nothing but an C(-e site=NAME) that names no site (V(site)), and also want one to be named if there are
        several (V(one_site)). For verbs such as rollback, which must work whatever else the site config says.
    type: str
    choices: [site, one_site]
author: The authors of wsgi.sites (@wsgi)
"""

EXAMPLES = r"""
- name: Read and check the site config of every host
  wsgi.sites.preflight:
  register: preflight_config
  run_once: true
  delegate_to: localhost
  become: false
"""

RETURN = r"""
hosts:
  description: For each host the names of its sites, their merged entries, and a digest of each variable.
  type: dict
  returned: always
chosen:
  description: The site of C(-e site=NAME), or an empty text for all.
  type: str
  returned: always
"""
