"""The site config: its spec, and the errors that preflight reports before any host is changed."""

from __future__ import annotations

import re
import shutil
from datetime import timedelta

import pytest
import yaml
from ansible.parsing.dataloader import DataLoader
from ansible_run import PROJECT, preflight, run, write_inventory
from certificates import make
from nginx_rig import evaluate

from ansible_collections.wsgi.sites.plugins.plugin_utils.config import derived, reading
from ansible_collections.wsgi.sites.plugins.plugin_utils.config.checks.source import check_folder
from ansible_collections.wsgi.sites.plugins.plugin_utils.config.checks.whole import CheckedConfig
from ansible_collections.wsgi.sites.plugins.plugin_utils.config.rules import table
from ansible_collections.wsgi.sites.plugins.plugin_utils.config.rules.names import identifier

SECRET = "s3cr3t-hunter2-canary"
GOOD = {"server_names": ["good.example.com"], "source": {"path": "app"}}
SELFSIGNED = {"tls": {"mode": "selfsigned"}}


def options() -> dict:
    specs = yaml.safe_load((PROJECT / "roles/site/meta/argument_specs.yml").read_text())
    return specs["argument_specs"]["main"]["options"]


def spec() -> dict:
    """The keys that a site config may set."""
    return {key: option for key, option in options()["site_entry"]["options"].items() if key not in derived.DERIVED}


def of_spec(options: dict, what: str) -> dict:
    return {k: of_spec(v["options"], what) if "options" in v else v[what] for k, v in options.items()}


def test_the_spec_matches_the_keys_and_defaults_of_the_role():
    defaults = yaml.safe_load((PROJECT / "roles/site/defaults/main.yml").read_text())
    assert of_spec(spec(), "default") == defaults["site_keys"]
    for keys in ("site_processes_keys", "site_cron_keys"):
        assert of_spec(options()[keys]["options"], "default") == defaults[keys]


def test_every_key_is_described():
    def described(options: dict) -> None:
        for name, option in options.items():
            description = option["description"]
            paragraphs = [description] if isinstance(description, str) else description
            assert paragraphs and all(paragraph.endswith(".") for paragraph in paragraphs), name
            described(option.get("options", {}))

    described(options())


def test_every_rule_belongs_to_a_key():
    known = set(reading.dotted_keys(reading.site_spec({"main": {"options": options()}})))
    assert {rule.removesuffix(".*").removesuffix(".@") for rule in table.RULES} <= known


def test_every_default_passes_its_own_rule():
    def walk(values: dict, prefix: str = "") -> None:
        for key, value in values.items():
            if isinstance(value, dict):
                walk(value, f"{prefix}{key}.")
            elif prefix + key in table.RULES and "{{" not in str(value):
                assert table.RULES[prefix + key](value) is None, prefix + key

    walk(of_spec(spec(), "default"))


# --- Rules, one by one ---------------------------------------------------------------------------------------------

RULES = {
    "server_names.*": (
        [
            "a.example.com",
            "*.example.com",
            "localhost",
            "192.0.2.1",
            "::1",
            "2001:db8::1",
            "my_host",
            "Web1",
            "xn--a.de",
        ],
        [
            "_",
            "",
            "a b",
            "https://a.example",
            "a.example/x",
            "a.example:80",
            "[::1]",
            "1.2.3.400",
            "a..b",
            "-a.b",
            "a.*.b",
            "*",
            "a;b",
            "::1%a; return 200",
            "fe80::1%eth0",
            "a{b",
            "~^x$",
            "a\nb",
            "\u212a.example",
        ],
    ),
    "wsgi": (
        ["wsgi:app", "shop:create_app()", "a.b.c:d.e", "shop:create_app('x')"],
        ["wsgi", "wsgi.py", "a-b:c", ":app", "wsgi:", "/wsgi:app", "wsgi:app\n"],
    ),
    "user": (
        ["shop", "shop-web", "s1"],
        ["root", "www-data", "nginx", "sites-uv", "Shop", "1shop", "a" * 31, "", "shop\n"],
    ),
    "root": (
        ["/srv/shop", "/opt/sites/shop", "/var/www/shop"],
        ["srv/shop", "/srv", "/", "/etc/shop", "/srv/../etc", "/srv/a b", "/usr/lib/x", "/var/lib/x", "/srv/x\n"],
    ),
    "requirements": (["requirements.txt", "locks/prod.txt", "uv.lock"], ["/etc/passwd", "../x", "a/../../b"]),
    "env.@": (["SECRET_KEY", "a", "_x1"], ["A-B", "1A", "A B", "", "A=B", "A\n"]),
    "workers": (["auto", 1, 16], ["Auto", 0, -1, "4", True, 1.5, None]),
    "bind.*": (
        ["127.0.0.1:5000", "0.0.0.0:80", "[::1]:5000", "[::]:65535"],
        [
            "5000",
            ":5000",
            "localhost:5000",
            "127.0.0.1",
            "127.0.0.1:0",
            "127.0.0.1:70000",
            "::1:5000",
            "unix:/x",
            "1:5000",
        ],
    ),
    "upstream.servers.*": (
        ["192.0.2.21:8443", "[2001:db8::21]:443"],
        ["app1.example:8443", "localhost:1", "192.0.2.21", "192.0.2.21:0", "unix:/x", "https://192.0.2.1:1", ""],
    ),
    "upstream.name": (["", "app.example.com", "app1"], ["*.example.com", "a b", "https://a", "::1", "a;b", "a\n"]),
    "trusted_proxies.*": (["10.0.0.1", "10.0.0.0/8", "::1"], ["*", "10.0.0.1/8", "proxy.example.com", ""]),
    "gunicorn.certfile": (["", "/etc/ssl/x.pem"], ["x.pem", "/etc/ssl/a b", '/a";x()#', "/a\\"]),
    "health.path": (["/", "/healthz", "/h?x=1"], ["healthz", "", "/a b", "/a\n"]),
    "health.host": (["", "a.example"], ["https://a"]),
    "health.status": ([200, 503], [99, 600]),
    "gunicorn.keyfile": (["", "/etc/ssl/x.key"], ["x.key", "/etc/ssl/a b"]),
    "threads": (["auto", 1, 16], ["Auto", 0, "4", True]),
    "worker_class": (["sync", "gthread", "gunicorn.workers.ggevent.GeventWorker"], ["", "a b", "2x", "sync;", "asgi"]),
    "workers_max": ([0, 8], [-1]),
    "workers_min": ([0, 2], [-1]),
    "timeout": ([0, 30], [-1]),
    "graceful_timeout": ([1, 30], [0]),
    "max_requests": ([0, 1000], [-1]),
    "max_requests_jitter": ([0, 100], [-1]),
    "backlog": ([1, 2048], [0]),
    "health.timeout": ([1, 60], [0]),
    "start_retries": ([0, 20], [-1]),
    "hashed_names": (["", r"assets/.+", r".+\.[0-9a-f]{12}\.\w+"], ["(", "[", "*", '.+".js']),
    "static_max_age": ([0, 3600], [-1]),
    "proxy_timeout": ([1, 60], [0]),
    "redirects.@": (["/old", "/old/", "/a/b.html", "/"], ["old", "", "/a?b", "/a b", "/a{", "/a;b", "//evil", "/a$b"]),
    "redirects.*": (
        ["/new", "/", "https://example.com", "http://[::1]:8080/x/", "/%E8%8C%B6"],
        ["new", "", "//evil.example", "/a?b=c", "/a#b", "javascript:x", "/$uri", "/a;b", "https:///x", "/a\nb"],
    ),
    "deny.*": (["192.0.2.1", "192.0.2.0/24", "2001:db8::/32"], ["all", "192.0.2.1/24", "example.com", ""]),
    "allow.*": (["127.0.0.1"], ["all", "unix:", "::1%a;\n} b", "fe80::1%eth0"]),
    "basic_auth.@": (["anna", "a.b@example.com"], ["", "a:b", "a b", "#a", "a\n"]),
    "basic_auth.*": (
        ["$6$salt$" + "a" * 86, "$apr1$abcdefgh$" + "b" * 22, "$2y$10$" + "c" * 53, "$y$j9T$salt$" + "d" * 43],
        ["secret", "", "{PLAIN}secret", "{SHA}W6ph5Mm5Pz8GgiULbPgzG37mj9g=", "$6$short", "$1$x$" + "a" * 22],
    ),
    "resources.memory_max": (
        ["90%", "100%", "500M", "8G", "1073741824", "infinity"],
        ["", "0", "0%", "101%", "8GB", "1.5G", "-1", "8 G", "max", "8G\n", "9" * 19],
    ),
    "resources.tasks_max": ([4096, 16, "infinity"], [0, 15, -1, True, "4096", "50%", ""]),
    "resources.file_size_max": (["1T", "500M", "infinity"], ["", "0", "90%", "1TB", "-1"]),
    "limits.requests": (["", "10r/s", "30r/m"], ["10", "0r/s", "10r/h", "10 r/s", "r/s"]),
    "limits.burst": ([0, 20], [-1]),
    "limits.connections": ([0, 20], [-1]),
    "ban.failures": ([0, 60], [-1]),
    "ban.within": ([1, 600], [0]),
    "ban.seconds": ([1, 3600], [0]),
    "ban.ignore.*": (["192.0.2.1", "2001:db8::/32"], ["office", "192.0.2.1/24", ""]),
    "trusted_balancers.*": (
        ["10.0.0.5", "10.0.0.0/24", "::1"],
        ["0.0.0.0/0", "::/0", "0.0.0.0/00", "0.0.0.0/0.0.0.0", "10.0.0.1/8", "lb.example"],
    ),
    "headers.@": (["X-Frame-Options", "DNT", "x" * 50], ["", "x" * 51, "X_Frame", "X Frame", "X:", "-X"]),
    "headers.*": (["", "default-src 'self'; img-src data:"], ['a"b', "a\nb", "$host", "a\\b"]),
    "mask_paths.*": (["/account/reset/", "/r"], ["reset", "/a?b", ""]),
    "path": (["/", "/blog", "/a/b.c"], ["", "blog", "/blog/", "//", "/..", "/a b", "/a/../b", "/a{"]),
    "http_port": ([1, 65535], [0, 65536, -1]),
    "https_port": ([1, 65535], [0, 65536, -1]),
    "canonical_name": (["", "shop.example.com", "::1"], ["https://a.example", "[::1]", "a b"]),
    "micro_cache.seconds": ([0, 5, 3600], [-1, 3601]),
    "micro_cache.stale": ([0, 60], [-1]),
    "micro_cache.wait": ([0, 60], [-1, 61]),
    "micro_cache.size": (["100m", "1g"], ["0", "0m", "100", "", "1m; x"]),
    "tls.hsts": ([0, 86400], [-1]),
    "tls.acme.directory": (
        ["https://acme-v02.api.letsencrypt.org/directory", "https://ca.test:14000/dir", "https://ca.test"],
        ["http://ca.test/dir", "ca.test", "https://", "https://ca.test/a b", "https://ca.test/'#", ""],
    ),
    "tls.acme.email": (["", "ops@example.com"], ["ops", "ops@", "a@b", "a b@example.com", "a@b.c\n", "--x@y.z"]),
    "tls.acme.renew_days": ([1, 30, 80], [0, 81]),
    "gunicorn.ca_certs": (["", "/etc/ssl/ca.pem"], ["ca.pem", "/etc/ssl/a b"]),
    "uwsgi.reload_on_rss": ([0, 300], [-1]),
    "uwsgi.stats": (
        ["", "socket", "127.0.0.1:9191", "[::1]:9191"],
        ["9191", "0.0.0.0:9191", "/run/x", "127.0.0.1:0", "127.0.0.1:99999", "sockets"],
    ),
    "keepalive": ([2, 75], [0, 1]),
    "keep_releases": ([2, 50], [0, 1]),
    "hooks.before_start.*": (["flask db upgrade", "sh -c 'a; b'"], ["", " ", "echo 'open"]),
    "hooks.after_live.*": (["curl -fsS https://example.com/"], ["", "echo 'open"]),
    "hooks.on_failure.*": (["flask --app wsgi tell"], ["", "echo 'open"]),
    "hooks.schema": (["", "alembic current --check-heads"], [" ", "echo 'open"]),
    "hooks.timeout": ([1, 3600], [0]),
    "processes.@": (
        ["queue", "q2", "mail_out"],
        ["blue", "green", "server", "error", "Queue", "2q", "a-b", "a.b", "a\n"],
    ),
    "processes.*.command": (["python worker.py", "sh -c 'a; b'"], ["", " ", "echo 'open"]),
    "processes.*.count": ([1, 8], [0, -1, 101]),
    "processes.*.patience": ([1, 3600], [0]),
    "cron.@": (["nightly"], ["access", "blue", "a b"]),
    "cron.*.command": (["flask --app wsgi purge 50%"], ["", "echo 'open"]),
    "cron.*.schedule": (
        [
            "15 3 * * *",
            "*/10 * * * *",
            "0 0-6/2,12,18-23 1,15 * 1-5",
            "0 8 * jan mon",
            "0 0 29 2 *",
            "0 0 31 2 0",
            "@daily",
            "@reboot",
            "5  4\t* * 7",
        ],
        [
            "",
            "* * * *",
            "* * * * * *",
            "60 * * * *",
            "* 24 * * *",
            "* * 0 * *",
            "* * 32 * *",
            "* * * 13 *",
            "* * * * 8",
            "5/10 * * * *",
            "*/0 * * * *",
            "*/60 * * * *",
            "10-5 * * * *",
            "* * * jan-mar *",
            "* * * * mon,tue",
            "* * * * monday",
            "@often",
            "@daily x",
            "a * * * *",
            "-5 * * * *",
            "1, * * * *",
            "0 0 31 2 *",
            "0 0 31 4 *",
            "* * * * *\n* * * * *",
            "* * * * %",
            "0 3 * * * root",
            "0 3\r* * *",
            "0 3\x0b* * *",
        ],
    ),
    "cron.*.patience": ([1], [0]),
    "aliases.@": (["/static/", "/", "/a/b/"], ["/static", "static/", "//", "/a b/", "/a/../", "/a{/", ""]),
    "aliases.*": (
        ["app/static", "shared/media", "app/a/b/"],
        ["static", "/etc", "app/../..", "shared/..", "app", "app/", "shared//x", "app/a b", "app/x\n", "releases/x"],
    ),
    "source.git": (
        [
            "",
            "https://git.example.com/shop.git",
            "https://me:pass@git.example.com:8443/a/shop.git",
            "ssh://git@git.example.com/shop.git",
            "git@git.example.com:team/shop.git",
            "file:///srv/git/shop.git",
        ],
        [
            "shop",
            "../shop",
            "/srv/git/shop",
            "ext::sh",
            "ftp://h/x",
            "--upload-pack=id",
            "https:///x",
            "ssh://-oProxy/x",
            "-a:b",
            "http://h/a b",
            "git@h:x\n",
        ],
    ),
    "source.version": (
        ["", "v1.4", "main", "feature/x", "1.10", "3f2a9c1", "a" * 40],
        [1.1, 14, "-v", "a b", "a..b", "a:b", "a^", "main\n"],
    ),
    "source.archive": (
        ["", "dist/shop.tar.gz", "https://u:p@example.com/shop.zip"],
        ["ftp://h/x.zip", "https://", " "],
    ),
    "source.sha256": (["", "0" * 64, "aB" * 32], ["0" * 63, "g" * 64, "0" * 64 + "\n", "sha256:" + "0" * 64]),
    "source.subfolder": (["", "backend", "a/b"], ["/a", "..", "a/../b"]),
    "error_pages": (["", "app/errors", "packages/a/b/"], ["errors", "/etc", "shared/x", "app/../x", "app", "app/a b"]),
    "maintenance.allow.*": (["192.0.2.1", "2001:db8::/32"], ["all", "192.0.2.1/24", ""]),
    "maintenance.retry_after": ([1, 300], [0, -1]),
    "client_max_body_size": (["0", "16m", "1G", 0, 100], ["16 m", "16mb", "-1", "", "1.5m"]),
}


def test_every_rule_has_examples():
    assert set(RULES) == set(table.RULES)


@pytest.mark.parametrize("rule", RULES)
def test_a_rule_accepts_valid_and_refuses_invalid_values(rule):
    check = table.RULES[rule]
    good, bad = RULES[rule]
    assert [value for value in good if check(value)] == []
    assert [value for value in bad if not check(value)] == []


@pytest.mark.parametrize(
    "name",
    [
        "root",
        "nginx",
        "supervisor",
        "default",
        "letsencrypt",
        "fail2ban",
        "sites-uv",
        "Shop",
        "9a",
        "a-b",
        "a" * 31,
        "../x",
        "",
    ],
)
def test_an_unsafe_or_colliding_identifier_is_refused(name):
    assert identifier(name)


@pytest.mark.parametrize(
    ("text", "bad"),
    [
        ("flask==3.1 --hash=sha256:aa\n", False),
        ("# made by uv\nflask==3.1 \\\n    --hash=sha256:aa \\\n    --hash=sha256:bb\n    # via app\n", False),
        ("--index-url https://pypi.example/simple\n\nflask==3.1 ; python_version < '3.13' --hash=sha256:aa\n", False),
        ("", False),
        ("flask==3.1\n", True),
        ("flask==3.1 --hash=sha256:aa\nblinker==1.9\n", True),
        ("flask==3.1 # --hash=sha256:aa\n", True),
        ("-e .\n", True),
    ],
)
def test_a_lock_without_hashes_is_detected(tmp_path, text, bad):
    (tmp_path / "requirements.txt").write_text(text)
    page = CheckedConfig({"sites": {}}, DataLoader(), {}, {})
    check_folder(page, "shop", {"requirements": "requirements.txt"}, tmp_path)
    assert bool(page.errors) is bad


# --- Complete runs of Ansible --------------------------------------------------------------------------------------


@pytest.fixture(scope="module")
def bad(tmp_path_factory) -> str:
    """One run with an almost entirely invalid site config, at the highest verbosity."""
    folder = tmp_path_factory.mktemp("bad")
    (folder / "loose").mkdir()
    (folder / "loose/requirements.txt").write_text("flask==3.1\n")
    (folder / "empty").mkdir()
    (folder / "uv").mkdir()
    (folder / "uv/uv.lock").write_text("version = 1\n")
    pair = make("other.example.com")
    ended = make("other.example.com", begins=timedelta(-9), ends=timedelta(-1))
    hall = {
        "server_names": ["h.example.com", "192.0.2.8"],
        "http_port": 8094,
        "https_port": 8494,
        "tls": {"mode": "selfsigned", "client_ca": pair.pem},
    }
    hidden = {"env": {"TOKEN": SECRET, "DB": f"postgres://u:{SECRET}@h/"}}
    page = {
        "site_defaults": {"worker_clas": SECRET, "env": {"SHARED": SECRET}, "threads": "auto"},
        "sites": {
            "typo": GOOD
            | hidden
            | {
                "server_names": ["typo.example.com"],
                "server_name": [SECRET],
                "healt": {},
                "certfile": SECRET,
                "health": {"pth": SECRET, "status": "200"},
                "xyzzy": SECRET,
            },
            "types": hidden
            | {
                "server_names": SECRET,
                "source": SECRET,
                "preload": "no",
                "timeout": SECRET,
                "env": [SECRET],
                "workers": SECRET,
                "log_level": SECRET,
                "bind": [SECRET],
                "aliases": {"static": "app/static", "/x/": "../" + SECRET},
                "user": "root",
                "keepalive": 1,
            },
            "missing": hidden,
            "empty": None,
            "text": SECRET,
            "Bad-Name": GOOD | {"server_names": ["b.example.com"], "http_port": 8001},
            "nginx": GOOD | {"server_names": ["n.example.com"]},
            "busy": GOOD
            | {
                "server_names": ["busy.example.com"],
                "processes": {
                    "green": {"command": "true"},
                    "queue": {"command": "echo '" + SECRET, "count": "2", "stop_signal": SECRET, "hosts": [SECRET]},
                    "idle": {"comand": SECRET},
                    "text": SECRET,
                    "both": {"command": "true", "hosts": ["one"]},
                },
                "cron": {
                    "both": {"command": "true", "schedule": "@daily"},
                    "late": {"command": "true", "schedule": f"61 * * * {SECRET}"},
                    "never": {"command": "true"},
                },
            },
            "nulls": GOOD | {"server_names": ["nulls.example.com"], "workers": None, "env": {"A": None, "B-C": SECRET}},
            "vars": GOOD
            | {
                "server_names": ["v.example.com"],
                "env": {
                    "A": "{{ vault_sites.shop }}" + SECRET,
                    "B": "{{ known.nothing }}",
                    "C": "{{ '" + SECRET + "' | from_json }}",
                    "D": "{{ known.it",
                },
            },
            "clash": GOOD
            | {
                "server_names": ["Good.example.com", "c.example.com", "c.example.com"],
                "user": "first",
                "root": "/srv/good/inside",
                "bind": ["0.0.0.0:5000"],
            },
            "good": GOOD | hidden | {"user": "first", "bind": ["127.0.0.1:5000", "127.0.0.1:80"]},
            "elsewhere": GOOD | {"server_names": ["good.example.com"], "http_port": 8080},
            "nowhere": {"server_names": ["nowhere.example.com"], "source": {"path": "no/such/folder"}},
            "lockless": {"server_names": ["l.example.com"], "source": {"path": str(folder / "empty")}},
            "uv": {
                "server_names": ["uv.example.com"],
                "source": {"path": str(folder / "uv")},
                "requirements": "uv.lock",
                "wsgi": True,
            },
            "unhashed": {"server_names": ["u.example.com"], "source": {"path": str(folder / "loose")}},
            "leaking": {"server_names": ["k.example.com"], "source": {"path": str(folder)}},
            "tls": GOOD | {"server_names": ["t.example.com"], "gunicorn": {"certfile": "/etc/x.pem"}},
            "other": GOOD
            | {
                "server_names": ["o.example.com"],
                "server": "uwsgi",
                "worker_class": "gevent",
                "workers_max": 2,
                "gunicorn": {"certfile": "/etc/x.pem", "keyfile": "/etc/x.key"},
                "workers_min": 2,
                "uwsgi": {"form": "release"},
            },
            "telling": GOOD
            | {
                "server_names": ["l.example.com"],
                "server": "uwsgi",
                "bind": ["127.0.0.1:9302"],
                "uwsgi": {"stats": "127.0.0.1:9302"},
            },
            "early": GOOD | {"server_names": ["g.example.com"], "worker_class": "gevent", "preload": True},
            "going": GOOD | {"server_names": ["h.example.com"], "worker_class": "tornado", "max_requests": 9},
            "few": GOOD | {"server_names": ["i.example.com"], "workers_max": 8, "workers_min": 4},
            "entrances": GOOD | {"server_names": ["j.example.com"], "workers_min": 1, "bind": ["127.0.0.1:9301"]},
            "certless": GOOD | {"server_names": ["t1.example.com"], "tls": {"mode": "provided", "key": SECRET}},
            "locked": GOOD
            | {
                "server_names": ["t2.example.com"],
                "tls": {"mode": "provided", "certificate": pair.pem, "key": SECRET + pair.locked_key},
                "https_port": 80,
            },
            "needless": GOOD
            | {"server_names": ["t3.example.com"], "tls": {"key": SECRET, "client_ca": SECRET}, "https_port": 80},
            "asking": GOOD
            | {
                "server_names": ["*.t9.example.com", "t9.example.com"],
                "http_port": 8080,
                "tls": {"mode": "acme", "key": SECRET, "acme": {"mail": "x"}},
            },
            "numbers": GOOD | {"server_names": ["192.0.2.9"], "https_port": 9443, "tls": {"mode": "acme"}},
            "lost": GOOD | {"server_names": ["t8.example.com"], "tls": {"mode": "selfsigned", "client_ca": SECRET}},
            "unnamed": GOOD
            | {
                "server_names": ["t4.example.com", "*.t4.example.com", "192.0.2.4"],
                "canonical_name": "t5.example.com",
                "tls": {"mode": "selfsigned", "hsts": "long"},
                "gunicorn": {"ca_certs": "/etc/ca.pem"},
            },
            "wild": GOOD
            | {
                "server_names": ["*.t6.example.com", "192.0.2.6"],
                "canonical_name": "*.t6.example.com",
                "tls": {"mode": "selfsigned"},
            },
            "twice": GOOD | {"server_names": ["t3.example.com", "t4.example.com"], "http_port": 81} | SELFSIGNED,
            "crossed": GOOD | {"server_names": ["t7.example.com"], "http_port": 443},
            "front": GOOD
            | {
                "server_names": ["*.f.example.com"],
                "upstream": {"servers": ["app1:8443", "192.0.2.1:1", "192.0.2.1:1"]},
                "bind": ["0.0.0.0:5009"],
                "env": {"A": SECRET},
            },
            "fronted": {
                "server_names": ["f2.example.com"],
                "upstream": {"servers": ["192.0.2.1:1"], "ca": SECRET, "name": "*.x"},
            },
            "late": {"server_names": ["f3.example.com"], "upstream": {"servers": ["192.0.2.1:1"], "ca": ended.pem}},
            "two": {"server_names": ["two.example.com"], "source": {"path": "app", "git": f"https://u:{SECRET}@h/x"}},
            "unversioned": {
                "server_names": ["v1.example.com"],
                "source": {"git": f"https://u:{SECRET}@h/x", "key": f"/{SECRET}", "sha256": "0" * 64},
            },
            "numbered": {
                "server_names": ["v2.example.com"],
                "source": {"git": f"https://u:{SECRET}@h/x", "version": 1.1},
                "packages": SECRET,
            },
            "strange": {"server_names": ["v3.example.com"], "source": {"git": f"ext::{SECRET}", "version": "1"}},
            "plain": {"server_names": ["v6.example.com"], "source": {"git": "http://h/x", "version": "v1"}},
            "plain_git": {"server_names": ["v7.example.com"], "source": {"git": "git://h/x", "version": "a" * 39}},
            "whole": {"server_names": ["v8.example.com"], "source": {"git": "git://h/x", "version": "a" * 40}},
            "unhashed_archive": {"server_names": ["v4.example.com"], "source": {"archive": f"{SECRET}.zip"}},
            "foldered": {"server_names": ["v5.example.com"], "source": {"path": "app", "subfolder": "x"}},
            "doors": GOOD
            | {
                "server_names": ["d.example.com"],
                "basic_auth": {"anna": SECRET},
                "micro_cache": {"seconds": 5},
                "proxy_protocol": True,
                "aliases": {"/static/": "app/static"},
                "locations": {
                    "/": {},
                    "live": {"stream": "yes"},
                    "/x/": {"timeout": 5, "limits": {"requests": SECRET, "bursts": 1}, "basic_auth": {"b": SECRET}},
                    "/y/": SECRET,
                    "/z/": {"stream": True, "micro_cache": {"seconds": 5, "size": "1m", "secs": 1}},
                    "/static/": {"stream": True},
                    "/static/deep/": {"allow": [SECRET]},
                },
                "redirects": {"/a": "/a", "/b/": "/b/c/", "/x/": "/z"},
            },
            "owner": GOOD
            | {
                "server_names": ["o.example.com"],
                "http_port": 8090,
                "aliases": {"/blog/static/": "app/static"},
                "allow": ["192.0.2.0/24"],
            },
            "mounted": GOOD
            | {
                "server_names": ["o.example.com", "o2.example.com"],
                "http_port": 8090,
                "path": "/blog",
                "trusted_balancers": ["10.0.0.1"],
                "deny": ["192.0.2.1"],
                "locations": {
                    "/admin/": {"client_verify": "required"},
                    "/a": {"deny": []},
                    "/b": {"deny": [], "allow": []},
                },
            }
            | SELFSIGNED,
            "mutual": GOOD
            | {
                "server_names": ["m.example.com"],
                "http_port": 8092,
                "tls": {"mode": "selfsigned", "client_ca": pair.pem, "redirect": False},
                "trusted_balancers": ["10.0.0.1"],
                "locations": {"/a/": {"client_verify": SECRET}},
                "micro_cache": {"seconds": 5},
            },
            "proxied": GOOD
            | {
                "server_names": ["p.example.com"],
                "http_port": 8093,
                "tls": {"mode": "selfsigned", "http3": True},
                "proxy_protocol": True,
                "trusted_balancers": ["10.0.0.1"],
            },
            "hall": GOOD | hall,
            "room": GOOD | hall | {"path": "/room", "locations": {"/x": {"client_verify": "optional"}}},
            "wandering": GOOD | {"server_names": ["w.example.com"], "http_port": 8091, "path": "/a"},
            "straying": GOOD | {"server_names": ["w.example.com"], "http_port": 8091, "path": "/b"},
            "gone": {"state": "absent"},
        },
        "known": {"it": SECRET},
    }
    return preflight(
        write_inventory(folder, page, {"one": {}, "two": {}}),
        "-vvvv",
        "--diff",
        "-e",
        "site=goood",
        "-e",
        "version=v1",
        check=False,
    )


@pytest.mark.parametrize(
    "line",
    [
        "typo.server_name: is not a site key; did you mean `server_names`?",
        "typo.healt: is not a site key; did you mean `health`?",
        "typo.certfile: is not a site key; did you mean `gunicorn.certfile`?",
        "typo.health.pth: is not a key of `health`; did you mean `health.path`?",
        "typo.xyzzy: is not a site key; roles/site/defaults/main.yml lists them all",
        "typo.health.status: must be a whole number; write it without quotes",
        "site_defaults.worker_clas: is not a site key; did you mean `worker_class`?",
        "types.server_names: must be a list",
        "types.source: must hold `name: value` pairs",
        "types.preload: must be true or false",
        "types.timeout: must be a whole number",
        "types.env: must hold",
        "types.workers: use auto",
        "types.log_level: must be one of: debug, info, warning, error, critical",
        "types.bind[0]: give",
        "types.aliases.static: begin and end it with /",
        "types.aliases./x/: begin it with app/, packages/ or shared/",
        "types.user: is a user of the system",
        "types.keepalive: give at least 2",
        "missing.server_names: is missing",
        "missing.source: is missing; give one of path (such as app), git or archive",
        "other.uwsgi.form: is not a key of `uwsgi`; did you mean `uwsgi.from`?",
        "other.worker_class: is a class of gunicorn; with server: uwsgi use gthread",
        "other.gunicorn.certfile: is a key of gunicorn, and uWSGI would use no TLS",
        "other.workers_min: must be less than the workers there can be",
        "early.preload: imports the app before gevent has patched Python",
        "going.max_requests: stops workers, and a tornado worker drops its requests when it stops",
        "telling.uwsgi.stats: takes a port that telling.bind takes too",
        "few.workers_min: must be less than the workers there can be",
        "entrances.workers_min: follows the connections that wait at nginx's socket, and those to bind are not counted",
        "certless.tls.key: is no file on this machine",
        "locked.tls.key: has a passphrase, which nginx cannot ask for at boot; remove it: openssl pkey",
        "locked.tls.certificate: is not for t2.example.com, only for other.example.com; get one",
        "locked.https_port: is the http_port of typo; http and https need a port each",
        "needless.tls.key: has no effect with this mode; set mode: provided",
        "needless.tls.client_ca: needs https; give tls a mode",
        "asking.tls.acme.mail: is not a key of `tls.acme`; did you mean `tls.acme.email`?",
        "asking.tls.key: has no effect with this mode; set mode: provided",
        "asking.server_names[0]: is a wildcard, which tls.mode acme cannot prove; name the hosts",
        "asking.http_port: must be 80 for tls.mode acme",
        "numbers.server_names: holds addresses alone, and tls.mode acme needs a name",
        "lost.tls.client_ca: is no file on this machine",
        "unnamed.canonical_name: is none of server_names",
        "unnamed.tls.hsts: must be a whole number",
        "unnamed.gunicorn.certfile: is missing; ca_certs does nothing without it",
        "wild.canonical_name: is a wildcard, to which no client can be redirected",
        "wild.server_names[1]: is an address, and unnamed has one on this https_port",
        "twice.server_names[1]: is also a name of unnamed",
        "crossed.http_port: is the https_port of certless; http and https need a port each",
        "front.source.path: is a key for the hosts that run the server; leave out it or upstream.servers",
        "front.bind: is a key for the hosts that run the server",
        "front.env: is a key for the hosts that run the server",
        "front.upstream.servers[0]: holds a name, and without an answer from DNS nginx would not start",
        "front.upstream.servers[2]: is there twice",
        "front.upstream.name: is missing; the first of server_names is no host name",
        "front.upstream.ca: is missing; give the PEM file",
        "fronted.upstream.name: give the host name in the certificate",
        "fronted.upstream.ca: is no file on this machine",
        "late.upstream.ca: has expired",
        "two.source: has path and git; give one of them",
        "unversioned.source.version: is missing; give the tag, branch or commit",
        "unversioned.source.key: is no file on this machine",
        "unversioned.source.sha256: belongs to a source of archive",
        "numbered.source.version: must be a text; put it in quotes, or 1.10 becomes 1.1",
        "strange.source.git: give a URL",
        "plain.source.version: must be the full hash of a commit, since source.git comes over http or git",
        "plain_git.source.version: must be the full hash of a commit",
        "unhashed_archive.source.sha256: is missing; give what `sha256sum` says",
        "unhashed_archive.source.archive: is no file on this machine",
        "foldered.source.subfolder: belongs to git or archive",
        "numbered.packages: must be one of: index, wheelhouse",
        "-e version=…: only a site whose source is in git has versions",
        "empty: has no settings",
        "text: must hold",
        "Bad-Name: as the name of a site, use small letters",
        "nginx: is taken by the system",
        "nulls.workers: is empty",
        "nulls.env.A: must be one value",
        "nulls.env.B-C: is no name for a variable",
        "busy.processes.green: is the name of a slot",
        "busy.processes.queue.command: a quotation mark is not closed",
        "busy.processes.queue.count: must be a whole number",
        "busy.processes.queue.stop_signal: must be one of: TERM, INT",
        "busy.processes.queue.hosts[0]: is no host of this site; there are: one, two",
        "busy.processes.idle.comand: is not a key of `processes.*`; did you mean `processes.*.command`?",
        "busy.processes.idle.command: is missing",
        "busy.processes.text: must hold `name: value` pairs",
        "busy.cron.both: is also the name of one of `processes`",
        "busy.cron.late.schedule: the minute must be from 0 to 59",
        "busy.cron.never.schedule: is missing",
        "vars.env.A: uses the variable `vault_sites`, which is not defined",
        "vars.env.B: asks a variable for `nothing`",
        "vars.env.C: cannot be evaluated",
        "vars.env.D: cannot be evaluated",
        "good.server_names[0]: is also a name of clash",
        "clash.server_names[2]: is there twice",
        "good.user: is also that of clash",
        "clash.root: lies inside that of good",
        "good.bind[0]: takes a port that clash.bind takes too",
        "good.bind[1]: takes the port of nginx",
        "nowhere.source.path: is no folder on this machine",
        "lockless.requirements: requirements.txt is not in the source. List the packages in requirements.in, then",
        "uv.requirements: uv.lock needs its pyproject.toml beside it; put it into the source. Make it with: uv",
        "uv.wsgi: must be a text; put it in quotes",
        "unhashed.requirements: requirements.txt, line 1 has no hash for flask==3.1; lock with hashes. Rename",
        "leaking.source.path: holds your inventory",
        "tls.gunicorn.keyfile: is missing",
        "doors.basic_auth.anna: is no hash of a password; make one with `openssl passwd -6`",
        "doors.trusted_balancers: is missing; proxy_protocol is accepted from these addresses alone",
        "doors.proxy_protocol: differs from that of typo on the same port",
        "doors.locations./: is the whole site; set these keys of the site itself",
        "doors.locations.live: begin it with /",
        "doors.locations.live.stream: must be true or false",
        "doors.locations./x/.timeout: is no key of a path; there are: client_max_body_size, proxy_timeout, allow",
        "doors.locations./x/.limits.requests: give requests a second or a minute",
        "doors.locations./x/.limits.bursts: is not a key of `limits`; did you mean `limits.burst`?",
        "doors.locations./x/.basic_auth.b: is no hash of a password",
        "doors.locations./y/: must hold",
        "doors.micro_cache: caches nothing behind basic_auth",
        "doors.locations./z/.micro_cache: caches no stream",
        "doors.locations./z/.micro_cache.size: is a key of the whole site",
        "doors.locations./z/.micro_cache.secs: is not a key of `micro_cache`; did you mean `micro_cache.seconds`?",
        "mutual.micro_cache: caches nothing where client_verify is required",
        "doors.locations./static/: is an alias, which serves files and has no stream",
        "doors.locations./static/deep/: lies below the alias /static/",
        r"doors.locations./static/deep/.allow[0]: give an address or a network",
        "doors.redirects./a: leads to itself",
        "doors.redirects./b/: leads to itself",
        "doors.redirects./x/: is also one of locations",
        "mounted.server_names: are not all names of owner",
        "mounted.trusted_balancers: differs from that of owner, which has path / there; set the same here",
        "mounted.allow: of owner does not apply where deny is set again; set it here too",
        "mounted.locations./a.allow: of owner does not apply where deny",
        "mounted.tls.mode: differs from that of owner",
        "room.locations./x.client_verify: is a key of hall, which has path / there",
        "mounted.locations./admin/.client_verify: checks nothing without tls.client_ca",
        "mutual.tls.client_ca: sees no certificate behind a balancer that speaks HTTP",
        "mutual.tls.redirect: allows plain http without a certificate",
        "mutual.locations./a/.client_verify: must be one of: required, optional",
        "proxied.tls.http3: uses UDP, which no balancer forwards",
        "proxied.proxy_protocol: differs from that of certless on the same port",
        "owner.aliases./blog/static/: is below the path of mounted; set it there",
        "straying.path: shares a name with wandering; one of the sites of a name needs path /",
        "-e site=…: there is no such site on these hosts; did you mean good?",
    ],
)
def test_the_message_names_site_key_and_remedy(bad, line):
    assert re.search(rf"^\s+{re.escape(line)}", bad, re.MULTILINE), bad


def test_a_valid_site_config_passes(bad):
    lines = re.findall(
        r"^  +(\S+?|-e \w+=…): ", bad[bad.index("The site config has ") : bad.index("Origin:")], re.MULTILINE
    )
    assert not [line for line in lines if line.startswith(("gone", "elsewhere", "site_defaults.threads", "good.env"))]
    assert [line for line in lines if line.startswith(("hall", "room"))] == ["room.locations./x.client_verify"]
    assert len(lines) == len(set(lines)), sorted(lines)
    assert int(re.search(r"The site config has (\d+) errors", bad)[1]) == len(lines)


def test_no_value_is_printed_even_with_vvvv(bad):
    assert SECRET not in bad and "PRIVATE" not in bad


def test_a_git_source_passes_and_its_version_can_be_overridden(tmp_path):
    shop = {"server_names": ["s.example.com"], "source": {"git": "https://git.example.com/shop.git", "version": "v1"}}
    archive = {"archive": "https://u:p@example.com/a.tar.gz", "sha256": "0" * 64, "subfolder": "backend"}
    page = {"sites": {"shop": shop, "mill": {"server_names": ["m.example.com"], "source": archive}}, "version": 7}
    inventory = write_inventory(tmp_path, page)
    preflight(inventory)
    preflight(inventory, "-e", "site=shop")
    preflight(inventory, "-e", "site=shop", "-e", "version=v1.3")
    assert "-e version=…: applies to one site; name it" in preflight(inventory, "-e", "version=v1", check=False)
    refused = preflight(inventory, "-e", "site=mill", "-e", "version=v1", check=False)
    assert "-e version=…: only a site whose source is in git has versions" in refused
    assert "-e version=…: give the name" in preflight(inventory, "-e", "site=shop", "-e", "version=a:b", check=False)


def test_an_error_on_some_hosts_names_those_hosts(tmp_path):
    own = {"sites": {"shop": GOOD | {"timeout": "x"}}}
    output = preflight(write_inventory(tmp_path, {}, {"one": {}, "two": own, "three": own}), check=False)
    assert "shop.timeout: must be a whole number; write it without quotes (on two, three)" in output


@pytest.mark.parametrize(
    ("page", "says"),
    [
        ({"sites": ["shop"]}, "sites: must hold one entry for each site"),
        ({"sites": "{{ nix }}"}, "sites: uses the variable `nix`"),
    ],
)
def test_a_site_config_of_the_wrong_type_is_refused(tmp_path, page, says):
    assert says in preflight(write_inventory(tmp_path, page), check=False)


def test_an_empty_and_a_computed_site_config_are_accepted(tmp_path):
    hosts = {
        "none": {},
        "empty": {"sites": {}},
        "null": {"sites": None},
        "absent": {"sites": {"gone": {"state": "absent"}}},
        "computed": {"base": {"shop": GOOD}, "sites": "{{ base | combine({}) }}"},
        "other": {"sites": {"shop": GOOD | {"env": {"HOST": "{{ hostvars['computed'].base.shop.server_names[0] }}"}}}},
        "named": {
            "site_defaults": {"server_names": ["{{ site_name }}.example.com"], "source": {"path": "app"}},
            "sites": {"one": {}, "two": {"env": {"N": 5, "B": True}}},
        },
    }
    assert "failed=1" not in preflight(write_inventory(tmp_path, {}, hosts), "-e", "site=shop")


def test_a_folder_of_overrides_for_no_site_is_only_a_warning(tmp_path):
    for name in ("shop", "shopp"):
        (tmp_path / "overrides" / name).mkdir(parents=True)
    page = {"sites": {"shop": GOOD}, "operator_templates": str(tmp_path / "overrides")}
    output = " ".join(preflight(write_inventory(tmp_path / "inventory", page)).split())
    assert "overrides/shopp/ has no effect" in output
    assert "overrides/shop/ " not in output


@pytest.mark.parametrize(
    ("verb", "more", "says"),
    [
        (
            "rollback",
            ["-e", "site=shpo"],
            "there is no such site on these hosts; did you mean shop? There are: shop, blog",
        ),
        ("status", ["-e", "site=x"], "there is no such site on these hosts; There are: shop, blog"),
        ("restart", [], "-e site=…: is missing; name a site. There are: shop, blog"),
    ],
)
def test_a_single_site_playbook_checks_only_that_the_site_exists(tmp_path, verb, more, says):
    page = {"sites": {"shop": GOOD | {"workers": "many"}, "blog": {"server_name": "x"}}}
    output = run(f"playbooks/{verb}.yml", "-i", write_inventory(tmp_path, page), *more, check=False)
    assert says in output
    assert "workers" not in output


def test_the_production_example_requires_its_vault_and_then_passes(tmp_path):
    production = tmp_path / "production"
    shutil.copytree(PROJECT / "inventory/production", production, ignore=shutil.ignore_patterns(".secrets*"))
    shutil.copy(production / "hosts.yml", production / "hosts.bak")
    output = preflight(production, check=False)
    assert "handbook.env.SECRET_KEY: uses the variable `vault_sites`, which is not defined" in output
    vault = production / "group_vars/all/vault.yml"
    shutil.copy(vault.with_suffix(".yml.example"), vault)
    preflight(production)
    made = yaml.safe_load((production / ".secrets.yml").read_text())
    assert set(made) == {"wordbook"}


@pytest.mark.parametrize(("names", "chosen", "expected"), [("zyxa", "", "zyxa"), ("zya", "a", "a"), ("zy", "a", "")])
def test_sites_are_in_the_order_of_the_site_config(names: str, chosen: str, expected: str) -> None:
    task = yaml.safe_load((PROJECT / "playbooks/sites.yml").read_text())[0]["tasks"][0]
    read = {"hosts": {"web1": {"names": [*names]}}, "chosen": chosen}
    loop = evaluate(task["loop"].strip("{}\n "), {"inventory_hostname": "web1", "preflight_config": read})
    assert list(loop) == [*expected]


def test_hosts_run_the_steps_in_parallel() -> None:
    """An `apply` of an include that differs between hosts would make Ansible run them one after the other."""
    for path in PROJECT.glob("roles/*/tasks/*.yml"):
        tasks = yaml.safe_load(path.read_text()) or []
        applied = [task.get("ansible.builtin.include_tasks") for task in tasks]
        assert not [one for one in applied if isinstance(one, dict) and "{{" in str(one.get("apply"))], path
