"""requirements.yml names the required collections at the versions of the locked `ansible` package."""

from __future__ import annotations

import json
import re
from pathlib import Path

import ansible
import yaml

PROJECT = Path(__file__).resolve().parent.parent
BUNDLED = Path(ansible.__file__).parents[1] / "ansible_collections"
NAMED = {
    entry["name"]: entry["version"]
    for entry in yaml.safe_load((PROJECT / "requirements.yml").read_text())["collections"]
}


def used_collections() -> set[str]:
    """Every collection that a task, a template or a lookup of the project names, besides Ansible's own."""
    known = {f"{folder.parent.name}.{folder.name}" for folder in BUNDLED.glob("*/*") if folder.is_dir()}
    files = [
        path
        for folder in ("playbooks", "roles", "molecule", "inventory", "bench")
        for path in (PROJECT / folder).rglob("*")
        if path.suffix in {".yml", ".yaml", ".j2"}
    ]
    files.append(PROJECT / "site.yml")
    words = {word for path in files for word in re.findall(r"\b([a-z_]+\.[a-z_]+)\.[a-z_]+\b", path.read_text())}
    return words & known


def test_it_names_exactly_the_collections_that_are_used():
    assert set(NAMED) == used_collections()


def test_their_versions_are_those_of_the_locked_ansible_package():
    bundled = {
        name: json.loads((BUNDLED.joinpath(*name.split(".")) / "MANIFEST.json").read_text())["collection_info"][
            "version"
        ]
        for name in NAMED
    }
    assert bundled == NAMED


def test_the_tests_run_with_the_ansible_release_of_operators():
    def pinned(lock: str) -> dict[str, str]:
        text = (PROJECT / "requirements" / lock).read_text()
        return dict(re.findall(r"^(ansible|ansible-core)==([0-9.]+)", text, re.MULTILINE))

    assert pinned("test.txt") == pinned("run.txt") != {}
