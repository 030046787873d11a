"""The operator's own templates."""

from __future__ import annotations

from support import SITES, Machine, Site


def test_the_override_of_a_block_is_in_service_beside_the_rest_of_the_template(machine: Machine) -> None:
    site = Site(machine, "wordbook", SITES["wordbook"])
    robots = site.get("/robots.txt")
    assert robots.status == 200
    assert b"Disallow: /" in robots.body
    config = machine.output("cat /etc/nginx/sites-available/wordbook.conf")
    assert config.startswith("# Made from templates/wordbook/site.conf.j2;")
    assert site.is_healthy()
