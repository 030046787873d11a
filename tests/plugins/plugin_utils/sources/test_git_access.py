"""Access to git servers: logins, keys, redirects and errors."""

from __future__ import annotations

import http.server
import io
import os
import socket
import stat
import subprocess
import threading
import time
from collections.abc import Iterator
from pathlib import Path

import pytest
from repositories import CANARY, Server, Work, member, tarball

from ansible_collections.wsgi.sites.plugins.plugin_utils.sources import (
    InputError,
    archive_fetch,
    git,
    git_process,
    git_urls,
    urls,
)


@pytest.mark.parametrize(("own", "other", "whole"), [
    ("https://u:p@h/a/shop.git", "../lib.git", "https://u:p@h/a/lib.git"),
    ("https://u:p@h/a/shop.git", "https://h/lib.git", "https://u:p@h/lib.git"),
    ("https://u:p@h/a/shop.git", "https://other/lib.git", "https://other/lib.git"),
    ("https://u:p@h/a/shop.git", "http://h/lib.git", "http://h/lib.git"),
    ("git@h:a/shop.git", "../lib.git", "git@h:a/lib.git"),
])  # fmt: skip
def test_a_login_is_sent_to_its_own_server_only(own: str, other: str, whole: str) -> None:
    assert git_urls.relative_to(own, other) == whole


def test_a_login_in_the_url_is_used_and_never_shown(work: Work, fetch, server, tmp_path: Path, monkeypatch) -> None:
    host, _ = server
    for variable in ("http_proxy", "HTTP_PROXY", "all_proxy", "ALL_PROXY"):
        monkeypatch.delenv(variable, raising=False)
    work.git("clone", "-q", "--bare", ".", str(tmp_path / "served/shop.git"))
    subprocess.run(["git", "update-server-info"], cwd=tmp_path / "served/shop.git", check=True)
    arguments: list[str] = []
    real = subprocess.Popen
    monkeypatch.setattr(
        git_process.subprocess, "Popen", lambda command, **k: arguments.extend(command) or real(command, **k)
    )
    login = f"me:{CANARY}%2F%40"
    commit = work.git("rev-parse", "v1.0^{}")
    folder, said = fetch(git=f"http://{login}@{host}/shop.git", version=commit)
    assert (folder / "wsgi.py").read_text() == "app = 1\n"
    assert said == f"git http://{host}/shop.git ({commit})"
    assert CANARY not in " ".join(arguments)
    assert not [
        path for path in (tmp_path / "cache").rglob("*") if path.is_file() and CANARY.encode() in path.read_bytes()
    ]
    with pytest.raises(InputError, match=r"source\.git: http://127.*: it wants another login") as error:
        fetch(git=f"http://me:{CANARY}-wrong@{host}/shop.git", version=commit)
    assert CANARY not in str(error.value)
    with pytest.raises(InputError, match="it wants another login"):
        fetch(git=f"http://{host}/shop.git", version=commit)
    with pytest.raises(InputError, match="there is no repository") as error:
        fetch(git=f"http://{login}@{host}/other.git", version=commit)
    assert CANARY not in str(error.value)


def test_an_unreachable_server_is_reported_without_the_login(fetch) -> None:
    with pytest.raises(InputError, match=r"http://127\.0\.0\.1:9/x\.git cannot be reached") as error:
        fetch(git=f"http://me:{CANARY}@127.0.0.1:9/x.git", version="0" * 40)
    assert CANARY not in str(error.value)


def test_a_silent_server_times_out(fetch, monkeypatch) -> None:
    monkeypatch.setattr(git_process, "PATIENCE", 1)

    with socket.create_server(("127.0.0.1", 0)) as silent:
        began = time.monotonic()
        with pytest.raises(InputError, match="took longer than"):
            fetch(git=f"http://127.0.0.1:{silent.getsockname()[1]}/x.git", version="0" * 40)
        assert time.monotonic() - began < 30


def test_the_given_ssh_key_is_the_only_one_offered_without_prompts(tmp_path: Path, monkeypatch) -> None:
    # The operator's settings give the route to a host; the key is that of the site.
    ssh = tmp_path / "bin/ssh"
    ssh.parent.mkdir()
    ssh.write_text("#!/bin/sh\necho 'hostname real.example.com\nproxyjump door\nidentityfile ~/.ssh/id_operator'\n")
    ssh.chmod(0o755)
    monkeypatch.setenv("PATH", f"{ssh.parent}:{os.environ['PATH']}")
    monkeypatch.setenv("GIT_SSH_COMMAND", "ssh -i operators_key")
    key = tmp_path / "a key"
    key.write_text("key")
    values = git.Repository("git@example.com:shop.git", key, tmp_path).environment()
    command = values["GIT_SSH_COMMAND"]
    assert f"-o IdentitiesOnly=yes -i '{key}'" in command
    assert command.startswith("ssh -F none -o hostname=real.example.com -o 'proxycommand=ssh -W")
    assert "operator" not in command
    assert "-o BatchMode=yes" in command
    assert "-o StrictHostKeyChecking=yes" in command
    assert (values["GIT_TERMINAL_PROMPT"], values["GIT_ASKPASS"]) == ("0", "/bin/false")


def test_a_missing_or_too_readable_key_is_reported(work: Work, fetch, tmp_path: Path) -> None:
    with pytest.raises(InputError, match=r"source\.key: there is no file .*none"):
        fetch(git=work.url, version="main", key="none")
    (tmp_path / "key").write_text("")
    (tmp_path / "key").chmod(0o644)
    with pytest.raises(InputError, match=r"source\.key: others can read it.*chmod 600"):
        fetch(git=work.url, version="main", key="key")


@pytest.mark.parametrize(("said", "remedy"), [
    ("No ED25519 host key is known for h.\nHost key verification failed.", "ssh-keyscan HOST"),
    ("git@h: Permission denied (publickey).\nfatal: Could not read from remote repository.", "a deploy key"),
    ("WARNING: UNPROTECTED PRIVATE KEY FILE!\nPermission denied (publickey).", "chmod 600"),
    ("fatal: could not read Username for 'https://h': terminal prompts disabled", "USER:TOKEN@"),
    ("remote: Repository not found.\nfatal: repository 'https://h/x/' not found", "there is no repository"),
    ("server certificate verification failed. CAfile: none", "update-ca-certificates"),
    ("fatal: unable to access 'https://h/': Could not resolve host: h", "check the URL and the network"),
])  # fmt: skip
def test_gits_errors_come_with_a_remedy(said: str, remedy: str) -> None:
    text = git_process.explain(f"{said}\nhttps://me:{CANARY}@h/shop.git", f"https://me:{CANARY}@h/shop.git")
    assert remedy in text
    assert CANARY not in text


@pytest.mark.parametrize(("url", "shown"), [
    (f"https://me:{CANARY}@h:8443/a/b.git?token={CANARY}#x", "https://h:8443/a/b.git"),
    (f"https://{CANARY}@h/a.zip", "https://h/a.zip"),
    (f"ssh://me:{CANARY}@h/b.git", "ssh://h/b.git"),
])  # fmt: skip
def test_a_url_is_shown_without_secrets(url: str, shown: str) -> None:
    assert urls.clean_url(url) == shown
    assert CANARY not in urls.masked(f"fatal: {url}: {CANARY}", url)


@pytest.fixture
def served(work: Work, server, tmp_path: Path, monkeypatch) -> Iterator[tuple[str, str, type[Server]]]:
    """A repository behind a login: URL, commit and the server's class."""
    host, handler = server
    for variable in ("http_proxy", "HTTP_PROXY", "all_proxy", "ALL_PROXY"):
        monkeypatch.delenv(variable, raising=False)
    work.git("clone", "-q", "--bare", ".", str(tmp_path / "served/shop.git"))
    subprocess.run(["git", "update-server-info"], cwd=tmp_path / "served/shop.git", check=True)
    return host, work.git("rev-parse", "HEAD"), handler


def test_a_cached_commit_is_available_only_to_the_login_that_fetched_it(served, fetch, tmp_path: Path) -> None:
    host, commit, handler = served
    owner = f"http://me:{CANARY}%2F%40@{host}/shop.git"
    fetch(git=owner, version=commit)
    asked = len(handler.seen)
    for login in ("you:wrong-but-long@", f"me:{CANARY}@", "me@", ""):
        with pytest.raises(InputError, match="it wants another login"):
            fetch(git=f"http://{login}{host}/shop.git", version=commit)
    assert len(handler.seen) > asked, "the server was asked"
    handler.seen.clear()
    assert (fetch(git=owner, version=commit, run="later")[0] / "wsgi.py").exists()
    assert not handler.seen, "the owner's cached commit needs no network"
    cache = tmp_path / "cache"
    assert stat.S_IMODE(cache.stat().st_mode) == 0o700
    for path in cache.rglob("*"):
        assert CANARY not in str(path)
        assert not path.is_file() or CANARY.encode() not in path.read_bytes()
        assert path.name != "FETCH_HEAD"


def test_two_keys_for_one_url_share_no_cache(tmp_path: Path) -> None:
    for name in ("one", "two"):
        (tmp_path / name).write_text(name)
    keys = [tmp_path / "one", tmp_path / "two", None]
    folders = {git.Repository("git@h:shop.git", key, tmp_path / "cache").folder for key in keys}
    assert len(folders) == 3
    before = git.Repository("git@h:shop.git", keys[0], tmp_path / "cache").folder
    (tmp_path / "one").write_text("another key in the same file")
    assert git.Repository("git@h:shop.git", keys[0], tmp_path / "cache").folder != before


def test_a_cache_shared_by_all_logins_is_removed(work: Work, fetch, tmp_path: Path) -> None:
    old = tmp_path / "cache/git" / ("0" * 32)
    (old / "repository").mkdir(parents=True)
    fetch(git=work.url, version="main")
    assert not old.exists()


def test_logins_that_change_with_each_run_do_not_fill_the_disk(work: Work, tmp_path: Path, monkeypatch) -> None:
    monkeypatch.setattr(git, "KEEP", 2)
    for number in range(4):
        git.Repository(f"file://ci:token{number}@{work.folder}", None, tmp_path / "cache").commit_of("main")
    assert len(list((tmp_path / "cache/git").iterdir())) == 2


def test_git_uses_no_login_and_no_setting_of_the_operator(served, fetch, tmp_path: Path, monkeypatch) -> None:
    """A submodule could name any repository that the operator can read."""
    host, commit, handler = served
    monkeypatch.setenv("HOME", str(tmp_path))
    login = f"{CANARY}%2F%40"
    (tmp_path / ".netrc").write_text(f"machine 127.0.0.1 login me password {CANARY}/@\n")
    (tmp_path / ".git-credentials").write_text(f"http://me:{login}@{host}\n")
    ran = tmp_path / "ran"
    (tmp_path / ".gitconfig").write_text(
        f"[credential]\n\thelper = store\n\thelper = !touch {ran}\n[core]\n\thooksPath = {tmp_path}\n"
        f"\tfsmonitor = touch {ran}\n\tsshCommand = touch {ran}\n[http]\n\textraHeader = X-Operator: {CANARY}\n"
    )
    monkeypatch.setenv("GIT_CONFIG_COUNT", "1")
    monkeypatch.setenv("GIT_CONFIG_KEY_0", f"url.http://me:{login}@{host}/.insteadOf")
    monkeypatch.setenv("GIT_CONFIG_VALUE_0", f"http://{host}/")
    monkeypatch.setenv("GIT_ASKPASS", "/bin/echo")
    with pytest.raises(InputError, match="it wants another login"):
        fetch(git=f"http://{host}/shop.git", version=commit)
    assert handler.seen
    assert not [line for line in handler.seen if "Basic" in line]
    assert not ran.exists()


@pytest.mark.parametrize("kind", ["git", "archive"])
def test_a_redirect_sends_no_login_to_another_server(served, fetch, tmp_path: Path, kind: str) -> None:
    host, commit, handler = served
    seen: list[str] = []

    class Elsewhere(http.server.BaseHTTPRequestHandler):
        def do_GET(self) -> None:
            seen.append(f"{self.path} {self.headers.get('Authorization', '')}")
            self.send_response(401)
            self.send_header("WWW-Authenticate", 'Basic realm="x"')
            self.end_headers()

        def log_message(self, *_: object) -> None:
            """Write no log."""

    with http.server.ThreadingHTTPServer(("127.0.0.1", 0), Elsewhere) as other:
        threading.Thread(target=other.serve_forever, daemon=True).start()
        handler.leads_to = f"http://127.0.0.1:{other.server_port}"
        url = f"http://me:{CANARY}%2F%40@{host}/away"
        with pytest.raises(InputError, match=r"another login|answers 401"):
            fetch(**({"git": url, "version": commit} if kind == "git" else {"archive": url, "sha256": "0" * 64}))
        other.shutdown()
    assert [line for line in handler.seen if "Basic" in line], "its own server gets it"
    assert seen
    assert not [line for line in seen if "Basic" in line]


def test_a_redirect_within_a_server_keeps_the_login(tmp_path: Path, fetch, server, monkeypatch) -> None:
    host, handler = server
    for variable in ("http_proxy", "HTTP_PROXY", "all_proxy", "ALL_PROXY"):
        monkeypatch.delenv(variable, raising=False)
    source = tarball(tmp_path / "served/a.tar.gz", (member("wsgi.py"), b"app = 1\n"))
    handler.leads_to = "/a.tar.gz?"
    folder, _ = fetch(archive=f"http://me:{CANARY}%2F%40@{host}/away", sha256=source["sha256"])
    assert (folder / "wsgi.py").exists()
    for url in ("file:///etc/passwd", "ftp://127.0.0.1/x"):
        handler.leads_to = url
        with pytest.raises(InputError, match="it leads to a URL without https"):
            fetch(archive=f"http://me:{CANARY}%2F%40@{host}/away", sha256="0" * 64, run=url[:4])


def test_a_redirect_from_https_to_http_is_refused(tmp_path: Path, monkeypatch) -> None:
    assert git.Repository("https://h/x", None, tmp_path).environment()["GIT_ALLOW_PROTOCOL"] == "https"

    def moved(url: str, **_: object) -> None:
        raise archive_fetch.HTTPError(url, 302, "Found", {"Location": "http://h/x"}, io.BytesIO())

    monkeypatch.setattr(archive_fetch, "open_url", moved)
    with pytest.raises(InputError, match="it leads to a URL without https"):
        archive_fetch._download("https://h/x", io.BytesIO())


@pytest.mark.parametrize("url", ["http://127.0.0.1:9/x.git", "git://127.0.0.1:9/x.git", "HTTP://127.0.0.1:9/x.git"])
def test_an_unauthenticated_protocol_needs_a_full_hash(fetch, url: str) -> None:
    for version in ("main", "a" * 39, "a" * 41):
        with pytest.raises(InputError, match=r"^source\.(version: .*give the full hash of a commit|git: give)"):
            fetch(git=url, version=version)
