"""An override of a template by the operator."""

from __future__ import annotations

from support import SITES, Machine, Site


def test_an_override_changes_its_block_and_keeps_the_rest(machine: Machine) -> None:
    site = Site(machine, "wordbook", SITES["wordbook"])
    robots = site.get("/robots.txt")
    assert robots.status == 200
    assert b"Disallow: /" in robots.body
    config = machine.output("cat /etc/nginx/sites-available/wordbook.conf")
    assert config.startswith("# Made from templates/wordbook/site.conf.j2;")
    assert site.is_healthy()
