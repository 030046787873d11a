"""The logs of a site: written, and rotated before they fill the disk."""

from __future__ import annotations

import time

import pytest
from support import Machine, Site, wait_until

pytestmark = pytest.mark.breaks


def test_logrotate_runs_every_hour(machine: Machine) -> None:
    if not machine.has_systemd:
        assert "/usr/sbin/logrotate /etc/logrotate.conf" in machine.output("cat /etc/cron.d/sites")
        return
    show = "systemctl show --value --property=NextElapseUSecRealtime logrotate.timer"
    assert int(machine.output(f'date +%s --date="$({show})"')) < time.time() + 3700


def test_a_large_log_is_rotated_and_the_server_writes_to_the_new_one(site: Site) -> None:
    log = f"/var/log/{site.name}/server.log"
    site.machine.output("truncate --size=101M %s", log)
    wait_until(lambda: site.machine.host.run("logrotate /etc/logrotate.conf").rc == 0, "no other logrotate runs")
    assert site.machine.output("stat --format=%%s %s.1", log) == str(101 << 20)
    assert site.machine.output("stat --format='%%a %%U %%G' %s", log) == f"640 root {site.user}"
    # gunicorn logs every signal, and this one has no other effect; uWSGI logs its status.
    sign = "USR1" if site.entry.get("server") == "uwsgi" else "WINCH"
    wait_until(
        lambda: site.machine.output("kill -%s %s && cat %s", sign, str(site.master), log),
        "the server writes to it",
    )
