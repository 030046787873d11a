"""New sites and hosts: added to what is there, which stays as it is to the byte."""

from __future__ import annotations

import shutil

import pytest
import yaml
from ansible_run import PROJECT, preflight, run

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
}


@pytest.fixture
def insert(plugin):
    return plugin("plugins/action/add_entry.py").insert


@pytest.mark.parametrize("layout", LAYOUTS)
def test_a_site_is_added(insert, layout, plugin):
    text = LAYOUTS[layout]
    new = insert(text, ["sites"], "shop", ENTRY)
    loader = plugin("plugins/action/add_entry.py")._Loader
    old = yaml.load(text, loader) or {}  # noqa: S506 - a SafeLoader
    old["sites"] = {**(old.get("sites") or {}), "shop": {"names": ["a"]}}
    assert yaml.load(new, loader) == old  # noqa: S506
    kept = [line for line in text.splitlines() if line.split("#")[0].strip() not in ("sites: {}", "sites: ~", "sites:")]
    left = iter(new.splitlines())
    assert all(line in left for line in kept), new  # every other line is there still, in its order
    assert "# the shop" in new


def test_a_comment_of_what_comes_next_stays_with_it(insert):
    new = insert(LAYOUTS["before the next key, whose comment stays with it"], ["sites"], "shop", ENTRY)
    assert "  # two: later\n\n  # the shop\n  shop:\n" in new
    assert "    names: [a]\n\n# defaults\nsite_defaults:\n" in new


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
def test_what_cannot_be_added_to_is_left_alone(insert, text, says):
    with pytest.raises(ValueError, match=says):
        insert(text, ["sites"], "shop", ENTRY)


def test_a_result_that_says_anything_else_is_not_written(plugin):
    verified = plugin("plugins/action/add_entry.py").verified
    with pytest.raises(ValueError, match="nothing was changed"):
        verified("sites: {one: 1}\n", "sites: {one: 2, shop: {}}\n", ["sites"], "shop", "shop: {}\n")


def test_a_group_must_be_there_and_may_be_empty(insert):
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
