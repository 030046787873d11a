"""A site that is added, removed with an archive of its shared files, and purged."""

from __future__ import annotations

import pytest
from support import Machine, Run, Site, run_playbook, site_config, wait_until

OLD_BLOG = {
    "server_names": ["old.test"],
    "source": {"path": "molecule/alternative/handbook"},
    "wsgi": "wsgi:application",
    "http_port": 8080,
    "workers": 1,
    "threads": 1,
}
PLACES = "/srv/old_blog /etc/old_blog /var/log/old_blog /etc/logrotate.d/old_blog /var/lib/sites/old_blog.json"
ALONE = ["--extra-vars=site=old_blog"]


def assert_gone(machine: Machine) -> None:
    """Nothing of the site runs, is served or is left on the host."""
    with pytest.raises(ConnectionResetError):
        machine.ask("/healthz", "old.test", 8080)
    assert machine.host.run("getent passwd old_blog").rc != 0
    assert "old_blog" not in machine.host.run("supervisorctl status").stdout
    assert machine.host.run(f"ls -d {PLACES} /etc/nginx/sites-*/old_blog.conf").stdout == ""
    assert machine.host.run("pgrep --full old_blog").stdout == ""


def test_a_site_is_added_removed_into_the_archive_and_purged(machine: Machine) -> None:
    if not machine.has_systemd:
        pytest.skip("the other host shows it")

    def run(entry: dict, playbook: str, *arguments: str) -> Run:
        return run_playbook(playbook, *arguments, machine=machine, sites=site_config(old_blog=entry)).checked()

    run(OLD_BLOG, "playbooks/deploy.yml", *ALONE)
    old_blog = Site(machine, "old_blog", OLD_BLOG)
    wait_until(old_blog.is_healthy, "the old blog is healthy")
    machine.output("runuser -u old_blog -- sh -c 'echo precious > /srv/old_blog/shared/data/posts'")

    output = run({"state": "absent"}, "playbooks/deploy.yml", *ALONE).output
    assert_gone(machine)
    archive = machine.output("ls -d /srv/.archive/old_blog-*")
    assert f"archived in {archive}" in output
    assert machine.output("cat %s/data/posts", archive) == "precious"
    assert not machine.succeeds_as("nobody", "ls", archive)

    assert run({"state": "absent"}, "site.yml").changed == 0

    run({"state": "absent", "purge": True}, "playbooks/deploy.yml", *ALONE)
    assert machine.host.run("ls -d /srv/.archive/old_blog-*").stdout == ""
