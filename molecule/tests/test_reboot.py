"""What runs after a reboot."""

from __future__ import annotations

import pytest
from support import Machine, Site, run_playbook, wait_until

pytestmark = pytest.mark.breaks


@pytest.fixture(autouse=True)
def systemd(machine: Machine) -> Machine:
    """The host, if it starts daemons at boot."""
    if not machine.has_systemd:
        pytest.skip(f"{machine.name} has no systemd, so nothing starts daemons at boot")
    return machine


def test_after_a_reboot_every_live_release_is_live_again(systemd: Machine, sites: list[Site]) -> None:
    before = [site.release for site in sites]
    systemd.restart()
    for site in sites:
        wait_until(site.is_healthy, f"{site.name} is healthy")
    assert [site.release for site in sites] == before


def leave_mid_switch(site: Site) -> tuple[str, str, str]:
    """Leave the site as a deploy does that ended between the start of the idle slot and the switch.

    :returns: the live release, the live slot and the idle slot
    """
    release, live = site.release, site.slot
    idle = {"blue": "green", "green": "blue"}[live]
    program = f"/etc/supervisor/conf.d/{site.name}-{idle}.conf"
    site.machine.output(
        f"ln -sfn ../../releases/{release} {site.root}/slots/{idle}/release && "
        f"install -m 0640 {site.root}/live/release/program-{idle}.conf {program}"
    )
    return release, live, idle


def assert_only_the_live_slot_runs(site: Site, release: str, live: str, idle: str) -> None:
    """The launcher of the idle slot has refused to start, and the live release answers."""
    name = site.name
    wait_until(lambda: site.programs.get(f"{name}-{live}") == "RUNNING", f"the live slot of {name} runs")
    wait_until(lambda: site.programs.get(f"{name}-{idle}") == "EXITED", f"the other slot of {name} has refused")
    wait_until(lambda: site.answering_release == release, f"{name} answers")
    wait_until(lambda: site.snapshot().strays == set(), f"only processes of the live slot of {name} run")


def test_after_a_reboot_in_mid_switch_only_the_live_slot_runs_and_a_deploy_tidies_up(
    systemd: Machine, sites: list[Site]
) -> None:
    states = [leave_mid_switch(site) for site in sites]
    systemd.output("supervisorctl reread && supervisorctl update")
    systemd.restart()

    for site, state in zip(sites, states, strict=True):
        assert_only_the_live_slot_runs(site, *state)

    run_playbook("playbooks/deploy.yml", machine=systemd).checked()
    for site in sites:
        wait_until(site.is_healthy, f"{site.name} is healthy")
        assert site.programs == {f"{site.name}-{site.slot}": "RUNNING"}
