"""The manuals: made from the argument specs where they are made, and complete."""

from __future__ import annotations

import subprocess
import sys

import yaml
from project import PROJECT


def test_the_reference_of_site_keys_is_up_to_date():
    done = subprocess.run(
        [sys.executable, PROJECT / "bin/docs", "--check"], capture_output=True, text=True, check=False
    )
    assert done.returncode == 0, done.stderr


# Ansible templates the whole spec when it validates a role's arguments.
def test_no_description_and_no_example_of_a_role_is_a_template():
    def walk(options: dict) -> None:
        for name, option in options.items():
            assert "{{" not in str(option.get("description")) + str(option.get("example")), name
            walk(option.get("options", {}))

    for file in PROJECT.glob("roles/*/meta/argument_specs.yml"):
        for entry_point in yaml.safe_load(file.read_text())["argument_specs"].values():
            walk(entry_point.get("options", {}))
