"""Documentation of the action plugin `add_entry`, which runs only on the controller."""

DOCUMENTATION = r"""
module: add_entry
short_description: Add one entry to a YAML file of the inventory
description:
  - Leaves the rest of the file, comments included, as it is. Fails if the name is already there.
options:
  file:
    description: The file, relative to the project.
    type: path
    required: true
  below:
    description: The keys from the top of the file to the mapping that gets the entry.
    type: list
    elements: str
    required: true
  name:
    description: The key of the new entry.
    type: str
    required: true
  text:
    description: The new entry with its key, as YAML.
    type: str
    required: true
author: The authors of wsgi.sites (@wsgi)
"""

EXAMPLES = r"""
- name: Add the site to the inventory
  wsgi.sites.add_entry:
    file: inventory/production/group_vars/all/sites.yml
    below: [sites]
    name: shop
    text: "shop:\n  server_names: [shop.example.com]\n"
"""

RETURN = r"""
{}
"""
