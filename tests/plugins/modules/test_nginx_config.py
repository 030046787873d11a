"""nginx's configuration as one tested step: refusals, restored files, and killed runs."""

from __future__ import annotations

import grp
import hashlib
import os
import signal
import socket
import ssl
import subprocess
from pathlib import Path
from types import SimpleNamespace

import pytest
from certificates import make, place
from nginx_rig import Rig, free_port, needs_nginx, private_nginx, talk, wait_for

from ansible_collections.wsgi.sites.plugins.module_utils.daemons.nginx import workers
from ansible_collections.wsgi.sites.plugins.module_utils.system.process import Process

pytestmark = needs_nginx
MADE = "# Made from roles/nginx/templates/x.j2; edits here are lost.\n"


@pytest.fixture
def rig():
    yield from private_nginx()


@pytest.fixture
def nginx(plugin):
    return plugin("plugins/modules/nginx_config.py")


@pytest.fixture
def host(rig: Rig, nginx):
    return Host(rig, nginx)


class Host:
    """A folder with an nginx that the module configures."""

    def __init__(self, rig: Rig, nginx) -> None:
        self.rig, self.nginx = rig, nginx
        self.port = free_port()
        self.places = nginx.Places(
            conf_dir=rig.conf,
            binary=rig.binary,
            pid_file=rig.run_dir / "nginx.pid",
            error_log=rig.log,
            state_dir=rig.folder / "run/sites",
            dpkg_status=rig.folder / "status",
        )

    def main(self, extra: str = "") -> dict[str, str]:
        return {
            str(self.rig.conf / "nginx.conf"): MADE
            # The user of all of them: nginx changes the owner of /var/lib/nginx/body at each start.
            + f"user www-data;\npid {self.places.pid_file};\nerror_log {self.rig.log};\n"
            + "worker_processes 1;\nevents {}\n"
            + f"http {{ access_log off; include {self.rig.conf}/mime.types; include {self.rig.conf}/sites-enabled/*;\n"
            + f"server {{ listen 127.0.0.1:{self.port}; return 204; }}\n{extra}}}\n"
        }

    @staticmethod
    def params(**given):
        nothing = {"files": {}, "links": {}, "passwords": {}, "passwords_like": "", "absent": []}
        return {**nothing, "unused_caches": [], "stock_links": [], "assumed": {}, "test_only": False, **given}

    def ensure(self, check_mode: bool = False, **params):
        return self.nginx.ensure(self.params(**params), self.places, check_mode)

    def path(self, name: str) -> str:
        return str(self.rig.conf / name)

    def site(self, body: str) -> dict[str, dict[str, str]]:
        return {
            "files": {self.path("sites-available/a.conf"): MADE + body},
            "links": {self.path("sites-enabled/a.conf"): "../sites-available/a.conf"},
        }

    def snapshot(self) -> str:
        return self.nginx.digest(self.rig.conf)


def answers(port: int) -> bool:
    with socket.socket() as peer:
        peer.settimeout(5)
        return peer.connect_ex(("127.0.0.1", port)) == 0


def test_files_are_installed_and_loaded_once(host: Host):
    assert host.ensure(files=host.main())["changed"]
    host.rig.start()
    port = free_port()
    done = host.ensure(**host.site(f"server {{ listen 127.0.0.1:{port}; return 204; }}\n"))
    assert done["changed"] and done["reloaded"] and len(done["paths"]) == 2
    assert answers(port)
    again = host.ensure(**host.site(f"server {{ listen 127.0.0.1:{port}; return 204; }}\n"))
    assert not again["changed"] and not again["reloaded"]


def test_an_nginx_started_after_the_installation_needs_no_reload(host: Host):
    host.ensure(files=host.main())
    host.rig.start()
    assert not host.ensure(files=host.main())["changed"]


def test_a_broken_file_changes_nothing_and_the_error_names_the_real_path(host: Host):
    host.ensure(files=host.main())
    host.rig.start()
    before = host.snapshot()
    with pytest.raises(host.nginx.Refused) as refused:
        host.ensure(**host.site("server { listen 127.0.0.1:1; nonsense\x1b[2J on; }\n"))
    assert f'unknown directive "nonsense\\x1b[2J" in {host.path("sites-enabled/a.conf")}:2' in str(refused.value)
    assert host.snapshot() == before and answers(host.port)
    assert not host.ensure(files=host.main())["changed"]


def test_a_broken_file_is_found_through_absolute_and_relative_includes(host: Host):
    main = {path: text.replace(f"include {host.rig.conf}/sites", "include sites") for path, text in host.main().items()}
    host.ensure(files=main)
    with pytest.raises(host.nginx.Refused, match="unknown directive"):
        host.ensure(**host.site("nonsense on;\n"))


def test_a_file_can_be_tested_without_installation(host: Host):
    host.ensure(files=host.main())
    before = host.snapshot()
    assert host.ensure(**host.site("server { listen 127.0.0.1:1; }\n"), test_only=True)["changed"] is False
    with pytest.raises(host.nginx.Refused, match="no_such_directive"):
        host.ensure(**host.site("no_such_directive on;\n"), test_only=True)
    assert host.snapshot() == before


def test_a_port_in_use_restores_the_old_files(host: Host):
    host.ensure(files=host.main())
    host.rig.start()
    before = host.snapshot()
    with socket.socket() as taken:
        taken.bind(("127.0.0.1", 0))
        taken.listen()
        with pytest.raises(host.nginx.Refused, match="Address already in use"):
            host.ensure(**host.site(f"server {{ listen 127.0.0.1:{taken.getsockname()[1]}; }}\n"))
    assert host.snapshot() == before and answers(host.port)


def test_the_next_run_completes_one_killed_before_the_reload(host: Host):
    host.ensure(files=host.main())
    host.rig.start()
    host.ensure(files=host.main())
    port = free_port()
    site = host.site(f"server {{ listen 127.0.0.1:{port}; return 204; }}\n")
    for change in host.nginx.plan(host.params(**site), host.places):
        change.apply()
    assert not answers(port)
    done = host.ensure(**site)
    assert done["changed"] and done["reloaded"] and not done["paths"]
    assert answers(port)


@pytest.fixture
def encrypted(host: Host):
    """A site with https: `served()` is the certificate that nginx shows, `exchange()` installs another one."""
    port, pairs = free_port(), host.rig.folder / "etc/shop/certificates"
    link = pairs.parent / "tls"

    def exchange() -> bytes:
        made, folder = make("shop.example.com"), pairs / f"provided-{os.urandom(4).hex()}"
        place(folder, made)
        link.with_name("new").symlink_to(folder)
        link.with_name("new").rename(link)
        return ssl.PEM_cert_to_DER_cert(made.pem)

    files = f"ssl_certificate {link}/fullchain.pem;\n  ssl_certificate_key {link}/privkey.pem;"
    site = host.site(f"server {{ listen 127.0.0.1:{port} ssl;\n  {files}\n  return 204; }}\n")
    return SimpleNamespace(site=site, exchange=exchange, served=lambda: talk(port).certificate, port=port)


def test_the_next_run_loads_the_certificate_of_one_killed_before_the_reload(host: Host, encrypted):
    host.ensure(files=host.main())
    host.rig.start()
    first = encrypted.exchange()
    host.ensure(**encrypted.site)
    wait_for(lambda: answers(encrypted.port))
    assert encrypted.served() == first
    second = encrypted.exchange()
    assert encrypted.served() == first, "nginx is not reloaded yet, and the run that changed the file may have ended"
    done = host.ensure(**encrypted.site)
    assert done["changed"] and done["reloaded"] and not done["paths"]
    # An old worker may still accept a connection while it shuts down.
    wait_for(lambda: encrypted.served() == second)
    assert not host.ensure(**encrypted.site)["changed"]


def test_a_certificate_that_nginx_read_when_it_started_needs_no_reload(host: Host, encrypted):
    encrypted.exchange()
    host.ensure(files=host.main())
    host.ensure(**encrypted.site)
    host.rig.start()
    assert not host.ensure(**encrypted.site)["changed"]


def test_check_mode_accepts_a_missing_certificate(host: Host, encrypted):
    host.ensure(files=host.main())
    host.rig.start()
    done = host.ensure(check_mode=True, **encrypted.site)
    assert done["changed"] and not done["tested"]
    with pytest.raises(host.nginx.Refused, match="cannot load certificate"):
        host.ensure(**encrypted.site)
    encrypted.exchange()
    assert host.ensure(check_mode=True, **encrypted.site)["tested"]


def test_check_mode_reports_and_changes_nothing(host: Host):
    before = host.snapshot()
    done = host.ensure(check_mode=True, files=host.main())
    assert done["changed"] and done["tested"] and done["diff"][0]["before"] == ""
    assert host.snapshot() == before and not host.places.state_dir.exists() and not host.places.pid_file.exists()


def test_check_mode_tests_a_site_before_its_folders_and_the_main_files_exist(host: Host):
    body = f"server {{ listen 127.0.0.1:1;\n  access_log {host.rig.folder}/var/log/none/access.log sites;\n}}\n"
    main = host.main("log_format sites '$uri';\n")
    main = {path: text.replace("include sites", "include sites") for path, text in main.items()}
    before = host.snapshot()
    site = host.site(body)
    text = main[host.path("nginx.conf")]
    formats = "http { log_format sites '$uri'; "
    assumed = {host.path("nginx.conf"): text.replace("log_format sites '$uri';\n", "").replace("http { ", formats)}
    assert host.ensure(check_mode=True, assumed=assumed, **site)["tested"]
    assert host.snapshot() == before


def test_check_mode_works_on_a_bare_host(host: Host, tmp_path):
    bare = host.nginx.Places(conf_dir=tmp_path / "none", binary=tmp_path / "no", state_dir=tmp_path / "never")
    params = host.params(files={f"{tmp_path}/none/nginx.conf": MADE})
    done = host.nginx.ensure(params, bare, True)
    assert done["changed"] and not done["tested"] and not done["installed"]
    with pytest.raises(host.nginx.Refused, match="Install the package nginx"):
        host.nginx.ensure(params, bare, False)


@pytest.mark.parametrize("check_mode", [False, True])
def test_a_file_of_another_owner_is_named_and_left_alone(host: Host, check_mode):
    foreign = host.rig.conf / "nginx.conf"
    foreign.write_text("# mine\nevents {}\n")
    with pytest.raises(host.nginx.Refused, match=f"{foreign}.*mv {foreign} /root/"):
        host.ensure(check_mode=check_mode, files=host.main())
    assert foreign.read_text() == "# mine\nevents {}\n"


def test_the_distributions_own_file_is_replaced_unless_edited(host: Host):
    stock = host.rig.conf / "nginx.conf"
    stock.write_text("events {}\n")
    digest = hashlib.md5(stock.read_bytes(), usedforsecurity=False).hexdigest()
    host.places.dpkg_status.write_text(f"Package: nginx\nConffiles:\n {stock} {digest}\n")
    host.ensure(files=host.main())
    assert stock.read_text().startswith(MADE)


@pytest.mark.parametrize("edited", [False, True])
def test_the_distributions_welcome_page_is_removed_unless_edited(host: Host, edited):
    file, link = host.rig.conf / "sites-available/default", host.rig.conf / "sites-enabled/default"
    file.write_text("server { listen 127.0.0.1:1; }\n")
    digest = hashlib.md5(file.read_bytes(), usedforsecurity=False).hexdigest()
    host.places.dpkg_status.write_text(f"Conffiles:\n {file} {digest}\n")
    link.symlink_to(file)
    if edited:
        file.write_text("server { listen 127.0.0.1:2; }\n")
    host.ensure(files=host.main(), stock_links=[str(link)])
    assert link.is_symlink() is edited and file.exists()


def test_a_removed_site_is_no_longer_served(host: Host):
    host.ensure(files=host.main())
    host.rig.start()
    port = free_port()
    host.ensure(**host.site(f"server {{ listen 127.0.0.1:{port}; }}\n"))
    gone = [host.path("sites-enabled/a.conf"), host.path("sites-available/a.conf")]
    assert host.ensure(absent=gone)["changed"]
    wait_for(lambda: not answers(port))
    assert not host.ensure(absent=gone)["changed"]


def test_files_that_a_site_no_longer_needs_are_removed_in_one_step(host: Host):
    host.ensure(files=host.main(f"include {host.rig.conf}/sites-http/*.conf;\n"))
    host.rig.start()
    port = free_port()
    block = host.site(f"server {{ listen 127.0.0.1:{port}; return 204 $a; }}\n")
    http, below = host.path("sites-http/a.conf"), host.path("sites-below/b/a.conf")
    places = [*block["links"], *block["files"], host.path("sites-below/*/a.conf"), http]
    whole = {"links": block["links"], "files": {**block["files"], http: MADE + "map $uri $a { default a; }\n"}}
    assert host.ensure(**whole, absent=places)["changed"]
    assert not host.ensure(**whole, absent=places)["changed"]

    before = host.snapshot()
    with pytest.raises(host.nginx.Refused, match="unknown directive"):
        host.ensure(files={http: MADE + "nonsense;\n", below: MADE}, absent=places)
    assert host.snapshot() == before and answers(port)
    host.ensure(files={http: MADE, below: MADE}, absent=places)
    wait_for(lambda: not answers(port))
    assert [Path(path).exists() for path in (http, below, *block["files"])] == [True, True, False]
    assert not Path(*block["links"]).is_symlink()


def test_a_foreign_file_is_not_removed(host: Host):
    host.ensure(files=host.main())
    file = host.rig.conf / "sites-available/a.conf"
    file.write_text("# mine\n")
    with pytest.raises(host.nginx.Refused, match="not made from"):
        host.ensure(absent=[str(file)])
    assert file.exists()


def test_the_copy_under_test_holds_no_private_key(host: Host):
    key = host.rig.conf / "key.pem"
    key.write_text("secret")
    host.ensure(files=host.main())
    with host.nginx.candidate([], {}, host.places.conf_dir, quiet_logs=False) as copy:
        assert (copy / "key.pem").is_symlink() and oct(copy.stat().st_mode & 0o777) == "0o700"
    assert not copy.exists()


def test_the_copy_under_test_creates_no_cache_folder(host: Host):
    folders = [host.rig.folder / f"var/cache/{name}" for name in ("one", "two/one")]
    zones = "".join(f"proxy_cache_path {path} keys_zone=z{path.parent.name}:1m;\n" for path in folders)
    host.ensure(files=host.main(), check_mode=True)
    assert host.ensure(files=host.main(zones), check_mode=True)["tested"]
    assert not any(folder.exists() for folder in folders)


def test_a_cache_that_no_file_names_is_removed(host: Host):
    folder, foreign = (host.rig.folder / f"var/cache/nginx-{name}" for name in ("shop", "foreign"))
    foreign.mkdir()
    unused = [str(folder), str(foreign), str(folder.with_name("nginx-never"))]
    naming = host.main(f"proxy_cache_path {folder} keys_zone=shop:1m;\n")
    host.ensure(files=naming)
    host.rig.start()
    assert folder.owner() == "www-data"
    (folder / "kept").write_text("an answer")
    for check_mode in (True, False):
        done = host.ensure(check_mode, files=host.main(), unused_caches=unused)
        assert done["changed"] and str(folder) in done["paths"] and str(foreign) not in done["paths"]
        assert folder.exists() is check_mode
    assert foreign.exists(), "a foreign folder"
    assert not host.ensure(files=host.main(), unused_caches=unused)["changed"]


def test_password_files_are_readable_by_nginx_only_and_need_no_reload(host: Host):
    folder = host.rig.folder / "etc/shop"
    folder.mkdir()
    one, other, foreign = folder / "htpasswd", folder / "htpasswd:admin:", folder / "htpasswd.old"
    foreign.write_text("by hand")
    host.ensure(files=host.main())
    host.rig.start()
    done = host.ensure(passwords={str(one): {"anna": "$6$secret"}, str(other): {"ben": "$6$x"}})
    assert done["changed"] and not done["reloaded"]
    assert "secret" not in str(done)
    status = one.stat()
    assert (status.st_uid, status.st_gid, status.st_mode & 0o777) == (0, grp.getgrnam("www-data").gr_gid, 0o640)
    assert one.read_text().endswith("edits here are lost.\nanna:$6$secret\n")
    same = {"passwords": {str(one): {"anna": "$6$secret"}}, "passwords_like": str(one)}
    assert not host.ensure(**same)["changed"]
    one.chmod(0o644)
    assert host.ensure(**same)["changed"], "every user could read it"
    foreign.unlink()
    assert host.ensure(passwords_like=f"{one}*", check_mode=True)["changed"]
    assert one.exists()
    host.ensure(passwords_like=f"{one}*")
    assert not list(folder.iterdir())


def test_a_password_file_of_another_owner_stays(host: Host):
    foreign = host.rig.folder / "htpasswd"
    foreign.write_text("by:hand")
    host.ensure(files=host.main())
    with pytest.raises(host.nginx.Refused, match="not made from one of our templates"):
        host.ensure(passwords={str(foreign): {"anna": "$6$x"}})
    assert foreign.read_text() == "by:hand"


def test_a_worker_that_shuts_down_does_not_count_as_a_new_one(host: Host):
    host.ensure(files=host.main())
    host.rig.start()
    running = host.nginx.master(host.places)
    wait_for(lambda: workers(running))
    assert workers(Process(os.getpid(), 0)) == set()


def test_a_reused_process_id_does_not_count_as_nginx(host: Host):
    with subprocess.Popen(["sleep", "60"]) as other:
        host.places.pid_file.write_text(f"{other.pid}\n")
        assert host.nginx.master(host.places) is None
        other.send_signal(signal.SIGTERM)
    host.places.pid_file.unlink()
