"""The manuals: generated parts are up to date, and every name that they mention exists."""

from __future__ import annotations

import json
import re
import subprocess
import sys
from pathlib import Path

import pytest
import yaml
from project import PROJECT

# README.md, docs/, the READMEs of roles and folders.
LISTED = subprocess.run(["git", "ls-files", "*.md"], cwd=PROJECT, capture_output=True, text=True, check=True)
MANUALS = LISTED.stdout.split()


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


def test_every_test_that_a_manual_names_exists():
    named = {name for file in MANUALS for name in re.findall(r"`(test_\w+|Test\w+)[`\[]", (PROJECT / file).read_text())}
    files = [path for folder in ("tests", "molecule", "app") for path in (PROJECT / folder).glob("**/test_*.py")]
    there = "".join(path.read_text() for path in files)
    assert len(named) > 50
    assert sorted(name for name in named if not re.search(rf"(def|class) {name}\b", there)) == []


@pytest.mark.parametrize("file", MANUALS)
def test_every_test_file_that_a_manual_names_exists(file: str):
    named = re.findall(r"\b((?:tests|molecule|bench)/[\w/]+\.py)\b", (PROJECT / file).read_text())
    assert [path for path in named if not (PROJECT / path).exists() and not path.endswith("_NAME.py")] == []


@pytest.mark.parametrize("file", MANUALS)
def test_every_link_of_a_manual_leads_to_a_file(file: str):
    text = re.sub(r"(?m)^    .*$", "", (PROJECT / file).read_text())  # without code
    links = re.findall(r'(?:\]\(|src=")(?!https?:|#)([^)#"\s]+)', text)
    assert [link for link in links if not ((PROJECT / file).parent / link).exists()] == []


def test_each_walk_of_the_architecture_has_five_existing_hops():
    walks = re.split(r"(?m)^### ", (PROJECT / "docs/architecture.md").read_text())[1:]
    assert len(walks) == 3
    for walk in walks:
        hops = re.findall(r"(?m)^\| (\d) \| \[([\w/.]+)\]\([\w/.]+\) \| `([\w.]+)` \|", walk)
        assert [hop for hop, *_ in hops] == ["1", "2", "3", "4", "5"]
        for _, file, name in hops:
            mark = {".py": rf"def {name}\b", ".j2": rf"block {name}\b"}.get(Path(file).suffix, re.escape(name))
            assert re.search(mark, (PROJECT / file).read_text()), (file, name)


@pytest.mark.parametrize("role", sorted({path.parts[-3] for path in PROJECT.glob("roles/*/templates/*.j2")}))
def test_the_readme_of_a_role_names_every_block_of_its_templates(role: str):
    folder = PROJECT / "roles" / role
    templates = "".join(path.read_text() for path in folder.glob("templates/*.j2"))
    blocks = set(re.findall(r"{%-? block (\w+)", templates))
    assert sorted(block for block in blocks if f"`{block}`" not in (folder / "README.md").read_text()) == []


MODULES = sorted(path.stem for path in PROJECT.glob("plugins/modules/*.py"))
LOOKUPS = sorted(path.stem for path in PROJECT.glob("plugins/lookup/*.py"))
ROLES = sorted(path.name for path in PROJECT.glob("roles/*"))


@pytest.mark.parametrize(("kind", "names"), [("module", MODULES), ("lookup", LOOKUPS)])
def test_ansible_doc_shows_every_plugin_with_examples_and_author(kind: str, names: list[str]):
    shown = ansible_doc(kind, names)
    for name in names:
        assert shown[name]["examples"], name
        assert [part for part in ("description", "author") if not shown[name]["doc"].get(part)] == [], name


def test_ansible_doc_shows_every_role_with_its_entry_points():
    shown = ansible_doc("role", ROLES)
    for role in ROLES:
        for name, entry_point in shown[role]["entry_points"].items():
            assert entry_point.get("short_description"), (role, name)
        assert any(entry_point.get("author") for entry_point in shown[role]["entry_points"].values()), role


@pytest.mark.parametrize("role", ROLES)
def test_every_entry_point_of_a_role_has_its_tasks(role: str):
    folder = PROJECT / "roles" / role
    specs = yaml.safe_load((folder / "meta/argument_specs.yml").read_text())["argument_specs"]
    tables = re.findall(r"(?m)^\| entry point \|.*\n((?:\|.*\n)+)", (folder / "README.md").read_text())
    rows = [row.split("|")[1] for table in tables for row in table.splitlines()]
    named = {name for row in rows for name in re.findall(r"`(\w+)`", row)}
    tasks = {path.stem for path in folder.glob("tasks/*.yml")}
    assert named | set(specs if tasks else ()) <= tasks


def ansible_doc(kind: str, names: list[str]) -> dict:
    """The output of `ansible-doc` for these plugins of the collection, by their short names."""
    full = [f"wsgi.sites.{name}" for name in names]
    done = subprocess.run(
        [Path(sys.executable).with_name("ansible-doc"), "--json", "--type", kind, *full],
        cwd=PROJECT, capture_output=True, text=True, check=True,
    )  # fmt: skip
    answer = json.loads(done.stdout)
    assert sorted(answer) == sorted(full)
    return {name.removeprefix("wsgi.sites."): shown for name, shown in answer.items()}
