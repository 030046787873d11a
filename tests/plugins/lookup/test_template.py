"""The template lookup: overrides, and errors with place and remedy."""

from __future__ import annotations

import pytest
import yaml
from ansible_run import run, write_inventory

from ansible_collections.wsgi.sites.plugins.lookup import template

SECRET = "s3cr3t-hunter2-canary"


@pytest.fixture(scope="module")
def layered(plugin):
    """The lookup itself, with Ansible's own loader and templar, on a project of the test's own."""
    from ansible.parsing.dataloader import DataLoader
    from ansible.template import Templar, trust_as_template

    # Values of a site config: only those are templates.
    page = {
        "server_names": ["a.example", trust_as_template("{{ site_name }}.example")],
        "user": trust_as_template("{{ site_name }}"),
        "tls": {"mode": "provided", "key": SECRET},
        "env": {"TOKEN": SECRET, "BROKEN": trust_as_template("{{ nowhere_at_all }}")},
    }

    def render(root, term, expression="site=site_entry", site_name="shop"):
        variables = {"site_name": site_name, "site_entry": page, "inventory_hostname": "web1", "colour": "blue"}
        templar = Templar(loader=DataLoader(), variables=variables)
        with pytest.MonkeyPatch.context() as patch:
            patch.setattr(template, "PROJECT", root)
            patch.setattr(template, "ROLES", root / "roles")
            return templar.template(
                trust_as_template(f"{{{{ lookup('wsgi.sites.template', '{term}', {expression}) }}}}")
            )

    return render


@pytest.fixture
def root(tmp_path):
    """A project with one role and its template."""
    own = tmp_path / "roles/web/templates"
    own.mkdir(parents=True)
    (own / "site.conf.j2").write_text(
        "# Made from {{ template_origin }}; edits here are lost.\n"
        "server {{ site.server_names | join(' ') }};\n"
        "{% block extra %}\n"
        "    {% if colour == 'blue' %}\n"
        "    user {{ site.user }} \\n;\n"
        "    {% endif %}\n"
        "{% endblock %}\n"
        "end {{ site.name }} on {{ inventory_hostname }}\n"
    )
    return tmp_path


def put(root, path, text):
    file = root / path
    file.parent.mkdir(parents=True, exist_ok=True)
    file.write_text(text)


OWN = """\
# Made from roles/web/templates/site.conf.j2; edits here are lost.
server a.example shop.example;
    user shop \\n;
end shop on web1
"""


def test_the_template_of_the_role_is_rendered(layered, root):
    assert layered(root, "web/site.conf.j2") == OWN


def test_an_override_for_all_sites_replaces_the_roles_template(layered, root):
    put(root, "templates/site.conf.j2", "all {{ template_origin }}\n")
    assert layered(root, "web/site.conf.j2") == "all templates/site.conf.j2\n"


def test_an_override_for_one_site_replaces_both_for_that_site_only(layered, root):
    put(root, "templates/site.conf.j2", "all\n")
    put(root, "templates/shop/site.conf.j2", "{{ template_origin }}\n")
    assert layered(root, "web/site.conf.j2") == "templates/shop/site.conf.j2\n"
    assert layered(root, "web/site.conf.j2", site_name="other") == "all\n"


@pytest.mark.parametrize("place", ["templates/site.conf.j2", "templates/shop/site.conf.j2"])
def test_extends_finds_the_roles_template_and_overrides_a_block(layered, root, place):
    put(root, place, "{% extends 'site.conf.j2' %}\n{% block extra %}\nmine\n{{ super() -}}\n{% endblock %}\n")
    mine = OWN.replace("roles/web/templates/site.conf.j2", place).replace("    user", "mine\n    user")
    assert layered(root, "web/site.conf.j2") == mine


def test_an_override_can_include_a_file_beside_it(layered, root):
    put(root, "templates/site.conf.j2", "a\n{% include 'snippet.j2' %}\nb\n")
    put(root, "templates/snippet.j2", "in {{ site.name }}\n")
    assert layered(root, "web/site.conf.j2") == "a\nin shop\nb\n"


def test_keyword_arguments_become_variables_and_a_template_without_a_site_has_none(layered, root):
    put(root, "roles/web/templates/daemon.conf.j2", "{{ slot }} {{ site is defined }} {{ template_origin }}\n")
    put(root, "templates/shop/daemon.conf.j2", "wrong\n")
    out = layered(root, "web/daemon.conf.j2", "slot='green'")
    assert out == "green False roles/web/templates/daemon.conf.j2\n"


def test_the_folder_of_overrides_is_configurable(layered, root, tmp_path):
    put(root, "elsewhere/shop/site.conf.j2", "{{ template_origin }}\n")
    assert layered(root, "web/site.conf.j2", "site=site_entry, operator_templates='elsewhere'") == (
        "elsewhere/shop/site.conf.j2\n"
    )


def test_an_escape_in_an_expression_follows_the_rules_of_jinja(layered, root):
    put(root, "templates/site.conf.j2", "{{ 'a\\tb' }}\n")
    assert layered(root, "web/site.conf.j2") == "a\tb\n"


def test_a_value_that_looks_like_a_template_stays_as_it_is(layered, root):
    put(root, "templates/site.conf.j2", "{{ text }}\n")
    assert layered(root, "web/site.conf.j2", "site=site_entry, text='{' ~ '{ colour }' ~ '}'") == "{{ colour }}\n"


def test_no_template_sees_the_private_key(layered, root):
    put(root, "templates/site.conf.j2", "{{ site.tls.mode }}{{ site.tls.key }}\n")
    assert layered(root, "web/site.conf.j2") == "provided\n"


EXTENDS = "{% extends 'site.conf.j2' %}\n{% block extra %}\n"


@pytest.mark.parametrize(
    ("text", "says"),
    [
        (EXTENDS + "{{ site.serverr }}\n{% endblock %}\n", "line 3: object of type 'dict' has no attribute 'serverr'"),
        (EXTENDS + "\n{{ colur }}\n{% endblock %}\n", "line 4: 'colur' is undefined"),
        (EXTENDS + "\n{% iff %}\n{% endblock %}\n", "line 4: Encountered unknown tag 'iff'"),
        (EXTENDS + "\n\n{{ 5 + site_entry.env.TOKEN }}\n{% endblock %}\n", "line 5: TypeError"),
        (EXTENDS + "{{ site_entry.env.TOKEN | from_json }}\n{% endblock %}\n", "line 3: "),
        (EXTENDS + "{{ {}[site_entry.env.TOKEN] }}\n{% endblock %}\n", "has no attribute '(hidden)'"),
        (EXTENDS + "{{ site.env.TOKEN }}\n{% endblock %}\n", "no attribute 'env'"),
        ("{% extends 'sitte.conf.j2' %}\n", "sitte.conf.j2"),
        ("{% if true %}\n", "Unexpected end of template"),
    ],
)
def test_a_broken_override_is_named_with_its_line_and_a_remedy_and_without_values(layered, root, text, says):
    put(root, "templates/shop/site.conf.j2", text)
    with pytest.raises(Exception) as caught:
        layered(root, "web/site.conf.j2")
    message, cause = str(caught.value), caught.value
    while cause is not None:
        assert SECRET not in str(cause)
        cause = cause.__cause__
    assert "templates/shop/site.conf.j2" in message
    assert says in message
    assert "move templates/shop/site.conf.j2 away to go back to roles/web/templates/site.conf.j2" in message


def test_an_error_in_the_roles_template_names_that_file(layered, root):
    own = root / "roles/web/templates/site.conf.j2"
    own.write_text(own.read_text() + "{{ site.missing_thing }}\n")
    put(root, "templates/shop/site.conf.j2", EXTENDS + "{% endblock %}\n")
    with pytest.raises(
        Exception, match=r"roles/web/templates/site\.conf\.j2, line 9: object of type 'dict' has no att"
    ):
        layered(root, "web/site.conf.j2")


def test_a_missing_template_is_reported_with_the_searched_folders(layered, root):
    with pytest.raises(Exception, match=r"looked for templates/shop/x\.j2, templates/x\.j2, roles/web/templates/x\.j2"):
        layered(root, "web/x.j2")


def test_a_playbook_uses_the_lookup_and_shows_no_value_of_a_broken_override(tmp_path):
    overrides = tmp_path / "overrides/shop"
    overrides.mkdir(parents=True)
    (overrides / "never.j2").write_text("one\n{{ site_entry.env.TOKEN | from_json }}\n")
    (overrides / "fine.j2").write_text("{{ site.name }} {{ slot }}\n")
    playbook = tmp_path / "play.yml"
    playbook.write_text(
        yaml.safe_dump(
            [
                {
                    "hosts": "all",
                    "gather_facts": False,
                    "roles": ["wsgi.sites.preflight"],
                    "vars": {
                        "operator_templates": str(tmp_path / "overrides"),
                        "site_name": "shop",
                        "site_entry": {"env": {"TOKEN": SECRET, "BROKEN": "{{ nowhere_at_all }}"}},
                        "site": "shop",
                    },
                    "tasks": [
                        {
                            "ansible.builtin.debug": {
                                "msg": f"{{{{ lookup('wsgi.sites.template', 'web/{name}.j2', "
                                "site=site_entry, slot='blue') }}"
                            }
                        }
                        for name in ("fine", "never")
                    ],
                }
            ]
        )
    )
    output = run(
        playbook,
        "-i",
        write_inventory(tmp_path / "inventory", {"sites": {"shop": {"state": "absent"}}}),
        "-vvvv",
        check=False,
    )
    assert "shop blue" in output
    assert "never.j2, line 2" in " ".join(output.split())
    assert SECRET not in output
