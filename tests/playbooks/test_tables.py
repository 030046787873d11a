"""The tables that playbooks print."""

from __future__ import annotations

import pytest
from ansible.errors import AnsibleError
from nginx_rig import evaluate

from ansible_collections.wsgi.sites.plugins.module_utils.site.status import version as version_of

COMMIT = "3f2a9c1d" + "0" * 32
FOUND = {
    "site": "wordbook",
    "slot": "blue",
    "release": "20261121T034500Z-1a2b3c4d",
    "version": "v1.4 3f2a9c1",
    "since": "2026-11-21T03:45:00Z",
    "healthy": True,
    "detail": "/healthz answered 200",
    "processes": "",
    "problems": "",
}


@pytest.mark.parametrize(
    ("source", "version"),
    [
        (f"git https://git.example.com/shop.git v1.4 ({COMMIT})", "v1.4 3f2a9c1"),
        (f"git https://git.example.com/shop.git ({COMMIT})", "3f2a9c1"),
        (f"git https://git.example.com/shop.git 3f2a9c1d0 ({COMMIT}), folder backend", "3f2a9c1"),
        (f"git git@git.example.com:shop.git feature/a-long-name ({COMMIT})", "feature/a-lon… 3f2a9c1"),
        (f"archive dist/my shop.tar.gz (sha256 {'8d1f2c0' + '0' * 57}), folder x", "archive 8d1f2c0"),
        ("folder ../my shop", "folder"),
        ("", ""),
    ],
)
def test_a_release_shows_its_source_in_short(source: str, version: str) -> None:
    assert version_of({"source": source}) == version


def table(name: str, site_name: str = "", **hosts: dict) -> list[str]:
    """The lines of a table, for all sites or one."""
    read = {host: {"sites": answered.pop("sites", {})} for host, answered in hosts.items()}
    variables = {"ansible_play_hosts": list(hosts), "hostvars": hosts, "site_name": site_name}
    variables["preflight_config"] = {"hosts": read}
    return evaluate(f"lookup('wsgi.sites.table', '{name}')", variables).splitlines()


def test_the_status_table_has_the_minimal_width() -> None:
    page = {"wordbook": {"url": "http://shop.example.com/"}, "blog": {}, "gone": {"state": "absent"}}
    header, well, *others = table(
        "status",
        web1={"sites": page, "release_status": {"sites": [FOUND]}},
        web2={"release_status": {"sites": [{**FOUND, "site": "old", "version": "", "healthy": False}]}},
    )
    assert header == "HOST  SITE      SLOT  RELEASE                    VERSION       LIVE SINCE (UTC)  HEALTHY  ADDRESS"
    cells = [FOUND["release"], FOUND["version"], "2026-11-21 03:45", "yes    ", "http://shop.example.com/"]
    assert well == "  ".join(["web1", "wordbook", "blue", *cells])
    assert len(well) + len("    ") <= 120, "Ansible shows it indented"
    assert [" ".join(line.split()) for line in others] == [
        "web1 blog - - - - NO not on this host yet: ansible-playbook site.yml",
        f"web2 old blue {FOUND['release']} - 2026-11-21 03:45 NO "
        "unmanaged: not in the site config; `state: absent` there removes it",
    ]


def test_processes_have_a_column_only_if_a_site_has_any() -> None:
    working = {**FOUND, "site": "shop", "processes": "1/2", "problems": "queue does not stay up"}
    page = {"wordbook": {"url": "http://wordbook/"}, "shop": {"url": "http://shop/"}, "blog": {}}
    header, *rows = table("status", web1={"sites": page, "release_status": {"sites": [FOUND, working]}})
    assert header.split()[-3:] == ["HEALTHY", "PROCESSES", "ADDRESS"]
    assert [" ".join(row.split()).partition(" 03:45 ")[2] for row in rows[:2]] == [
        "yes - http://wordbook/",
        "yes 1/2 http://shop/ (queue does not stay up)",
    ]
    assert " ".join(rows[2].split()) == "web1 blog - - - - NO - not on this host yet: ansible-playbook site.yml"


def test_the_status_shows_maintenance() -> None:
    closed = {
        **FOUND,
        "maintenance": "on since 2026-11-21 03:45 UTC by alice@laptop: the words move",
        "problems": "odd",
    }
    page = {"wordbook": {"url": "http://wordbook/"}}
    _header, row = table("status", web1={"sites": page, "release_status": {"sites": [closed]}})
    assert row.endswith(f"yes      http://wordbook/, maintenance {closed['maintenance']} (odd)")


def test_the_table_of_one_site_shows_only_that_site() -> None:
    hosts = {"web1": {"sites": {"wordbook": {}, "blog": {}}, "release_status": {"sites": []}}}
    _header, *rows = table("status", site_name="blog", **hosts)
    assert [row.split()[:2] for row in rows] == [["web1", "blog"]]


def test_releases_are_listed_above_the_history() -> None:
    kept = {"release": "r1", "mark": "live", "live_since": "2026-11-21T03:45:00Z", "by": "a@b", "source": "folder app"}
    done = {"time": "2026-11-21T03:45:00Z", "action": "deploy", "result": "ok", "release": "r1", "seconds": "9.1"}
    sites = [{"site": "shop", "releases": [kept], "history": [done]}, {"site": "new", "releases": [], "history": []}]
    assert table("releases", web1={"release_report": {"sites": sites}}) == [
        "HOST  SITE  RELEASE  IS    LIVE FROM (UTC)   BY   SOURCE",
        "web1  shop  r1       live  2026-11-21 03:45  a@b  folder app",
        "web1  new   -        -     -                 -    no release yet",
        "",
        "HOST  SITE  WHEN (UTC)           WHAT    RESULT  RELEASE  SECONDS  BY  WHY",
        "web1  shop  2026-11-21 03:45:00  deploy  ok      r1       9.1      -",
    ]


def test_an_unknown_table_is_refused_with_the_valid_names() -> None:
    with pytest.raises(AnsibleError, match="no table 'stats'; there are: certificates, releases, status"):
        evaluate("lookup('wsgi.sites.table', 'stats')", {})
