"""Attacks over https, and what of them reaches the app behind nginx and gunicorn."""

from __future__ import annotations

from collections import Counter

import hostile
import pytest
from attackers import NAME, VERSIONS, ask, environ_of, head, over_http2, say, status
from support import SITES, Machine, Site, wait_until

SECURITY = [
    "content-security-policy", "permissions-policy", "referrer-policy", "strict-transport-security",
    "x-content-type-options", "x-frame-options",
]  # fmt: skip


@pytest.fixture
def target(machine: Machine) -> Site:
    """The site that is attacked."""
    return Site(machine, "target", SITES["target"])


@pytest.mark.parametrize("version", VERSIONS)
def test_no_forged_header_is_believed(target: Site, version: str) -> None:
    client = target.get("/environ").client
    answer = ask(target.machine, version=version, headers=hostile.FORGED)
    known = environ_of(answer)
    assert known["REMOTE_ADDR"] == known["HTTP_X_FORWARDED_FOR"] == known["HTTP_X_REAL_IP"] == client
    assert known["wsgi.url_scheme"] == known["HTTP_X_FORWARDED_PROTO"] == "https"
    assert known["HTTP_HOST"] == known["HTTP_X_FORWARDED_HOST"] == NAME and "HTTP_FORWARDED" not in known
    assert known["HTTP_X_REQUEST_ID"] == dict(head(answer))["x-request-id"] != "forged"
    assert {key for key, value in known.items() if "203.0.113.7" in value} == {"HTTP_X_CLIENT_FORWARDED_FOR"}
    assert "evil.test" not in answer


def test_no_request_is_parsed_as_two(target: Site) -> None:
    machine, workers = target.machine, target.workers
    before = set(machine.output("cat /var/log/target/server.log").splitlines())
    for name, shape in hostile.SHAPES.items():
        got = say(machine, f"POST /first HTTP/1.1\r\nHost: {NAME}\r\nConnection: close\r\n{shape}")
        assert status(got) in (200, 400, 413, 501), f"{name}: {got}"
    for name, shape in hostile.over_http2(NAME).items():
        with over_http2(machine) as conversation:
            got = conversation.ask(*shape)
        print(status(got), name)
        assert status(got) in (0, 200, 400, 405, 413, 414, 421, 501), f"{name}: {got}"
        assert "6.6.6.6" not in got
    assert machine.host.run("grep -rF smuggled /srv/*/shared/data /var/log/*/server.log").stdout == ""
    assert set(machine.output("cat /var/log/target/server.log").splitlines()) == before, "gunicorn warns of none"
    assert target.workers == workers and target.is_healthy()


LEAKS = {
    # Files that the app may read, a file of another site, and a file that every user may read.
    "own": "/srv/target/shared/data/orders",
    "environment": "/etc/target/environment",
    "code": "/srv/target/live/release/app/wsgi.py",
    "neighbour": "/srv/shop/shared/media/tool.py",
    "everybodys": "/etc/passwd",
    "folder": "/srv/target/shared/data",
}
AROUND = [
    "/static../wsgi.py", "/static/../wsgi.py", "/static/%2e%2e/wsgi.py", "/static/..%2fwsgi.py",
    "/static%2f..%2fwsgi.py", "/static//..//wsgi.py", "/static/..%5cwsgi.py", "/static/..;/wsgi.py",
    "/static/%252e%252e/wsgi.py", "/static/%2e%2e%2f%2e%2e%2f%2e%2e%2f%2e%2e%2f%2e%2e%2f%2e%2e%2f%2e%2e%2fetc/passwd",
    "/media../data/orders", "/media/..%2fdata/orders", "/media/%2e%2e/%2e%2e/%2e%2e/%2e%2e/etc/passwd",
    "/media/.env", "/media/%2eenv", "/media/x/..;/.env", "/media/folder/orders", "/media/",
    *(f"/media/{name}" for name in LEAKS),
]  # fmt: skip


@pytest.fixture
def uploads(target: Site) -> Site:
    """Files and links that an attacker in the app may put beside the uploads."""
    lines = ["cd /srv/target/shared/media", "echo 'print(1)  # a secret' > tool.py", "echo a secret > .env"]
    lines += [f"ln -sfn {place} {name}" for name, place in LEAKS.items()]
    target.machine.output("runuser -u target -- sh -c %s", " && ".join(lines))
    target.machine.output("runuser -u target -- sh -c 'echo a secret >> /srv/target/shared/data/orders'")
    target.machine.output("install -o shop -g www-data -m 0644 /etc/hostname /srv/shop/shared/media/tool.py")
    return target


@pytest.mark.parametrize("version", ["1.1", "2"])
def test_no_path_and_no_link_leads_out_of_a_folder(uploads: Site, version: str) -> None:
    machine = uploads.machine
    secrets = ["a secret", "root:x:", "def store", "SITE_", machine.output("cat /etc/hostname")]
    for path in AROUND:
        answer = ask(machine, path, version)
        # Some of these paths reach the app, whose response names its site.
        assert status(answer) in (200, 400, 403, 404), path
        body = answer.partition("\r\n\r\n")[2]
        assert not [word for word in secrets if word in body], path
        assert status(answer) != 200 or '"site": "target"' in body, path


@pytest.mark.parametrize("version", VERSIONS)
def test_an_uploaded_script_is_served_as_a_plain_file(uploads: Site, version: str) -> None:
    answer = ask(uploads.machine, "/media/tool.py", version)
    assert status(answer) == 200 and answer.endswith("print(1)  # a secret\n")
    assert dict(head(answer))["content-type"] == "application/octet-stream"
    assert "sandbox" in dict(head(answer))["content-security-policy"]
    assert status(ask(uploads.machine, "/media/tool.py/x", version)) == 404


PAGES = [
    ("GET", "/", 200), ("HEAD", "/", 200), ("GET", "/static/shop.css", 200), ("GET", "/static/none", 404),
    ("GET", "/static/", 403), ("GET", "/media/.env", 404), ("POST", "/static/shop.css", 405), ("TRACE", "/", 405),
    ("GET", "/%00", 400),
]  # fmt: skip


@pytest.mark.parametrize("version", VERSIONS)
def test_each_header_occurs_once_and_none_reveals_versions(target: Site, version: str) -> None:
    for method, path, expected in PAGES:
        answer = ask(target.machine, path, version, method=method)
        assert status(answer) == expected
        seen = Counter(name for name, _ in head(answer))
        # Several lines of one list are allowed.
        assert [name for name, times in seen.items() if times != 1 and name != "vary"] == [], path
        assert [name for name in SECURITY if name not in seen] == [], path
        assert dict(head(answer))["server"] == "nginx"
        assert not {"x-powered-by", "via", "x-aspnet-version", "x-runtime"} & seen.keys()
        assert "nginx/" not in answer and "gunicorn" not in answer


@pytest.mark.breaks
def test_rapidly_reset_streams_delay_no_other_client(target: Site) -> None:
    """Each of them costs the attacker next to nothing."""
    workers, statuses, resets = target.workers, [], 0
    with over_http2(target.machine) as conversation:
        try:
            for _ in range(3000):
                stream = conversation.begin(hostile.pseudo("/environ", NAME))
                conversation.lines.reset_stream(stream)
                conversation.send()
                resets += 1
                if resets % 100 == 0:
                    statuses.append(target.get("/environ").status)
        except ConnectionError:
            print(f"connection closed after {resets}")
    assert set(statuses) == {200}
    wait_until(target.is_healthy, "the site is healthy")
    assert target.workers == workers
