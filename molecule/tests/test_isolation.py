"""What a site's user, or anybody else on the host, must not be able to do."""

from __future__ import annotations

import pytest
from support import SITES, Site

CONNECT = "import socket, sys; socket.socket(socket.AF_UNIX).connect(sys.argv[1])"


def connects(site: Site, user: str) -> bool:
    """Whether a user of the host reaches the live slot's socket."""
    return site.machine.succeeds_as(user, "python3", "-c", CONNECT, f"{site.root}/live/sock")


@pytest.fixture
def strangers(site: Site) -> list[str]:
    """Users who have nothing to do with the site: nobody, and every other site's."""
    others = [Site(site.machine, name, entry).user for name, entry in SITES.items() if name != site.name]
    return ["nobody", *others]


def test_only_nginx_and_the_site_itself_reach_its_socket(site: Site, strangers: list[str]) -> None:
    assert connects(site, "www-data")
    assert not [user for user in strangers if connects(site, user)]


def test_the_server_runs_as_its_own_user_and_can_never_gain_more(site: Site) -> None:
    for pid in {site.master, *site.workers}:
        status = dict(
            line.split(":\t", 1)
            for line in site.machine.output(f"cat /proc/{pid}/status").splitlines()
            if ":\t" in line
        )
        uid = site.machine.output("id --user %s", site.user)
        assert status["Uid"].split() == [uid] * 4
        assert status["NoNewPrivs"] == "1"
        assert status["CapEff"] == "0" * 16


def test_its_user_can_write_nothing_of_its_own_release(site: Site) -> None:
    find = "runuser -u %s -- find %s/releases %s/slots %s/live %s/previous /etc/%s -writable -not -type l -not -type s"
    roots = [site.root] * 4
    writable = site.machine.host.run(find, site.user, *roots, site.name).stdout.split()
    assert writable == []
    assert not site.machine.succeeds_as(site.user, "ln", "-sfn", "slots/green", f"{site.root}/live")
    assert not site.machine.succeeds_as(site.user, "touch", f"{site.root}/live/release/app/planted.py")
    assert not site.machine.succeeds_as(site.user, "rm", "-f", f"{site.root}/live/sock")


def test_its_user_can_plant_no_link_in_the_log_directory(site: Site) -> None:
    logs = f"/var/log/{site.name}"
    assert site.machine.output("ls %s", logs), "there are logs to protect"
    assert not site.machine.succeeds_as(site.user, "ln", "-s", "/etc/shadow", f"{logs}/planted.log")
    for name in site.machine.output("ls %s", logs).split():
        assert not site.machine.succeeds_as(site.user, "rm", "-f", f"{logs}/{name}")
        assert not site.machine.succeeds_as(site.user, "sh", "-c", f"echo forged >> {logs}/{name}")


def test_root_alone_reads_the_environments_of_its_releases(site: Site, strangers: list[str]) -> None:
    """An older release's may hold secrets that were changed since; its processes get the live one's at their start."""
    environment = f"{site.root}/live/release/environment"
    found = site.machine.output("ls -d %s/releases/*/environment", site.root).split()
    assert found
    for path in (environment, *found):
        readers = [site.user, "www-data", *strangers]
        assert not [user for user in readers if site.machine.succeeds_as(user, "cat", path)]
    assert site.machine.output("readlink -f /etc/%s/environment", site.name) == site.machine.output(
        "readlink -f %s", environment
    )


def test_its_secrets_stand_nowhere_that_a_stranger_can_read(site: Site) -> None:
    secret = site.environment()["SECRET_KEY"]
    assert len(secret) >= 32
    found = site.machine.host.run(
        "runuser -u nobody -- grep -rlsF -e %s /etc /srv /opt /var /run /usr/local /proc/%s/environ /proc/%s/cmdline",
        secret,
        str(site.master),
        str(site.master),
    )
    assert found.stdout == ""


def test_only_the_site_itself_reaches_its_database(site: Site, strangers: list[str]) -> None:
    data = f"{site.root}/shared/data"
    assert site.machine.succeeds_as(site.user, "touch", f"{data}/site.db")
    assert not [user for user in [*strangers, "www-data"] if site.machine.succeeds_as(user, "ls", data)]
    assert not [user for user in [*strangers, "www-data"] if site.machine.succeeds_as(user, "cat", f"{data}/site.db")]


def test_no_stranger_reads_its_code(site: Site, strangers: list[str]) -> None:
    code = f"{site.root}/live/release/app/wsgi.py"
    assert site.machine.succeeds_as(site.user, "cat", code)
    assert not [user for user in [*strangers, "www-data"] if site.machine.succeeds_as(user, "cat", code)]


def test_no_stranger_reads_its_packages_and_records(site: Site, strangers: list[str]) -> None:
    releases = site.machine.output("ls -d %s/releases/*", site.root).split()
    config = site.machine.output("ls -d %s/venv/pyvenv.cfg", f"{site.root}/live/release")
    program = f"{site.root}/live/release/venv/bin/python"
    assert site.machine.succeeds_as(site.user, "cat", config)
    assert site.machine.succeeds_as(site.user, program, "-c", "")
    paths = [config, f"{site.root}/releases.log", *(f"{release}/release.json" for release in releases)]
    for path in paths:
        assert not [user for user in [*strangers, "www-data"] if site.machine.succeeds_as(user, "cat", path)]
    for folder in (*releases, f"{site.root}/live/release/venv/bin", f"{site.root}/live/release/packages/"):
        assert not [user for user in strangers if site.machine.succeeds_as(user, "ls", folder)]


def test_no_stranger_reads_its_logs(site: Site, strangers: list[str]) -> None:
    logs = f"/var/log/{site.name}"
    assert site.machine.succeeds_as(site.user, "ls", logs)
    assert not [user for user in strangers if site.machine.succeeds_as(user, "ls", logs)]
    assert not [user for user in strangers if site.machine.succeeds_as(user, "cat", f"{logs}/server.log")]


def test_its_user_can_log_in_nowhere(site: Site) -> None:
    account = site.machine.host.user(site.user)
    assert account.shell.endswith("/nologin")
    assert account.password[:1] in "!*"


def test_all_that_it_runs_is_in_control_groups_of_its_own_and_stays_there(site: Site, strangers: list[str]) -> None:
    noted = site.machine.host.file("/run/sites/groups")
    if not noted.exists:
        pytest.skip("this host lets nobody make control groups (version 2)")
    own = f"{noted.content_string.rpartition('/')[2]}/{site.name}"
    look = site.snapshot()
    found = {pid: site.machine.output(f"sed -n s/^0:://p /proc/{pid}/cgroup") for pid in look.processes}
    assert {pid for pid, group in found.items() if f"/{own}/" not in f"{group}/"} == set()
    assert found[look.master].endswith(f"/{own}/{look.slot}")
    for user in (site.user, *strangers):
        assert not site.machine.succeeds_as(user, "sh", "-c", f"echo $$ > {noted.content_string}/cgroup.procs")
