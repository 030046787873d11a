"""Collisions with existing services on a host: each is named with a remedy, without false alarms."""

from __future__ import annotations

import hashlib
import json
import os
import socket
from pathlib import Path

import pytest

from ansible_collections.wsgi.sites.plugins.module_utils.inspection import collisions
from ansible_collections.wsgi.sites.plugins.module_utils.inspection.host import Host

MADE = "# Made from roles/nginx/templates/nginx.conf.j2; edits here are lost.\n"


class Fake:
    """A host in a folder."""

    def __init__(self, root: Path) -> None:
        self.root = root

    def put(self, path: str, text: str = "") -> Path:
        place = self.root / path.lstrip("/")
        place.parent.mkdir(parents=True, exist_ok=True)
        place.write_text(text)
        return place

    def listen(self, port: int, inode: int, address: str = "0100007F") -> None:
        place = self.root / "proc/net/tcp"
        head = place.read_text() if place.exists() else "  sl  local_address rem_address   st …\n"
        row = f"   0: {address}:{port:04X} 00000000:0000 0A 00000000:00000000 00:00000000 00000000 0 0 {inode} 1\n"
        self.put("/proc/net/tcp", head + row)

    def process(self, pid: int, name: str, inode: int, cwd: str = "/") -> None:
        self.put(f"/proc/{pid}/comm", f"{name}\n")
        self.put(f"/proc/{pid}/cmdline", f"/usr/sbin/{name}\0-x\0")
        (self.root / f"proc/{pid}/fd").mkdir()
        (self.root / f"proc/{pid}/fd/4").symlink_to(f"socket:[{inode}]")
        (self.root / f"proc/{pid}/cwd").symlink_to(cwd)

    def shipped(self, *paths: str) -> None:
        lines = [
            f" {path} {hashlib.md5((self.root / path.lstrip('/')).read_bytes(), usedforsecurity=False).hexdigest()}"
            for path in paths
        ]
        self.put("/var/lib/dpkg/status", "Package: x\nConffiles:\n" + "\n".join(lines) + "\nDescription: x\n")

    def record(self, **record: str) -> None:
        self.put(f"/var/lib/sites/{record['name']}.json", json.dumps(record))

    def collisions(self, **site) -> list[str]:
        entry = {"name": "shop", "root": "/srv/shop", "user": "shop", "server_names": ["shop.example.com"], **site}
        return collisions.collisions(Host(self.root), [collisions.Site(**entry)])


@pytest.fixture
def host(tmp_path) -> Fake:
    return Fake(tmp_path)


def only(found: list[str]) -> str:
    assert len(found) == 1, found
    return found[0]


def test_a_bare_host_has_no_collision(host: Fake):
    assert host.collisions(bind=["0.0.0.0:5000"]) == []


def test_apache_on_port_80_is_named(host: Fake):
    host.listen(80, 111, "00000000")
    host.process(77, "apache2", 111)
    found = only(host.collisions())
    assert "Port 80" in found and "apache2 (process 77)" in found and "systemctl disable --now apache2" in found


def test_the_program_on_the_https_port_is_named_with_the_key_to_change(host: Fake):
    host.listen(443, 111, "00000000")
    host.process(77, "haproxy", 111)
    assert host.collisions() == []
    found = only(host.collisions(https_port=443))
    assert "Port 443, https_port of shop, is held by haproxy" in found and "set https_port of shop to a free" in found


def test_nginx_on_port_80_is_no_collision(host: Fake):
    host.listen(80, 111)
    host.process(77, "nginx", 111)
    assert host.collisions() == []


def test_a_listener_without_a_known_process_is_a_collision(host: Fake):
    host.listen(80, 111)
    assert "a process that this host does not show" in only(host.collisions())


def test_another_port_is_no_collision(host: Fake):
    host.listen(8080, 111)
    assert host.collisions() == []


def test_a_bind_address_in_use_is_named_unless_the_site_itself_uses_it(host: Fake):
    host.listen(5000, 111)
    host.process(77, "node", 111)
    assert "bind 0.0.0.0:5000 is taken by node" in only(host.collisions(bind=["0.0.0.0:5000"]))
    assert host.collisions(bind=["10.0.0.1:5000"]) == []


def test_the_sites_own_listener_is_no_collision(host: Fake):
    host.record(name="shop", root="/srv/shop", user="shop")
    host.listen(5000, 111)
    host.process(77, "gunicorn", 111, cwd="/srv/shop/releases/x/app")
    assert host.collisions(bind=["0.0.0.0:5000"]) == []


def test_an_unreadable_listener_counts_as_the_sites_if_its_live_release_binds_it(host: Fake):
    host.listen(5000, inode=7, address="00000000")
    host.record(name="shop", root="/srv/shop", user="shop")
    found = host.collisions(bind=["0.0.0.0:5000"])
    assert "bind 0.0.0.0:5000 is taken by a process that this host does not show" in only(found)
    host.put("/srv/shop/live/release/release.json", '{"listen": ["0.0.0.0:5000"]}')
    assert host.collisions(bind=["0.0.0.0:5000"]) == []


def test_other_nginx_sites_with_the_same_or_a_catch_all_name_are_named(host: Fake):
    host.put(
        "/etc/nginx/nginx.conf", "events {}\nhttp { include /etc/nginx/sites-enabled/*; include conf.d/*.conf; }\n"
    )
    host.shipped("/etc/nginx/nginx.conf")
    host.put(
        "/etc/nginx/sites-enabled/old",
        "# server_name commented.example.com;\nserver {\n listen 80; listen [::]:80;\n"
        ' server_name "SHOP.example.com" other.example.com;\n'
        " location / { set $x '} server_name nothing;'; }\n}\nserver { listen 8080 default_server; }\n",
    )
    host.put("/etc/nginx/conf.d/all.conf", "server { listen *:80 default_server; server_name _; }\n")
    found = host.collisions()
    assert len(found) == 2
    assert any("sites-enabled/old serves shop.example.com on port 80" in each for each in found)
    assert any("conf.d/all.conf is the default_server of port 80" in each for each in found)


def test_own_and_distribution_server_blocks_are_no_collision(host: Fake):
    host.put("/etc/nginx/nginx.conf", MADE + "http { include /etc/nginx/sites-enabled/*; }\n")
    host.put(
        "/etc/nginx/sites-enabled/shop.conf",
        MADE + "server { listen 80 default_server; server_name shop.example.com; }",
    )
    host.put("/etc/nginx/sites-available/default", "server { listen 80 default_server; }\n")
    (host.root / "etc/nginx/sites-enabled/default").symlink_to("../sites-available/default")
    host.shipped("/etc/nginx/sites-available/default")
    assert host.collisions() == []
    host.put("/etc/nginx/sites-available/default", "server { listen 80 default_server; } # edited\n")
    assert "sites-enabled/default is the default_server of port 80" in only(host.collisions())


@pytest.mark.parametrize("path", ["/etc/nginx/nginx.conf", "/etc/supervisor/supervisord.conf"])
def test_a_main_file_is_a_collision_only_when_edited_by_hand(host: Fake, path):
    host.put(path, "# as shipped\n")
    host.shipped(path)
    assert host.collisions() == []
    host.put(path, "# edited\n")
    assert f"{path} was edited by hand" in only(host.collisions())
    host.put(path, MADE.replace("#", ";"))
    assert host.collisions() == []


@pytest.mark.parametrize(
    ("path", "text", "words"),
    [
        ("/etc/passwd", "shop:x:1000:1000::/home/shop:/bin/sh\n", "the user shop exists"),
        ("/etc/group", "shop:x:1000:\n", "the group shop exists"),
        ("/srv/shop/index.php", "", "/srv/shop exists already"),
        ("/etc/shop/config", "", "/etc/shop exists already"),
        ("/var/log/shop/old.log", "", "/var/log/shop exists already"),
        (
            "/etc/nginx/sites-available/shop.conf",
            "server {}",
            "shop.conf was not made by this collection",
        ),
        ("/etc/systemd/system/shop.service", "[Service]\n", "/etc/systemd/system/shop.service has its name"),
        ("/etc/systemd/system/old.service", "ExecStart=/srv/shop/venv/bin/gunicorn", "old.service runs from /srv/shop"),
        ("/etc/supervisor/conf.d/x.conf", "[program:shop]\ncommand=/bin/x\n", "program shop in"),
        ("/etc/supervisor/conf.d/x.conf", "[program:y]\ndirectory=/srv/shop/app\n", "program y in"),
    ],
)
def test_the_sites_name_is_free_or_recorded(host: Fake, path, text, words):
    host.put(path, text)
    found = only(host.collisions())
    assert found.startswith("shop: ") and words in found
    host.record(name="shop", root="/srv/shop", user="shop")
    assert host.collisions() == []


@pytest.mark.parametrize("path", ["/srv/shop2/x", "/etc/systemd/system/shop2.service"])
def test_a_longer_name_is_a_different_name(host: Fake, path):
    host.put(path, "ExecStart=/srv/shop2/bin/x")
    assert host.collisions() == []


def test_an_empty_root_may_be_a_mount_point(host: Fake):
    (host.root / "srv/shop/lost+found").mkdir(parents=True)
    assert host.collisions() == []


def test_a_changed_root_is_refused(host: Fake):
    host.record(name="shop", root="/data/shop", user="shop")
    assert "with root /data/shop, and the site config has /srv/shop" in only(host.collisions())


def test_all_collisions_are_reported_at_once(host: Fake):
    host.listen(80, 111)
    host.put("/etc/passwd", "shop:x:1:1::/:\n")
    host.put("/srv/shop/x")
    assert len(host.collisions()) == 3


def test_a_real_listener_on_this_machine_is_found():
    with socket.socket() as taken:
        taken.bind(("127.0.0.1", 0))
        taken.listen()
        site = collisions.Site("zz_nobody", "/srv/zz_nobody", "zz_nobody", [], taken.getsockname()[1])
        found = list(collisions.ports(Host(), [site]))
        assert f"(process {os.getpid()})" in only(found)


def test_the_returned_facts_match_those_of_ansible(host: Fake):
    host.put("/etc/os-release", 'PRETTY_NAME="Debian GNU/Linux 13 (trixie)"\nVERSION_CODENAME=trixie\nID=debian\n')
    facts = Host(host.root).facts()
    assert facts["ansible_distribution_release"] == "trixie"
    assert facts["ansible_sites_system"] == "Debian GNU/Linux 13 (trixie)"
    assert (facts["ansible_service_mgr"], facts["ansible_sites_ipv6"]) == ("sysvinit", False)
