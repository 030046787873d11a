"""fail2ban jails: their log, their filter, and their installation and removal as one step."""

from __future__ import annotations

import configparser
import re
import shutil
import subprocess
from pathlib import Path
from typing import BinaryIO

import pytest
import yaml
from nginx_rig import (
    NGINX,
    Rig,
    Upstream,
    ask,
    evaluate,
    free_port,
    needs_nginx,
    private_nginx,
    render,
    role_variables,
    trusted,
    wait_for,
    whole_request,
)
from project import PROJECT

from ansible_collections.wsgi.sites.plugins.module_utils.daemons.errors import Refused
from ansible_collections.wsgi.sites.plugins.module_utils.system.kernel import nginx_version

# A stand-in for fail2ban: it records its commands, and refuses a file that says so. The
# scenario `neighbours` uses the real one.
CLIENT = """#!/bin/sh
echo "$3" >> {folder}/asked
grep -rl nonsense "$2" | sed 's/$/ is nonsense/' | grep . && exit 255
exit 0
"""


def files(**keys) -> dict[str, str]:
    """The files of role ban for a site with these keys."""
    page = {"server_names": ["shop.example.com"], "source": {"path": "app"}, **keys}
    own = (PROJECT / "roles/ban/vars/main.yml").read_text()
    variables = {**role_variables({"shop": page}), **trusted(yaml.safe_load(own)), "site_name": "shop"}
    return dict(evaluate("__ban_files", variables))


def jail(**keys) -> configparser.SectionProxy:
    """The jail of a site with these keys."""
    parser = configparser.RawConfigParser()
    parser.read_string(files(**keys)["/etc/fail2ban/jail.d/site-shop.conf"])
    return parser["site-shop"]


def test_a_jail_follows_the_site_config() -> None:
    assert files() == {}
    asked = {"failures": 7, "within": 60, "seconds": 90, "ignore": ["198.51.100.7"]}
    made = jail(ban=asked, allow=["192.0.2.0/24"], http_port=8080)
    assert (made["maxretry"], made["findtime"], made["bantime"]) == ("7", "60", "90")
    assert made["ignoreip"].split() == ["127.0.0.0/8", "::1", "192.0.2.0/24", "198.51.100.7"]
    assert made["action"] == 'nftables[name=site-shop, port="8080", protocol="tcp"]'
    with_tls = jail(ban=asked, tls={"mode": "selfsigned", "http3": True})
    assert with_tls["action"] == 'nftables[name=site-shop, port="80,443", protocol="tcp,udp"]'


@pytest.fixture
def rig():
    yield from private_nginx()


@needs_nginx
def test_refused_requests_are_logged_without_anything_that_the_client_sends(rig: Rig) -> None:
    port = free_port()
    page = {"server_names": ["shop.example.com"], "source": {"path": "app"}, "http_port": port, "ban": {"failures": 5}}
    page |= {"aliases": {"/static/": "app/static"}, "deny": ["127.0.0.3"]}
    rendered, links = render({"shop": page}, nginx_worker_processes=1, nginx_version=nginx_version(NGINX))
    root = rig.site("shop")
    upstream = Upstream(root / "slots/blue/sock")
    upstream.start()
    rig.install(rendered, links)
    rig.start()
    forged = '2026-11-21T10:00:00+00:00 192.0.2.1 404" '
    assert ask(port, "/").split()[1] == "200"
    assert ask(port, "/static/x" + forged.replace(" ", "%20"), headers=f"User-Agent: {forged}\r\n").split()[1] == "404"
    assert ask(port, "/", source="127.0.0.3").split()[1] == "403"
    log = rig.folder / "var/log/shop/refused.log"
    wait_for(lambda: log.read_text().count("\n") == 2)
    stamp = r"\d{4}-\d\d-\d\dT\d\d:\d\d:\d\d[+-]\d\d:\d\d"
    assert re.fullmatch(rf"{stamp} 127\.0\.0\.1 404\n{stamp} 127\.0\.0\.3 403\n", log.read_text())
    upstream.listener.close()
    judged(rig, log, 2)


def judged(rig: Rig, log: Path, lines: int) -> None:
    """The number of lines that match the filter's pattern, and fail2ban's count if it is installed."""
    text = files(ban={"failures": 5})["/etc/fail2ban/filter.d/sites.conf"]
    pattern = re.search(r"^failregex = (.*)$", text, re.MULTILINE)
    assert pattern, "the filter has one"
    # fail2ban removes the date from the line first.
    rest = [line.partition(" ")[2] for line in log.read_text().splitlines()]
    assert sum(bool(re.search(pattern[1].replace("<ADDR>", "[0-9.]+"), line)) for line in rest) == lines
    judge = shutil.which("fail2ban-regex")
    if judge:
        (rig.folder / "filter.conf").write_text(text)
        said = subprocess.run([judge, log, rig.folder / "filter.conf"], capture_output=True, text=True, check=True)
        assert f"{lines} matched" in said.stdout


class Refusing(Upstream):
    """A server on a unix socket that answers each request with the status in its path."""

    def respond(self, stream: BinaryIO) -> bytes:
        status = re.search(rb"/(\d+)", whole_request(stream))
        code = status[1].decode() if status else "200"
        return f"HTTP/1.1 {code} So\r\nContent-Length: 2\r\nConnection: close\r\n\r\nno".encode()


@needs_nginx
def test_responses_of_the_app_count_only_with_count_answers(rig: Rig) -> None:
    """A compromised app that answers 403 to every client would ban its visitors from all sites of the host."""
    port, statuses = free_port(), ("400", "401", "403", "404", "405", "429", "444")
    kept = {"aliases": {"/static/": "app/static"}, "micro_cache": {"seconds": 60}}
    pages = {
        name: {"server_names": [f"{name}.test"], "source": {"path": "app"}, "http_port": port, **kept, "ban": ban}
        for name, ban in (("quiet", {"failures": 5}), ("strict", {"failures": 5, "count": "answers"}))
    }
    pages["below"] = {**pages["quiet"], "path": "/below", "aliases": {}}
    apps = [Refusing(rig.site(name) / "slots/blue/sock") for name in pages]
    for app in apps:
        app.start()
    rig.install(*render(pages, nginx_worker_processes=1, nginx_version=nginx_version(NGINX)))
    rig.start()
    for host, prefix in (("quiet.test", ""), ("strict.test", ""), ("quiet.test", "/below")):
        for status in statuses:
            assert ask(port, f"{prefix}/{status}", host).split()[1] == status
        assert "X-Cache: HIT" in ask(port, f"{prefix}/404", host), "the app also decided on a cached response"
    for host in ("quiet.test", "strict.test"):
        assert ask(port, "/static/missing", host).split()[1] == "404"
        assert ask(port, "/below/x", host, headers=f"X: {'y' * 9000}\r\n" * 5).split()[1] == "400"
    logs = {name: rig.folder / f"var/log/{name}/refused.log" for name in pages}
    wait_for(lambda: logs["strict"].read_text().count("\n") == len(statuses) + 3)
    judged(rig, logs["strict"], len(statuses) + 3)
    # nginx has not read the path of the last request: it counts for the site with the name.
    assert [line.split()[2] for line in logs["quiet"].read_text().splitlines()] == ["404", "400"]
    judged(rig, logs["quiet"], 2)
    assert logs["below"].read_text() == ""
    for app in apps:
        app.listener.close()


class Place:
    """A simulated fail2ban."""

    def __init__(self, folder: Path, module) -> None:
        self.folder, self.module = folder, module
        for name in ("etc/jail.d", "etc/filter.d", "run"):
            (folder / name).mkdir(parents=True)
        client = folder / "client"
        client.write_text(CLIENT.format(folder=folder))
        client.chmod(0o755)
        self.jail = folder / "etc/jail.d/site-shop.conf"
        self.places = module.Places(
            conf_dir=folder / "etc", client=client, pid_file=folder / "pid", auth_log=folder / "auth.log",
            systemd=folder / "systemd", state_dir=folder / "run", dpkg_status=folder / "none",
        )  # fmt: skip

    def ensure(self, text: str | None = "[site-shop]\n", *, check_mode: bool = False, mark: bool = True) -> dict:
        head = "# Made from roles/ban/templates/jail.conf.j2; edits here are lost.\n" if mark else ""
        given = {"files": {} if text is None else {str(self.jail): head + text}}
        given["absent"] = [str(self.jail)] if text is None else []
        return self.module.ensure(given, self.places, check_mode)

    def asked(self) -> list[str]:
        """The commands for fail2ban since the last call."""
        file = self.folder / "asked"
        found = file.read_text().split() if file.exists() else []
        file.unlink(missing_ok=True)
        return found


@pytest.fixture
def place(tmp_path: Path, plugin) -> Place:
    return Place(tmp_path, plugin("plugins/modules/ban_config.py"))


@pytest.fixture
def running(place: Place):
    """A place with a running server."""
    with subprocess.Popen(["bash", "-c", "exec -a fail2ban-server sleep infinity"]) as server:
        # Not before: the command line of its shell contains the name, too.
        wait_for(lambda: Path(f"/proc/{server.pid}/cmdline").read_bytes().startswith(b"fail2ban-server"))
        (place.folder / "pid").write_text(f"{server.pid}\n")
        yield place
        server.kill()


def test_a_jail_is_installed_once_and_removed(running: Place) -> None:
    assert running.ensure(check_mode=True)["changed"] and not running.jail.exists() and running.asked() == []
    assert running.ensure()["reloaded"]
    assert running.asked() == ["-t", "reload"]
    assert not running.ensure()["changed"]
    assert running.asked() == []
    assert running.ensure(None)["reloaded"]
    assert not running.jail.exists()
    assert not running.ensure(None)["changed"]


def test_a_configuration_that_fail2ban_refuses_changes_nothing(running: Place) -> None:
    running.ensure()
    before = running.jail.read_text()
    client = running.places.client
    client.write_text(client.read_text().replace("is nonsense/", "is nonsense\x1b[2J/"))
    with pytest.raises(Refused, match=r"the old one stays. It reports:\n.*site-shop.conf is nonsense\\x1b\[2J"):
        running.ensure("[site-shop]\nnonsense\n")
    assert running.jail.read_text() == before


def test_the_next_run_completes_one_killed_before_the_reload(running: Place) -> None:
    running.ensure()
    running.jail.write_text(running.jail.read_text() + "maxretry = 7\n")
    running.asked()
    assert running.ensure("[site-shop]\nmaxretry = 7\n")["reloaded"]
    assert running.asked() == ["reload"]
    assert not running.ensure("[site-shop]\nmaxretry = 7\n")["changed"]


@pytest.mark.parametrize(
    ("there", "says"),
    [(["auth.log", "systemd"], None), (["systemd"], "backend = systemd"), ([], "enabled = false")],
)
def test_fail2ban_starts_despite_debians_sshd_jail(place: Place, there: list[str], says: str | None) -> None:
    for name in there:
        (place.folder / name).touch()
    place.ensure()
    assert place.places.sshd.exists() == (says is not None)
    assert says is None or says in place.places.sshd.read_text()
    (place.folder / "auth.log").touch()
    place.ensure()
    assert not place.places.sshd.exists()


def test_files_of_other_owners_are_left_alone(place: Place) -> None:
    place.jail.write_text("[site-shop]\n")
    with pytest.raises(Refused, match="was not made from one of our templates"):
        place.ensure()


def test_a_host_without_fail2ban_names_the_remedy_and_has_nothing_to_remove(place: Place) -> None:
    place.places.client.unlink()
    assert not place.ensure(None)["changed"]
    assert place.ensure(check_mode=True)["changed"]
    with pytest.raises(Refused, match="Install the package fail2ban first; the role `host` does"):
        place.ensure()
