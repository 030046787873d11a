"""What the site says is kept, and cannot fill the disk for a day."""

from __future__ import annotations

import time

import pytest
from support import Machine, Site, wait_until

pytestmark = pytest.mark.breaks


def test_logs_are_looked_at_every_hour(machine: Machine) -> None:
    if not machine.has_systemd:
        assert "/usr/sbin/logrotate /etc/logrotate.conf" in machine.output("cat /etc/cron.d/sites")
        return
    show = "systemctl show --value --property=NextElapseUSecRealtime logrotate.timer"
    assert int(machine.output(f'date +%s --date="$({show})"')) < time.time() + 3700


def test_a_log_that_is_too_large_is_rotated_and_the_server_goes_on_in_the_new_one(site: Site) -> None:
    log = f"/var/log/{site.name}/server.log"
    site.machine.output("truncate --size=101M %s", log)
    wait_until(lambda: site.machine.host.run("logrotate /etc/logrotate.conf").rc == 0, "no other logrotate is at work")
    assert site.machine.output("stat --format=%%s %s.1", log) == str(101 << 20)
    assert site.machine.output("stat --format='%%a %%U %%G' %s", log) == f"640 root {site.user}"
    # gunicorn notes every signal, and this one does nothing else; uWSGI tells how it is.
    sign = "USR1" if site.entry.get("server") == "uwsgi" else "WINCH"
    wait_until(
        lambda: site.machine.output("kill -%s %s && cat %s", sign, str(site.master), log), "the server writes on"
    )
