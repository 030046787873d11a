"""New sites and hosts are added without any other change to the file."""

from __future__ import annotations

import io
import shutil
from pathlib import Path

import pytest
import yaml
from ansible.errors import AnsibleActionFail
from ansible_run import PROJECT, preflight, run
from ruamel.yaml import YAML

from ansible_collections.wsgi.sites.plugins.action import add_entry
from ansible_collections.wsgi.sites.plugins.plugin_utils.yaml_insert import Loader, check, insert

ENTRY = "\n# the shop\nshop:\n  # names\n  names: [a]\n"

LAYOUTS = {
    "after the last entry": "---\nsites:\n  one: {a: 1}\n  two:\n    b: 2\n",
    "without a last newline": "---\nsites:\n  one:\n    b: 2",
    "before the next key, whose comment stays with it": (
        "sites:\n  one:\n    b: 2\n    # of one\n  # two: later\n\n# defaults\nsite_defaults:\n  c: 3\n"
    ),
    "with the indentation that is there": "sites:\n    one:\n        b: 2\nx: 1\n",
    "after a block of text": "sites:\n  one:\n    text: |\n      # not a comment\n      last\n\n",
    "after a list": "sites:\n  one:\n    names:\n    - a\n    - b\n",
    "where the page is empty": "---\n# Nothing yet.\n",
    "where there is no file": "",
    "where there are no sites": "---\nother: 1\n",
    "where sites are {}": "---\n# page\nsites: {}\nother: 1\n",
    "where sites are nothing": "---\nsites:\nother: 1\n",
    "where sites are nothing at the end": "---\nsites:\n",
    "where sites are nothing, with a comment": "---\nsites:  # none yet\nother: 1\n",
    "where sites are ~": "sites: ~\n",
    "with tags of Ansible's": (
        "sites:\n  one:\n    env:\n      A: !vault |\n        $ANSIBLE_VAULT;1.1;AES256\n        6162\nz: 1\n"
    ),
    "with anchors": "base: &base {a: 1}\nsites:\n  one:\n    <<: *base\n",
    "with a document's end": "sites:\n  one: {}\n...\n",
    "with lists indented in two ways": "sites:\n  one:\n    names:\n    - a\n    domains:\n      - b\n",
    "with spaces inside of brackets": "sites:\n  one: { a: 1,  b: [ 1, 2 ] }\n",
    "with folded text": 'sites:\n  one:\n    text: a text\n      goes on\n    quoted: "and \\\n      on"\n',
}
# Layouts that a round trip by ruamel.yaml rewrites.
REWRITTEN = (
    "with lists indented in two ways",
    "with spaces inside of brackets",
    "with folded text",
    "with a document's end",
    "where the page is empty",
)


@pytest.mark.parametrize("layout", LAYOUTS)
def test_a_site_is_added(layout):
    text = LAYOUTS[layout]
    new = insert(text, ["sites"], "shop", ENTRY)
    old = yaml.load(text, Loader) or {}  # noqa: S506 - a SafeLoader
    old["sites"] = {**(old.get("sites") or {}), "shop": {"names": ["a"]}}
    assert yaml.load(new, Loader) == old  # noqa: S506
    kept = [line for line in text.splitlines() if line.split("#")[0].strip() not in ("sites: {}", "sites: ~", "sites:")]
    left = iter(new.splitlines())
    assert all(line in left for line in kept), new  # every other line is there still, in its order
    assert "# the shop" in new


def test_a_comment_stays_with_the_key_below_it():
    new = insert(LAYOUTS["before the next key, whose comment stays with it"], ["sites"], "shop", ENTRY)
    assert "  # two: later\n\n  # the shop\n  shop:\n" in new
    assert "    names: [a]\n\n# defaults\nsite_defaults:\n" in new


def round_trip(text, change=lambda data: None):
    editor, out = YAML(), io.StringIO()
    editor.preserve_quotes, editor.width = True, 10_000
    data = editor.load(text) or {}
    change(data)
    editor.dump(data, out)
    return out.getvalue()


def test_ruamel_yaml_does_not_preserve_these_layouts():
    """Why entries are inserted as lines. Where this fails, ruamel.yaml may have become one."""
    assert [layout for layout in REWRITTEN if round_trip(LAYOUTS[layout]) == LAYOUTS[layout]] == []
    text = LAYOUTS["before the next key, whose comment stays with it"]
    new = round_trip(text, lambda data: data["sites"].update(shop={"names": ["a"]}))
    assert new.index("# defaults") < new.index("shop:"), "the comment of the next key is above the new site"


@pytest.mark.parametrize(
    ("text", "says"),
    [
        ("sites:\n  shop: {}\n", "there is a shop already"),
        ("sites: {one: {}}\n", "put each entry on its own line"),
        ("sites: [one]\n", "is not a mapping"),
        ("sites: '{{ other }}'\n", "is not a mapping"),
        ("- sites\n", "is not a mapping"),
        ("sites: {\n", r"not valid YAML \(line"),
    ],
)
def test_a_file_that_cannot_be_extended_is_left_unchanged(text, says):
    with pytest.raises(ValueError, match=says):
        insert(text, ["sites"], "shop", ENTRY)


def test_a_result_with_any_other_change_is_not_written():
    with pytest.raises(ValueError, match="nothing was changed"):
        check("sites: {one: 1}\n", "sites: {one: 2, shop: {}}\n", ["sites"], "shop", "shop: {}\n")


def test_a_file_that_cannot_be_written_is_named_with_the_remedy(tmp_path, monkeypatch):
    path = tmp_path / "sites.yml"
    path.write_text("sites: {}\n")
    monkeypatch.setattr(Path, "replace", lambda *_: (_ for _ in ()).throw(OSError(30, "Read-only file system")))
    with pytest.raises(AnsibleActionFail, match=r"Cannot write .*sites.yml: Read-only .* Make the folder writable"):
        add_entry.write(path, "sites: {shop: {}}\n")
    assert [each.name for each in tmp_path.iterdir()] == ["sites.yml"]
    assert path.read_text() == "sites: {}\n"


def test_a_file_keeps_its_mode_and_owner(tmp_path):
    path = tmp_path / "sites.yml"
    path.write_text("")
    path.chmod(0o640)
    add_entry.write(path, "sites:\n")
    assert (path.stat().st_mode & 0o7777, path.read_text()) == (0o640, "sites:\n")


def test_a_group_must_exist_and_may_be_empty():
    text = "all:\n  children:\n    web:\n    staging:\n      hosts: {}\n"
    below = ["all", "children", "web", "hosts"]
    with pytest.raises(ValueError, match="there is no `wep`; did you mean web"):
        insert(text, ["all", "children", "wep", "hosts"], "h", "h:\n")
    new = insert(text, ["all", "children", "staging", "hosts"], "h", "h:\n  a: 1\n")
    assert yaml.safe_load(new)["all"]["children"] == {"web": None, "staging": {"hosts": {"h": {"a": 1}}}}
    new = insert(text, below, "h", "h:\n  a: 1\n")
    assert yaml.safe_load(new)["all"]["children"]["web"] == {"hosts": {"h": {"a": 1}}}


@pytest.fixture
def inventory(tmp_path):
    """A copy of the example, as an operator makes it."""
    inventory = tmp_path / "mine"
    shutil.copytree(
        PROJECT / "inventory/production", inventory, ignore=shutil.ignore_patterns(".secrets*", "vault.yml")
    )
    shutil.copy(inventory / "group_vars/all/vault.yml.example", inventory / "group_vars/all/vault.yml")
    return inventory


def test_the_playbook_adds_a_site_to_a_copy_of_the_example(inventory):
    page = inventory / "group_vars/all/sites.yml"
    before = page.read_text()
    here = ("-e", f"inventory={inventory}")

    run("playbooks/new_site.yml", "-e", "site=shop", *here, "--check")
    assert page.read_text() == before
    output = run("playbooks/new_site.yml", "-e", "site=shop", *here)
    assert page.read_text().startswith(before)
    assert f"ansible-playbook -i {inventory} playbooks/deploy.yml -e site=shop" in " ".join(output.split())
    assert "WARNING" not in output
    assert "shop.source.path: is no folder on this machine" in preflight(inventory, check=False)

    after = page.read_text()
    assert "there is a shop already" in run("playbooks/new_site.yml", "-e", "site=shop", *here, check=False)
    assert "Say which site" in run("playbooks/new_site.yml", "-e", "site=Shop-1", *here, check=False)
    assert page.read_text() == after


def test_the_playbook_adds_hosts_to_a_copy_of_the_example(inventory):
    hosts, here = inventory / "hosts.yml", ("-e", f"inventory={inventory}")
    run("playbooks/new_host.yml", "-e", "host=web3", "-e", "address=192.0.2.13", *here)
    assert yaml.safe_load(hosts.read_text())["all"]["children"]["web"]["hosts"]["web3"] == {
        "ansible_host": "192.0.2.13"
    }
    run("playbooks/new_host.yml", "-e", "host=web4", *here)
    assert "web4" in yaml.safe_load(hosts.read_text())["all"]["children"]["web"]["hosts"]
