"""A site that is shut for maintenance, and what nginx says itself."""

from __future__ import annotations

import pytest
from support import SITES, Machine, Run, Site, run_playbook, site_config, wait_until


@pytest.fixture
def wordbook(machine: Machine) -> Site:
    """The sample site."""
    return Site(machine, "wordbook", SITES["wordbook"])


def maintenance(machine: Machine, state: str, *more: str) -> Run:
    """The playbook, as an operator runs it; with one site, nobody has to name it."""
    run = run_playbook("playbooks/maintenance.yml", "-e", f"state={state}", *more, machine=machine)
    assert run.rc == 0, run.output
    return run


def is_shut(site: Site) -> bool:
    """Whether everybody gets the site's page."""
    for path in ("/", "/static/style.css", "/healthz"):
        answer = site.get(path)
        assert (answer.status, answer.headers["Retry-After"]) == (503, "300")
        body, known = answer.body.decode(), answer.headers["X-Request-ID"]
        assert "马上回来" in body and f'<style nonce="{known}">' in body and f"<code>{known}</code>" in body
        assert f"'nonce-{known}'" in answer.headers["Content-Security-Policy"]
    assert site.get("/", Accept="application/json").json["error"].startswith("Back soon.")
    return True


def test_what_nginx_says_itself_is_a_page_and_what_the_app_says_is_the_apps(wordbook: Site) -> None:
    answer = wordbook.get("/static/none.css")
    assert answer.status == 404 and f"<code>{answer.headers['X-Request-ID']}</code>".encode() in answer.body
    assert b"Word book" in wordbook.get("/none").body
    assert wordbook.get("/static/none.css", Accept="application/json").json["status"] == 404
    assert b"There is no such page" in wordbook.get("/.sites-errors/html").body


@pytest.mark.breaks
def test_a_shut_site_stays_shut_through_a_deploy_and_a_reboot_until_it_is_opened(
    machine: Machine, wordbook: Site
) -> None:
    assert maintenance(machine, "on", "--check").changed == 1 and wordbook.is_healthy()
    run = maintenance(machine, "on", "-e", 'reason="the words move"')
    shut = f"https://{wordbook.server_name}/, shut since "
    assert run.changed == 1 and shut in run.output and ": the words move" in run.output
    assert is_shut(wordbook) and maintenance(machine, "on").changed == 0
    before = wordbook.release
    run = run_playbook(
        "playbooks/deploy.yml", machine=machine, sites=site_config(wordbook={"env": {"GREETING": "hello"}})
    )
    assert run.rc == 0 and shut in run.output, run.output
    assert is_shut(wordbook) and wordbook.release != before
    machine.restart()
    assert wait_until(lambda: is_shut(wordbook), "the page, after a reboot")
    assert "maintenance shut since " in machine.output("wordbook-ctl status || true")
    assert maintenance(machine, "off", "--check").changed == 1 and is_shut(wordbook)
    assert maintenance(machine, "off").changed == 1 and maintenance(machine, "off").changed == 0
    run = run_playbook("playbooks/deploy.yml", machine=machine)
    assert run.rc == 0 and shut not in run.output, run.output
    assert wait_until(wordbook.is_healthy, "the site as it was")
