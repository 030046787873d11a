"""A site that comes, goes with its shared files archived, and is purged."""

from __future__ import annotations

import pytest
from support import Machine, Site, run_playbook, site_config, wait_until

OLD_BLOG = {
    "server_names": ["old.test"],
    "source": {"path": "molecule/alternative/handbook"},
    "wsgi": "wsgi:application",
    "http_port": 8080,
    "workers": 1,
    "threads": 1,
}
PLACES = "/srv/old_blog /etc/old_blog /var/log/old_blog /etc/logrotate.d/old_blog /var/lib/sites/old_blog.json"


def gone(machine: Machine) -> None:
    """Nothing of the site runs, is served, or lies about."""
    with pytest.raises(ConnectionResetError):
        machine.ask("/healthz", "old.test", 8080)
    assert machine.host.run("getent passwd old_blog").rc != 0
    assert "old_blog" not in machine.host.run("supervisorctl status").stdout
    assert machine.host.run(f"ls -d {PLACES} /etc/nginx/sites-*/old_blog.conf").stdout == ""
    assert machine.host.run("pgrep --full old_blog").stdout == ""


def test_a_site_comes_goes_into_the_archive_and_is_purged(machine: Machine) -> None:
    if not machine.has_systemd:
        pytest.skip("proved on the other host")
    assert run_playbook("site.yml", machine=machine, sites=site_config(old_blog=OLD_BLOG)).rc == 0
    old_blog = Site(machine, "old_blog", OLD_BLOG)
    wait_until(old_blog.is_healthy, "the old blog is well")
    machine.output("runuser -u old_blog -- sh -c 'echo precious > /srv/old_blog/shared/data/posts'")

    run = run_playbook("site.yml", machine=machine, sites=site_config(old_blog={"state": "absent"}))
    assert run.rc == 0, run.output
    gone(machine)
    archive = machine.output("ls -d /srv/.archive/old_blog-*")
    assert f"kept in {archive}" in run.output
    assert machine.output("cat %s/data/posts", archive) == "precious"
    assert not machine.succeeds_as("nobody", "ls", archive)

    again = run_playbook("site.yml", machine=machine, sites=site_config(old_blog={"state": "absent"}))
    assert (again.rc, again.changed) == (0, 0), again.output

    purged = run_playbook("site.yml", machine=machine, sites=site_config(old_blog={"state": "absent", "purge": True}))
    assert purged.rc == 0, purged.output
    assert machine.host.run("ls -d /srv/.archive/old_blog-*").stdout == ""
