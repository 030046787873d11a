"""What runs after a reboot."""

from __future__ import annotations

import pytest
from support import Machine, Site, run_playbook, wait_until

pytestmark = pytest.mark.breaks


@pytest.fixture
def systemd(machine: Machine) -> Machine:
    """The host, if something on it starts daemons at boot."""
    if not machine.has_systemd:
        pytest.skip(f"{machine.name} has no systemd: nothing starts daemons at boot there")
    return machine


def test_after_a_reboot_every_release_that_was_live_is_live_again(systemd: Machine, site: Site) -> None:
    before = site.release
    systemd.restart()
    wait_until(site.is_healthy, f"{site.name} is well")
    assert site.release == before


def test_after_a_reboot_in_mid_switch_only_the_live_slot_runs_and_a_deploy_tidies_up(
    systemd: Machine, site: Site
) -> None:
    before, live = site.release, site.slot
    idle = {"blue": "green", "green": "blue"}[live]
    # As a deploy leaves it that was cut off between starting the idle slot and the switch.
    systemd.output(f"ln -sfn ../../releases/{before} {site.root}/slots/{idle}/release")
    systemd.output(
        f"install -m 0640 {site.root}/live/release/program-{idle}.conf /etc/supervisor/conf.d/{site.name}-{idle}.conf"
    )
    systemd.output("supervisorctl reread && supervisorctl update")
    systemd.restart()

    wait_until(lambda: site.programs.get(f"{site.name}-{live}") == "RUNNING", "the live slot runs")
    wait_until(lambda: site.programs.get(f"{site.name}-{idle}") == "EXITED", "the other slot has refused")
    wait_until(lambda: site.answering_release == before, f"{site.name} answers")
    wait_until(lambda: site.snapshot().strays == set(), "nothing but the live slot's processes runs")

    run = run_playbook("playbooks/deploy.yml", f"--extra-vars=site={site.name}", machine=systemd)
    assert run.rc == 0, run.output
    wait_until(site.is_healthy, f"{site.name} is well")
    assert site.programs == {f"{site.name}-{site.slot}": "RUNNING"}
