"""Maintenance mode, and the pages that nginx serves itself."""

from __future__ import annotations

from concurrent.futures import ThreadPoolExecutor

import pytest
from support import PLATFORMS, SITES, Machine, Run, Site, machine_of, run_playbook, site_config, wait_until


@pytest.fixture
def wordbook(machine: Machine) -> Site:
    """The sample site."""
    return Site(machine, "wordbook", SITES["wordbook"])


@pytest.fixture
def wordbooks() -> list[Site]:
    """The sample site on both hosts, for runs that cover both."""
    return [Site(machine_of(name), "wordbook", SITES["wordbook"]) for name in PLATFORMS]


def maintenance(state: str, *more: str) -> Run:
    """Run the playbook as an operator does; with one site, it needs no name."""
    return run_playbook("playbooks/maintenance.yml", "-e", f"state={state}", *more).checked()


def is_in_maintenance(site: Site) -> bool:
    """Every client gets the site's maintenance page."""
    for path in ("/", "/static/style.css", "/healthz"):
        answer = site.get(path)
        assert (answer.status, answer.headers["Retry-After"]) == (503, "300")
        body, known = answer.body.decode(), answer.headers["X-Request-ID"]
        assert "马上回来" in body and f'<style nonce="{known}">' in body and f"<code>{known}</code>" in body
        assert f"'nonce-{known}'" in answer.headers["Content-Security-Policy"]
    assert site.get("/", Accept="application/json").json["error"].startswith("Back soon.")
    return True


def test_nginx_has_its_own_error_pages_and_leaves_those_of_the_app(wordbook: Site) -> None:
    answer = wordbook.get("/static/none.css")
    assert answer.status == 404 and f"<code>{answer.headers['X-Request-ID']}</code>".encode() in answer.body
    assert b"Word book" in wordbook.get("/none").body
    assert wordbook.get("/static/none.css", Accept="application/json").json["status"] == 404
    assert b"There is no such page" in wordbook.get("/.sites-errors/html").body


@pytest.mark.breaks
def test_maintenance_lasts_through_a_deploy_and_a_reboot_until_it_is_switched_off(wordbooks: list[Site]) -> None:
    def all_in_maintenance() -> bool:
        return all(is_in_maintenance(site) for site in wordbooks)

    hosts = len(wordbooks)
    assert maintenance("on", "--check").changed == hosts and all(site.is_healthy() for site in wordbooks)
    run = maintenance("on", "-e", 'reason="the words move"')
    told = f"https://{wordbooks[0].server_name}/, maintenance on since "
    assert run.changed == hosts and run.output.count(told) >= hosts and ": the words move" in run.output
    assert all_in_maintenance() and maintenance("on").changed == 0
    before = [site.release for site in wordbooks]
    run = run_playbook("playbooks/deploy.yml", sites=site_config(wordbook={"env": {"GREETING": "hello"}})).checked()
    assert run.output.count(told) >= hosts, run.output
    assert all_in_maintenance() and not set(before) & {site.release for site in wordbooks}
    with ThreadPoolExecutor() as pool:
        list(pool.map(lambda site: site.machine.restart(), wordbooks))
    assert wait_until(all_in_maintenance, "the maintenance page, after a reboot")
    for site in wordbooks:
        assert "maintenance on since " in site.machine.output("wordbook-ctl status || true")
    assert maintenance("off", "--check").changed == hosts and all_in_maintenance()
    assert maintenance("off").changed == hosts and maintenance("off").changed == 0
    run = run_playbook("playbooks/deploy.yml").checked()
    assert told not in run.output, run.output
    for site in wordbooks:
        assert wait_until(site.is_healthy, f"the site on {site.machine.name} as before")
