"""What a site's user and other users of the host must not be able to do."""

from __future__ import annotations

import pytest
from support import SITES, Site

# Tries a command as each user on each path, in one connection to the host, and prints where it succeeds.
ACCESS = """sh -euc '
command=$1 users=$2; shift 2
for user in $users; do for path; do
    if runuser -u "$user" -- $command "$path" </dev/null >/dev/null 2>&1; then echo "$user $path"; fi
done; done' -"""
CONNECT = "import socket, sys; socket.socket(socket.AF_UNIX).connect(sys.argv[1])"


def access(site: Site, users: list[str], *paths: str, command: str = "cat") -> list[str]:
    """The pairs of these users and paths with which a command succeeds: `user path`."""
    return site.machine.output(ACCESS + " %s" * (2 + len(paths)), command, " ".join(users), *paths).splitlines()


def connects(site: Site, user: str) -> bool:
    """Whether a user of the host can connect to the live slot's socket."""
    return site.machine.succeeds_as(user, "python3", "-c", CONNECT, f"{site.root}/live/sock")


@pytest.fixture
def strangers(site: Site) -> list[str]:
    """Users without a relation to the site: nobody, and the user of every other site."""
    others = [Site(site.machine, name, entry).user for name, entry in SITES.items() if name != site.name]
    return ["nobody", *others]


def test_only_nginx_and_the_site_itself_reach_its_socket(site: Site, strangers: list[str]) -> None:
    assert connects(site, "www-data")
    assert not [user for user in strangers if connects(site, user)]


def test_the_server_runs_as_its_own_user_without_a_way_to_more_privileges(site: Site) -> None:
    now = site.snapshot()
    files = [f"/proc/{pid}/status" for pid in (now.master, *now.workers)]
    lines = site.machine.output(f"grep -hE '^(Uid|NoNewPrivs|CapEff):' {' '.join(files)}").splitlines()
    uid = site.machine.output("id --user %s", site.user)
    expected = {"Uid:": [uid] * 4, "NoNewPrivs:": ["1"], "CapEff:": ["0" * 16]}
    assert len(lines) == len(expected) * len(files)
    assert [line for line in lines if line.split()[1:] != expected[line.split()[0]]] == []


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
    files = [f"{logs}/{name}" for name in site.machine.output("ls %s", logs).split()]
    assert access(site, [site.user], *files, command="rm -f") == []
    assert access(site, [site.user], *files, command="tee -a") == []


def test_root_alone_reads_the_environments_of_its_releases(site: Site, strangers: list[str]) -> None:
    """An older release may hold secrets that have changed since; processes get the environment from the launcher."""
    environment = f"{site.root}/live/release/environment"
    found = site.machine.output("ls -d %s/releases/*/environment", site.root).split()
    assert found
    assert access(site, [site.user, "www-data", *strangers], environment, *found) == []
    assert site.machine.output("readlink -f /etc/%s/environment", site.name) == site.machine.output(
        "readlink -f %s", environment
    )


def test_no_other_user_finds_its_secrets_anywhere(site: Site) -> None:
    secret = site.environment()["SECRET_KEY"]
    assert len(secret) >= 32
    found = site.machine.host.run(
        "runuser -u nobody -- grep -rlsF --exclude-dir=apt -e %s "
        "/etc /srv /opt /var /run /usr/local /proc/%s/environ /proc/%s/cmdline",
        secret,
        str(site.master),
        str(site.master),
    )
    assert found.stdout == ""


def test_only_the_site_itself_reaches_its_database(site: Site, strangers: list[str]) -> None:
    data = f"{site.root}/shared/data"
    assert site.machine.succeeds_as(site.user, "touch", f"{data}/site.db")
    assert access(site, [*strangers, "www-data"], data, command="ls") == []
    assert access(site, [*strangers, "www-data"], f"{data}/site.db") == []


def test_no_stranger_reads_its_code(site: Site, strangers: list[str]) -> None:
    code = f"{site.root}/live/release/app/wsgi.py"
    assert access(site, [site.user, "www-data", *strangers], code) == [f"{site.user} {code}"]


def test_no_stranger_reads_its_packages_and_records(site: Site, strangers: list[str]) -> None:
    releases = site.machine.output("ls -d %s/releases/*", site.root).split()
    config = site.machine.output("ls -d %s/venv/pyvenv.cfg", f"{site.root}/live/release")
    program = f"{site.root}/live/release/venv/bin/python"
    assert site.machine.succeeds_as(site.user, "cat", config)
    assert site.machine.succeeds_as(site.user, program, "-c", "")
    paths = [config, f"{site.root}/releases.log", *(f"{release}/release.json" for release in releases)]
    assert access(site, [*strangers, "www-data"], *paths) == []
    folders = [*releases, f"{site.root}/live/release/venv/bin", f"{site.root}/live/release/packages/"]
    assert access(site, strangers, *folders, command="ls") == []


def test_no_stranger_reads_its_logs(site: Site, strangers: list[str]) -> None:
    logs = f"/var/log/{site.name}"
    assert access(site, [site.user, *strangers], logs, command="ls") == [f"{site.user} {logs}"]
    assert access(site, strangers, f"{logs}/server.log") == []


def test_its_user_can_log_in_nowhere(site: Site) -> None:
    account = site.machine.host.user(site.user)
    assert account.shell.endswith("/nologin")
    assert account.password[:1] in "!*"


def test_its_processes_stay_in_their_own_control_groups(site: Site, strangers: list[str]) -> None:
    group = site.machine.host.file("/run/sites/groups")
    if not group.exists:
        pytest.skip("control groups (version 2) are read-only on this host")
    own = f"{group.content_string.rpartition('/')[2]}/{site.name}"
    now = site.snapshot()
    found = {pid: site.machine.output(f"sed -n s/^0:://p /proc/{pid}/cgroup") for pid in now.processes}
    assert {pid for pid, path in found.items() if f"/{own}/" not in f"{path}/"} == set()
    assert found[now.master].endswith(f"/{own}/{now.slot}")
    for user in (site.user, *strangers):
        assert not site.machine.succeeds_as(user, "sh", "-c", f"echo $$ > {group.content_string}/cgroup.procs")
