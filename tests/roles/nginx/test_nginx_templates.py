"""nginx's files as Ansible renders them, tested with a real nginx."""

from __future__ import annotations

import http.client
import os
import re
import time

import pytest
import yaml
from nginx_rig import (
    PROJECT,
    Rig,
    Upstream,
    ask,
    evaluate,
    free_port,
    needs_nginx,
    private_nginx,
    render,
    role_variables,
)

SHOP = {"server_names": ["shop.example.com", "::1"], "source": {"path": "app"}}
SITES = {
    "plain": {"only": SHOP},
    "aliases": {"shop": {**SHOP, "aliases": {"/static/": "app/static", "/media": "shared/media"}}},
    "other hashes": {"shop": {**SHOP, "aliases": {"/s.x/": "app/static"}, "hashed_names": r"assets/\w{9,}\.js"}},
    "no hashes": {"shop": {**SHOP, "aliases": {"/static/": "packages/flask/static"}, "hashed_names": ""}},
    "tls upstream": {"shop": {**SHOP, "gunicorn": {"certfile": "/etc/x.pem", "keyfile": "/etc/x.key"}}},
    "two ports": {
        "shop": SHOP,
        "blog": {"server_names": ["blog.example.com"], "source": {"path": "app"}, "http_port": 8081, "root": "/data/b"},
        "gone": {"state": "absent"},
    },
}


HASHED = [
    "index-BTq4sZ1x.js", "assets/index-D_8h-xY2.css",  # Vite
    "app-WYLBKMWP.js",  # esbuild
    "main.8e0d62a03f4b1c2d9e0f.js", "main.1a2b3c4d.chunk.css", "img/8e0d62a03f4b1c2d9e0f.png",  # webpack
    "runtime~main.a1b2c3d4.js", "logo.1a2b3c4d.svg",  # Parcel and others
    "hello-5d41402abc4b2a76b9719d911017c592.css",  # Flask-Static-Digest
    "css/app.55e7cbb9ba48.css", "app.55e7cbb9ba48.min.css",  # Django
]  # fmt: skip
NOT_HASHED = [
    "style.css", "jquery-3.7.1.slim.min.js", "my-nav-item.js", "dashboard.component.js", "style-version2.css",
    "Inter-SemiBold.woff2", "MaterialIcons-Regular.ttf", "roboto-v30-latin-regular.woff2", "moment-with-locales.min.js",
    "hero-1024x768.png", "hero-1920x1080.png", "IMG-20261121-WA0001.jpg", "report-26-11-21.pdf",
    "customers-20261121.csv", "dump-1732181234.sql", "facade.svg", "1a2b3c4d", "1a2b3c4d.5/style.css",
    "trip-IMG_0001.jpg", "trip-DSC01234.jpg", "chart-Q3_FINAL.svg",
]  # fmt: skip


@pytest.fixture
def rig():
    yield from private_nginx()


def test_every_file_names_its_template():
    files, _ = render(SITES["aliases"])
    for path, text in files.items():
        assert re.match(r"# Made from roles/nginx/templates/\S+; edits here are lost\.\n", text), path
        assert text.endswith("\n")


def test_unknown_names_are_refused_on_every_port_of_a_present_site():
    files, _ = render(SITES["two ports"])
    unknown = files["/etc/nginx/conf.d/unknown-names.conf"]
    assert re.findall(r"listen (\d+) default_server", unknown) == ["80", "8081"]


def test_without_ipv6_there_is_no_ipv6_listener():
    files, _ = render(SITES["two ports"], ansible_facts={"sites_ipv6": False})
    assert "[::]" not in "".join(files.values())


def test_an_ipv6_address_has_brackets_in_server_name():
    files, _ = render(SITES["plain"])
    assert "server_name shop.example.com [::1];" in files["/etc/nginx/sites-available/only.conf"]


def test_the_configuration_needs_no_name_resolution():
    files, _ = render(SITES["aliases"])
    for passed in re.findall(r"proxy_pass (\S+);", "".join(files.values())):
        assert passed == "http://site_shop"


def test_the_default_pattern_tells_hashed_names_from_others():
    hashed = role_variables({})["site_keys"]["hashed_names"]
    assert [name for name in HASHED if not re.fullmatch(hashed, name)] == []
    assert [name for name in NOT_HASHED if re.fullmatch(hashed, name)] == []


@needs_nginx
@pytest.mark.parametrize("sites", SITES.values(), ids=SITES.keys())
def test_nginx_accepts_the_configuration(rig: Rig, sites):
    present = {name: site for name, site in sites.items() if site.get("state") != "absent"}
    files, links = render(present)
    for name in present:
        rig.site(name)
    rig.install({path: text.replace("/data/b", "/srv/blog") for path, text in files.items()}, links)
    assert rig.test() == ""


@needs_nginx
class TestServing:
    """A running nginx with one site, static files and uploads."""

    @pytest.fixture
    def shop(self, rig: Rig):
        port = free_port()
        aliases = {"/static/": "app/static", "/media/": "shared/media", "/docs/": "shared/media/docs"}
        aliases["/.well-known/"] = "shared/known"
        files, links = render({"shop": {**SHOP, "http_port": port, "aliases": aliases}}, nginx_worker_processes=1)
        root = rig.site("shop")
        app, before = root / "releases/two/app", root / "releases/one/app"
        (app / "wsgi.py").write_text("the code")
        (app / "static/style.css").write_text("body {}")
        (app / "static/.env").write_text("hidden")
        (app / "static/.git").mkdir()
        (app / "static/.git/config").write_text("hidden")
        (app / "static/own.css").symlink_to("style.css")
        (app / "static/both.1a2b3c4d.js").write_text("new")
        (before / "static/both.1a2b3c4d.js").write_text("old")
        (before / "static/css").mkdir()
        (before / "static/.git").mkdir()
        for name in ("app.1a2b3c4d.js", "css/index-BTq4sZ1x.css", "gone.js", ".1a2b3c4d.js", ".git/app.1a2b3c4d.js"):
            (before / "static" / name).write_text(f"old {name}")
        (before / "code.1a2b3c4d.py").write_text("the code")
        (root / "shared/media/page.html").write_text("<script>")
        (root / "shared/media/photo.svg").write_text("<svg/>")
        (root / "shared/media/paper.pdf").write_text("%PDF")
        (root / "shared/known/.git").mkdir(parents=True)
        (root / "shared/known/token").write_text("known")
        for hidden in ("known/.env", "known/.git/config", "media/.env"):
            (root / "shared" / hidden).write_text("hidden")
        secret = root / "secret"
        secret.write_text("a neighbour's")
        secret.chmod(0o644)
        (root / "shared/media/leak.txt").symlink_to(secret)
        os.lchown(root / "shared/media/leak.txt", 65534, 65534)
        (root / "shared/media/docs").symlink_to(root)
        os.lchown(root / "shared/media/docs", 65534, 65534)
        (before / "static/leak.1a2b3c4d.js").symlink_to(secret)
        os.lchown(before / "static/leak.1a2b3c4d.js", 65534, 65534)
        rig.install(files, links)
        upstream = Upstream(root / "slots/blue/sock")
        upstream.start()
        rig.start()
        yield port
        upstream.listener.close()

    def test_static_files_come_from_the_live_release_with_cache_headers(self, shop):
        answer = ask(shop, "/static/style.css")
        assert answer.startswith("HTTP/1.1 200") and answer.endswith("body {}")
        assert "Content-Type: text/css; charset=utf-8" in answer
        assert "Cache-Control: max-age=3600" in answer
        assert "X-Content-Type-Options: nosniff" in answer
        assert ask(shop, "/static/own.css").endswith("body {}")

    @pytest.mark.parametrize(
        "path",
        [
            "/static../wsgi.py",
            "/static/../wsgi.py",
            "/static/%2e%2e/wsgi.py",
            "/static/%2e%2e%2fwsgi.py",
            "/static/..%5cwsgi.py",
            "/static//../../wsgi.py",
            "/static%2f..%2fwsgi.py",
            "/media../../releases/two/app/wsgi.py",
            "/static../code.1a2b3c4d.py",
            "/static/../code.1a2b3c4d.py",
            "/static/%2e%2e/code.1a2b3c4d.py",
            "/static/%2e%2e%2fcode.1a2b3c4d.py",
            "/static/css/..%2f..%2fcode.1a2b3c4d.py",
            "/static//../../code.1a2b3c4d.py",
            "/static%2f..%2fcode.1a2b3c4d.py",
            "/public/app/code.1a2b3c4d.py",
        ],
    )
    def test_no_path_leads_out_of_the_alias(self, shop, path):
        assert not ask(shop, path).endswith("the code")

    @pytest.mark.parametrize(
        "path",
        [
            "/static/.env",
            "/static/%2eenv",
            "/static/.git/config",
            "/static/x/..;/.env",
            "/static/.1a2b3c4d.js",
            "/static/.git/app.1a2b3c4d.js",
            "/static/css/..;/.git/app.1a2b3c4d.js",
            "/media/.env",
            "/media/%2eenv",
            "/.well-known/.env",
            "/.well-known/.git/config",
        ],
    )
    def test_dotfiles_are_not_served(self, shop, path):
        answer = ask(shop, path)
        assert answer.startswith("HTTP/1.1 404") and "hidden" not in answer and "old" not in answer

    def test_an_alias_may_begin_with_a_dot(self, shop):
        assert ask(shop, "/.well-known/token").endswith("known")

    @pytest.mark.parametrize("name", ["app.1a2b3c4d.js", "css/index-BTq4sZ1x.css", "app%2e1a2b3c4d.js"])
    def test_hashed_files_of_the_release_before_are_still_served(self, shop, name):
        answer = ask(shop, f"/static/{name}?v=1")
        assert answer.startswith("HTTP/1.1 200") and answer.endswith(f"old {name.replace('%2e', '.')}")
        assert re.search(r"Content-Type: (application/javascript|text/css); charset=utf-8", answer)
        # Like every other static file.
        assert "X-Content-Type-Options: nosniff" in answer
        assert len(re.findall(r"X-Request-ID: \w{32}", answer)) == 1

    def test_the_live_release_wins(self, shop):
        assert ask(shop, "/static/both.1a2b3c4d.js").endswith("new")

    @pytest.mark.parametrize("path", ["/static/gone.js", "/static/app.1a2b3c4d.css", "/static/css/app.1a2b3c4d.js"])
    def test_files_without_a_hash_disappear_at_once(self, shop, path):
        answer = ask(shop, path)
        assert answer.startswith("HTTP/1.1 404") and "old" not in answer

    def test_a_link_in_the_release_before_reaches_no_file_outside(self, shop):
        answer = ask(shop, "/static/leak.1a2b3c4d.js")
        assert answer.startswith(("HTTP/1.1 403", "HTTP/1.1 404")) and "neighbour" not in answer

    def test_after_a_rollback_pages_of_the_newer_release_find_their_hashed_files(self, shop, rig: Rig):
        (rig.folder / "srv/shop/releases/two/app/static/newer.1a2b3c4d.js").write_text("newer")
        rig.go_live("shop", "blue", "two")
        rig.go_live("shop", "green", "one")
        assert ask(shop, "/static/gone.js").endswith("old gone.js"), "the older release is live again"
        for name, body in (("newer", "newer"), ("app", "old app.1a2b3c4d.js"), ("both", "old")):
            answer = ask(shop, f"/static/{name}.1a2b3c4d.js")
            assert answer.startswith("HTTP/1.1 200") and answer.endswith(body)
            assert "Cache-Control: public, max-age=31536000, immutable" in answer
        assert ask(shop, "/static/style.css").startswith("HTTP/1.1 404")

    def test_a_switch_in_the_middle_of_a_request_hides_no_file(self, shop, rig: Rig):
        root = rig.folder / "srv/shop"
        rig.go_live("shop", "green", "one")
        connection, seen = http.client.HTTPConnection("127.0.0.1", shop, timeout=10), set()
        for number in range(4000):
            (root / "next").symlink_to(f"slots/{('green', 'blue')[number % 2]}")
            connection.request("GET", "/static/app.1a2b3c4d.js", headers={"Host": "shop.example.com"})
            # A different moment each time; nginx finishes within less than the longest.
            moment = time.perf_counter() + number % 100 * 2e-6
            while time.perf_counter() < moment:
                pass
            (root / "next").replace(root / "live")
            answer = connection.getresponse()
            seen.add((answer.status, answer.read()))
        assert seen == {(200, b"old app.1a2b3c4d.js")}

    def test_a_folder_is_not_listed(self, shop):
        assert ask(shop, "/static/").startswith("HTTP/1.1 403")

    def test_an_uploaded_link_reaches_no_file_of_another_owner(self, shop):
        answer = ask(shop, "/media/leak.txt")
        assert answer.startswith("HTTP/1.1 403") and "neighbour" not in answer

    def test_an_upload_folder_replaced_by_a_link_reaches_no_file_of_another_owner(self, shop):
        answer = ask(shop, "/docs/secret")
        assert answer.startswith("HTTP/1.1 403") and "neighbour" not in answer

    def test_uploads_run_no_scripts_in_the_sites_origin(self, shop):
        page = ask(shop, "/media/page.html")
        assert "Content-Type: text/plain" in page and "sandbox" in page and "nosniff" in page
        photo = ask(shop, "/media/photo.svg")
        assert "Content-Type: image/svg+xml" in photo and "sandbox" in photo
        assert "sandbox" not in ask(shop, "/media/paper.pdf")

    def test_forged_headers_never_reach_the_app(self, shop):
        forged = [
            "X-Forwarded-For", "X-Forwarded-Proto", "X-Forwarded-Host", "X-Forwarded-Port", "X-Forwarded-Prefix",
            "X-Forwarded-Ssl", "X-Forwarded-Protocol", "X-Real-IP", "X-Request-ID", "Forwarded", "Proxy",
            "X-Original-URL", "Remote-User", "SCRIPT_NAME", "X_Forwarded_For", "X-Client-IP",
        ]  # fmt: skip
        answer = ask(shop, "/whoami", headers="".join(f"{name}: forged\r\n" for name in forged))
        # The client's own header is passed on once, under a name that no app trusts.
        assert answer.count("forged") == answer.count("\r\nX-Client-Forwarded-For: forged\r\n") == 1
        for line in (
            "X-Forwarded-For: 127.0.0.1", "X-Real-IP: 127.0.0.1", "X-Forwarded-Proto: http",
            "Host: shop.example.com", "X-Forwarded-Host: shop.example.com",
        ):  # fmt: skip
            assert f"\r\n{line}\r\n" in answer

    def test_the_request_id_is_set_by_nginx_and_sent_to_the_client(self, shop):
        answer = ask(shop, "/")
        ids = re.findall(r"X-Request-ID: (\w+)", answer)
        assert len(ids) == 2 and ids[0] == ids[1] and len(ids[0]) == 32

    def test_the_app_gets_the_port_of_the_clients_url(self, shop):
        assert "\r\nHost: shop.example.com:8443\r\n" in ask(shop, "/", host="shop.example.com:8443")
        assert "\r\nHost: [::1]:8443\r\n" in ask(shop, "/", host="[::1]:8443")
        assert "\r\nHost: [::1]\r\n" in ask(shop, "/", host="[::1]")

    def test_the_app_gets_the_name_that_selected_the_site(self, shop):
        answer = ask(shop, "http://shop.example.com/x", host="evil.example")
        assert "\r\nHost: shop.example.com\r\n" in answer and "evil" not in answer

    @pytest.mark.parametrize("host", ["other.example.com", "127.0.0.1", ""])
    def test_an_unknown_name_gets_no_site(self, shop, host):
        answer = ask(shop, "/", host=host)
        assert answer == "" or answer.startswith("HTTP/1.1 400")

    def test_the_access_log_has_timings_and_the_request_id(self, shop, rig: Rig):
        answer = ask(shop, "/logged")
        log = (rig.folder / "var/log/shop/access.log").read_text()
        assert re.search(r'"GET /logged HTTP/1.1" 200 .* time=\d+\.\d+ .* upstream_time=\d+\.\d+', log)
        assert re.findall(r"X-Request-ID: (\w+)", answer)[0] in log


def test_a_sites_files_include_the_refusal_of_unknown_names() -> None:
    task = yaml.safe_load((PROJECT / "roles/nginx/tasks/site.yml").read_text())[0]
    variables = role_variables({"shop": {**SHOP, "http_port": 8088}}, site_name="shop")
    files = evaluate(task["wsgi.sites.nginx_config"]["files"].strip("{} "), variables)
    assert "listen 8088 default_server;" in files["/etc/nginx/conf.d/unknown-names.conf"], (
        "only deploy.yml turns maintenance off"
    )
    assert "listen 8088;" in files["/etc/nginx/sites-available/shop.conf"]
