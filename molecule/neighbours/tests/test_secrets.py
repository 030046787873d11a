"""Secrets of the site config appear in no output."""

from __future__ import annotations

import pytest
from support import SITES, Machine, Site, run_playbook, site_config, wait_until

pytestmark = pytest.mark.breaks
testinfra_hosts = ["ansible://settled"]

VALUE = "canary-8c1f 100% 'of' it"


def test_names_and_values_of_the_environment_appear_in_no_output(machine: Machine) -> None:
    chat = Site(machine, "chat", SITES["chat"])
    live = chat.release
    changed = site_config(chat={"env": {"CANARY_TOKEN": VALUE}})
    for sites in (changed, SITES):
        run = run_playbook(
            "playbooks/deploy.yml", "-vvv", "--diff", "--extra-vars=site=chat", machine=machine, sites=sites
        )
        assert run.rc == 0, run.output
        # Two releases alternate: undoing a change brings back the release before it while that is retained.
        assert chat.release != live
        live = chat.release
        assert (chat.environment().get("CANARY_TOKEN") == VALUE) == (sites is changed)
        for word in ("canary-8c1f", "CANARY_TOKEN", chat.environment()["SECRET_KEY"]):
            assert word not in run.output
    wait_until(chat.is_healthy, "chat is healthy")
