"""Sources from git and archives: fetched once for all hosts, reproducible, bounded, without revealing secrets."""

from __future__ import annotations

import base64
import contextlib
import gzip
import hashlib
import http.server
import io
import json
import lzma
import os
import shutil
import socket
import stat
import subprocess
import tarfile
import threading
import time
import zipfile
from collections.abc import Callable, Iterator
from multiprocessing import get_context
from pathlib import Path

import pytest
from ansible_run import run, write_inventory
from nginx_rig import merged, role_variables

from ansible_collections.wsgi.sites.plugins.plugin_utils.places import CACHE
from ansible_collections.wsgi.sites.plugins.plugin_utils.releases.inputs import with_version
from ansible_collections.wsgi.sites.plugins.plugin_utils.releases.source_files import collect
from ansible_collections.wsgi.sites.plugins.plugin_utils.sources import (
    InputError,
    archive_fetch,
    archive_streams,
    archive_unpack,
    git,
    git_process,
    git_urls,
    limits,
    tree,
    urls,
)
from ansible_collections.wsgi.sites.plugins.plugin_utils.sources.cache import once
from ansible_collections.wsgi.sites.plugins.plugin_utils.sources.source import source_folder

CANARY = "canary-5ecret"
WHEN = 1_700_000_000


class Work:
    """A repository with commits."""

    def __init__(self, folder: Path) -> None:
        self.folder, self.url, self.now = folder, f"file://{folder}", WHEN
        folder.mkdir(parents=True)
        self.git("init", "-q", "-b", "main")

    def git(self, *arguments: str) -> str:
        """Run git there with a fixed author and time."""
        environment = {name: value for name, value in os.environ.items() if not name.startswith("GIT_")}
        environment |= {"GIT_CONFIG_GLOBAL": "/dev/null", "GIT_CONFIG_SYSTEM": "/dev/null", "HOME": "/nonexistent"}
        for who in ("AUTHOR", "COMMITTER"):
            environment |= {f"GIT_{who}_NAME": "a", f"GIT_{who}_EMAIL": "a@b", f"GIT_{who}_DATE": f"{self.now} +0000"}
        done = subprocess.run(
            ["git", "-c", "protocol.file.allow=always", *arguments],
            cwd=self.folder, env=environment, capture_output=True, text=True, check=True,
        )  # fmt: skip
        return done.stdout.strip()

    def commit(self, **files: str) -> str:
        """Write files (``__`` in a name is ``.``), and commit everything."""
        self.now += 100
        for name, content in files.items():
            path = self.folder / name.replace("__", ".").replace("_in_", "/")
            path.parent.mkdir(parents=True, exist_ok=True)
            path.write_text(content, encoding="utf-8")
        self.git("add", "-A")
        self.git("commit", "-q", "-m", "work", "--allow-empty")
        return self.git("rev-parse", "HEAD")


def hand_made(folder: Path, *entries: str) -> Path:
    """A raw git tree, without validation by git."""
    content = b""
    for entry in entries:
        head, _, name = entry.partition("\t")
        mode, _kind, object_id = head.split()
        content += f"{mode.lstrip('0')} {name}\0".encode() + bytes.fromhex(object_id)
    path = folder / "tree"
    path.write_bytes(content)
    return path


def written(path: Path, url: str | None, text: str = "") -> Path:
    """A file with this text, or a .gitmodules with this URL for every path of these tests."""
    if url:
        text = "".join(
            f'[submodule "{number}"]\n\tpath = {name}\n\turl = {url}\n'
            for number, name in enumerate(("../escape", "d/escape"))
        )
    path.write_text(text, encoding="utf-8")
    return path


@pytest.fixture
def work(tmp_path: Path) -> Work:
    """A repository with one commit, tagged v1.0."""
    made = Work(tmp_path / "shop")
    made.commit(wsgi__py="app = 1\n", requirements__txt="", backend_in_wsgi__py="app = 2\n")
    made.git("tag", "-a", "v1.0", "-m", "first")
    return made


@pytest.fixture
def fetch(tmp_path: Path) -> Callable[..., tuple[Path, str]]:
    """Requests a source as a fork of a run does; another ``run`` is another run."""

    def ask(run: str = "run", cache: str = "cache", **source: str) -> tuple[Path, str]:
        return source_folder(source, tmp_path, tmp_path / run, tmp_path / cache)

    return ask


def listing(folder: Path) -> dict[str, object]:
    """The files of a folder: contents, times and executable bits."""
    found = {}
    for path in sorted(folder.rglob("*")):
        name = path.relative_to(folder).as_posix()
        if path.is_symlink():
            found[name] = str(path.readlink())
        elif path.is_file():
            status = path.stat()
            found[name] = (path.read_bytes(), int(status.st_mtime), bool(status.st_mode & stat.S_IXUSR))
    return found


# --- git --------------------------------------------------------------------------------------------------------------


def test_a_tag_a_branch_and_a_commit_give_their_files(work: Work, fetch) -> None:
    first = work.git("rev-parse", "HEAD")
    work.git("checkout", "-q", "-b", "feature/x")
    second = work.commit(wsgi__py="app = 3\n")
    for number, (version, commit) in enumerate(
        {"v1.0": first, "main": first, "feature/x": second, first: first, second[:10]: second}.items()
    ):
        folder, said = fetch(git=work.url, version=version, run=f"run{number}", cache=f"cache{number}")
        named = "" if version == commit else f" {version}"
        assert said == f"git {work.url}{named} ({commit})"
        assert (folder / "wsgi.py").read_text() == ("app = 1\n" if commit == first else "app = 3\n")
        assert not (folder / ".git").exists()


def test_a_subfolder_is_the_app(work: Work, fetch) -> None:
    folder, said = fetch(git=work.url, version="v1.0", subfolder="backend")
    assert [path.name for path in folder.iterdir()] == ["wsgi.py"]
    assert said.endswith("), folder backend")
    with pytest.raises(InputError, match=r"source.subfolder: is not in this commit, which has backend"):
        fetch(git=work.url, version="v1.0", subfolder="front")


def test_files_have_the_time_of_their_last_commit_on_every_controller(work: Work, fetch) -> None:
    work.commit(new__py="")
    work.git("checkout", "-q", "-b", "side", "v1.0")
    work.commit(side__py="")
    work.git("checkout", "-q", "main")
    work.now += 100
    work.git("merge", "-q", "--no-ff", "-m", "merge", "side")
    work.commit(**{"wsgi__py": "app = 4\n", "a name\nwith lines": "x"})
    one, _ = fetch(git=work.url, version="main", run="one", cache="one")
    two, _ = fetch(git=work.url, version="main", run="two", cache="two")
    assert listing(one) == listing(two)
    times = {name: found[1] for name, found in listing(one).items()}
    assert times == {
        "requirements.txt": WHEN + 100, "backend/wsgi.py": WHEN + 100, "new.py": WHEN + 200,
        "side.py": WHEN + 400, "wsgi.py": WHEN + 500, "a name\nwith lines": WHEN + 500,
    }  # fmt: skip


def test_a_controllers_own_git_settings_change_no_byte(work: Work, fetch, tmp_path: Path, monkeypatch) -> None:
    attributes = "*.txt text eol=crlf filter=x export-subst\nsecret.txt export-ignore\n"
    work.commit(__gitattributes=attributes, a__txt="a\nb\n", secret__txt="$Format:%H$\n")
    (tmp_path / "gitconfig").write_text('[core]\nautocrlf = true\n[filter "x"]\nsmudge = tr a-z A-Z\n')
    monkeypatch.setenv("GIT_CONFIG_GLOBAL", str(tmp_path / "gitconfig"))
    for name in ("GIT_DIR", "GIT_OBJECT_DIRECTORY"):
        monkeypatch.setenv(name, str(tmp_path / "elsewhere"))
    folder, _ = fetch(git=work.url, version="main")
    assert (folder / "a.txt").read_bytes() == b"a\nb\n"
    assert (folder / "secret.txt").read_bytes() == b"$Format:%H$\n"
    assert not (tmp_path / "elsewhere").exists()


def test_links_and_executable_bits_are_kept(work: Work, fetch) -> None:
    (work.folder / "link").symlink_to("wsgi.py")
    (work.folder / "run").write_text("#!/bin/sh\n")
    (work.folder / "run").chmod(0o755)
    work.commit()
    found = listing(fetch(git=work.url, version="main")[0])
    assert found["link"] == "wsgi.py"
    assert (found["run"][2], found["wsgi.py"][2]) == (True, False)


@pytest.mark.parametrize(("asked", "says"), [
    ("v1.1", "the nearest are v1.0"),
    ("1.0", "the nearest are v1.0"),
    ("mian", "the nearest are main"),
    ("zzzz", "it has main, v1.0"),
    ("deadbeef", "it has main, v1.0"),
    ("0" * 40, "has no commit 0000"),
])  # fmt: skip
def test_a_missing_version_is_reported_with_the_nearest_names(work: Work, fetch, asked: str, says: str) -> None:
    with pytest.raises(InputError, match=says) as error:
        fetch(git=work.url, version=asked)
    assert str(error.value).startswith("source.version: ")


def calls(monkeypatch) -> list[str]:
    """The git commands that contact another repository."""
    made: list[str] = []
    real = git.Repository.git
    monkeypatch.setattr(git.Repository, "git", lambda self, *a, **k: made.append(a[0]) or real(self, *a, **k))
    return made


def test_a_commit_that_is_cached_needs_no_network(work: Work, fetch) -> None:
    commit = work.git("rev-parse", "HEAD")
    work.commit(wsgi__py="app = 9\n")
    fetch(git=work.url, version="main")
    shutil.rmtree(work.folder)
    folder, _ = fetch(git=work.url, version=commit, run="later")
    assert (folder / "wsgi.py").read_text() == "app = 1\n"
    with pytest.raises(InputError, match=r"source\.git: file://.*there is no repository"):
        fetch(git=work.url, version="main", run="later")


def test_a_cached_version_is_not_fetched_again(work: Work, fetch, monkeypatch) -> None:
    made = calls(monkeypatch)
    fetch(git=work.url, version="main")
    fetch(git=work.url, version="v1.0", run="later")
    assert (made.count("ls-remote"), made.count("fetch")) == (2, 1)


def test_a_run_keeps_its_commit_when_the_branch_moves(work: Work, fetch) -> None:
    before = fetch(git=work.url, version="main")
    work.commit(wsgi__py="app = 5\n")
    assert fetch(git=work.url, version="main") == before
    folder, said = fetch(git=work.url, version="main", run="next")
    assert said != before[1]
    assert (folder / "wsgi.py").read_text() == "app = 5\n"


def test_a_rewritten_branch_or_one_that_became_a_folder_is_fetched(work: Work, fetch) -> None:
    work.git("branch", "a")
    fetch(git=work.url, version=work.git("rev-parse", "--short=8", "HEAD"))
    work.git("branch", "-m", "a", "a/b")
    work.git("commit", "-q", "--amend", "-m", "other", "--date", f"{WHEN} +0000")
    commit = work.commit(wsgi__py="app = 6\n")
    assert fetch(git=work.url, version=commit[:8], run="later")[1].endswith(f"({commit})")


def test_a_server_that_serves_no_commit_by_hash_is_asked_by_name(work: Work, fetch, monkeypatch) -> None:
    """As old versions of git, which serve no commit by its hash."""
    real = git.Repository.git

    def old(self, *arguments: str, check: bool = True):
        refused = arguments[0] == "fetch" and any(":refs/fetched/" in word for word in arguments)
        return None if refused and not check else real(self, *arguments, check=check)

    monkeypatch.setattr(git.Repository, "git", old)
    assert (fetch(git=work.url, version="v1.0")[0] / "wsgi.py").exists()


def ask_in_a_fork(start, results, source: dict, folders: tuple[Path, Path, Path]) -> None:
    """Request a source as one of Ansible's forks does."""
    start.wait()
    try:
        folder, said = source_folder(source, *folders)
        results.put((os.getpid(), said, (folder / "wsgi.py").read_text()))
    except InputError as error:
        results.put((os.getpid(), str(error), None))


def ask_at_once(source: dict, tmp_path: Path, run: str, count: int = 4) -> list[tuple]:
    context = get_context("fork")
    start, results = context.Event(), context.Queue()
    folders = (tmp_path, tmp_path / run, tmp_path / "cache")
    forks = [context.Process(target=ask_in_a_fork, args=(start, results, source, folders)) for _ in range(count)]
    for fork in forks:
        fork.start()
    start.set()
    answers = [results.get(timeout=60) for _ in forks]
    for fork in forks:
        fork.join(timeout=60)
    return answers


def spy_on_git(tmp_path: Path, monkeypatch) -> Callable[[], list[str]]:
    """A git that records the commands of all processes and fetches slowly."""
    real, notes = shutil.which("git"), tmp_path / "asked"
    spy = tmp_path / "bin/git"
    spy.parent.mkdir()
    spy.write_text(f'#!/bin/sh\necho "$2" >> {notes}\ncase "$2" in fetch) sleep 0.3;; esac\nexec {real} "$@"\n')
    spy.chmod(0o755)
    monkeypatch.setenv("PATH", f"{spy.parent}:{os.environ['PATH']}")
    return lambda: notes.read_text().split()


def test_simultaneous_forks_fetch_once_and_get_the_same(work: Work, tmp_path: Path, monkeypatch) -> None:
    asked = spy_on_git(tmp_path, monkeypatch)
    answers = ask_at_once({"git": work.url, "version": "main"}, tmp_path, "run")
    assert len({pid for pid, *_ in answers}) == 4
    assert {answer[1:] for answer in answers} == {
        (f"git {work.url} main ({work.git('rev-parse', 'v1.0^{}')})", "app = 1\n")
    }
    assert (asked().count("ls-remote"), asked().count("fetch")) == (1, 1)


def test_simultaneous_forks_share_a_failure(tmp_path: Path, monkeypatch) -> None:
    asked = spy_on_git(tmp_path, monkeypatch)
    answers = ask_at_once({"git": f"file://{tmp_path}/none", "version": "main"}, tmp_path, "run")
    assert {answer[2] for answer in answers} == {None}
    assert len({answer[1] for answer in answers}) == 1
    assert asked().count("ls-remote") == 1


def test_a_killed_fork_does_not_block_the_next_one(work: Work, fetch, tmp_path: Path, monkeypatch) -> None:
    def killed(*_: object) -> None:
        raise KeyboardInterrupt

    with monkeypatch.context() as patched, pytest.raises(KeyboardInterrupt):
        patched.setattr(git, "write", killed)
        fetch(git=work.url, version="main")
    assert (fetch(git=work.url, version="main")[0] / "wsgi.py").exists()


def test_leftovers_of_a_killed_git_do_not_block_the_next_run(work: Work, fetch, tmp_path: Path) -> None:
    fetch(git=work.url, version="v1.0")
    (repository,) = (tmp_path / "cache/git").glob("*/repository")
    commit = work.commit(wsgi__py="app = 7\n")
    for name in (f"refs/fetched/{commit}.lock", "refs/all/heads/main.lock"):
        (repository / name).parent.mkdir(parents=True, exist_ok=True)
        (repository / name).touch()
    assert fetch(git=work.url, version="main", run="later")[1].endswith(f"({commit})")
    (repository / "HEAD").unlink()
    assert fetch(git=work.url, version="main", run="last")[1].endswith(f"({commit})")


# Submodules


def test_submodules_are_fetched_at_their_commit(work: Work, fetch, tmp_path: Path) -> None:
    inner = Work(tmp_path / "inner")
    inner.commit(deep__py="deep\n")
    library = Work(tmp_path / "library")
    library.commit(lib__py="old\n")
    library.git("submodule", "--quiet", "add", "../inner", "vendor/inner")
    library.commit()
    work.git("submodule", "--quiet", "add", "../library", "parts/library")
    work.commit()
    library.commit(lib__py="new, which nobody asked for\n")
    folder, _ = fetch(git=work.url, version="main")
    assert (folder / "parts/library/lib.py").read_text() == "old\n"
    assert (folder / "parts/library/vendor/inner/deep.py").read_text() == "deep\n"
    below, _ = fetch(git=work.url, version="main", subfolder="parts/library/vendor")
    assert (below / "inner/deep.py").read_text() == "deep\n"


def test_a_submodule_that_cannot_be_fetched_is_an_error(work: Work, fetch, tmp_path: Path) -> None:
    library = Work(tmp_path / "library")
    library.commit(lib__py="")
    work.git("submodule", "--quiet", "add", "../library", "library")
    work.commit()
    shutil.rmtree(library.folder)
    with pytest.raises(InputError, match=r"library: there is no repository"):
        fetch(git=work.url, version="main")


@pytest.mark.parametrize("url", ["file:///etc", "/etc", "ext::sh -c id", "--upload-pack=id"])
def test_a_submodule_cannot_read_files_of_the_controller(tmp_path: Path, monkeypatch, url: str) -> None:
    repository = git.Repository("https://git.example.com/shop.git", None, tmp_path)
    settings = f"submodule.x.path\nlib\0submodule.x.url\n{url}\0".encode()
    monkeypatch.setattr(git.Repository, "git", lambda *_a, **_k: settings)
    with pytest.raises(InputError, match="the submodule lib has no URL that leads to a server"):
        repository._submodule("c", "lib")


@pytest.mark.parametrize(("own", "other", "whole"), [
    ("https://u:p@h/a/shop.git", "../lib.git", "https://u:p@h/a/lib.git"),
    ("https://u:p@h/a/shop.git", "https://h/lib.git", "https://u:p@h/lib.git"),
    ("https://u:p@h/a/shop.git", "https://other/lib.git", "https://other/lib.git"),
    ("https://u:p@h/a/shop.git", "http://h/lib.git", "http://h/lib.git"),
    ("git@h:a/shop.git", "../lib.git", "git@h:a/lib.git"),
])  # fmt: skip
def test_a_login_is_sent_to_its_own_server_only(own: str, other: str, whole: str) -> None:
    assert git_urls.relative_to(own, other) == whole


@pytest.mark.parametrize("way", ["above", "through a link"])
def test_a_forged_tree_cannot_place_a_submodule_outside(work: Work, fetch, tmp_path: Path, way: str) -> None:
    other = Work(tmp_path / "other")
    gitlink = f"160000 commit {other.commit(pwned='x')}\tescape"
    inner = work.git("hash-object", "-w", "--literally", "-t", "tree", str(hand_made(tmp_path, gitlink)))
    modules = work.git("hash-object", "-w", str(written(tmp_path / "modules", other.url)))
    entries = [f"100644 blob {modules}\t.gitmodules"]
    if way == "above":
        entries.append(f"040000 tree {inner}\t..")
    else:
        target = work.git("hash-object", "-w", str(written(tmp_path / "target", None, str(tmp_path))))
        entries += [f"120000 blob {target}\td", f"040000 tree {inner}\td"]
    outer = work.git("hash-object", "-w", "--literally", "-t", "tree", str(hand_made(tmp_path, *entries)))
    commit = work.git("commit-tree", outer, "-m", "made by hand")
    work.git("update-ref", "refs/heads/main", commit)
    with pytest.raises(InputError, match="nothing of it was used"):
        fetch(git=work.url, version="main")
    assert not list(tmp_path.rglob("pwned"))[1:]


def test_a_file_in_lfs_is_refused(work: Work, fetch) -> None:
    work.commit(big__bin="version https://git-lfs.github.com/spec/v1\noid sha256:0\nsize 1\n")
    with pytest.raises(InputError, match=r"big\.bin lies in Git LFS"):
        fetch(git=work.url, version="main")


# Secrets, keys, and servers that do not answer


class Server(http.server.BaseHTTPRequestHandler):
    """Serves a folder to clients with the login; repositories by git's dumb protocol."""

    folder: Path
    seen: list[str]
    leads_to: str

    def do_GET(self) -> None:
        given = self.headers.get("Authorization", "")
        self.seen.append(f"{self.path} {given}")
        path = self.folder / self.path.partition("?")[0].lstrip("/")
        if given != "Basic " + base64.b64encode(f"me:{CANARY}/@".encode()).decode():
            self.send_response(401)
            self.send_header("WWW-Authenticate", 'Basic realm="x"')
            self.end_headers()
        elif self.path.startswith("/away"):
            self.send_response(302)
            self.send_header("Location", self.leads_to + self.path.removeprefix("/away"))
            self.end_headers()
        elif path.is_file():
            self.send_response(200)
            self.end_headers()
            self.wfile.write(path.read_bytes())
        else:
            self.send_error(404)

    def log_message(self, *_: object) -> None:
        """Write no log."""


@pytest.fixture
def server(tmp_path: Path) -> Iterator[tuple[str, type[Server]]]:
    """``http://127.0.0.1:PORT`` and its recorded requests."""
    (tmp_path / "served").mkdir()
    handler = type("Handler", (Server,), {"folder": tmp_path / "served", "seen": []})
    with http.server.ThreadingHTTPServer(("127.0.0.1", 0), handler) as running:
        threading.Thread(target=running.serve_forever, daemon=True).start()
        yield f"127.0.0.1:{running.server_port}", handler
        running.shutdown()


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


# Sites share no fetched commits


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
    assert not handler.seen, "the owner's own needs no network"
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


# Unauthenticated protocols


@pytest.mark.parametrize("url", ["http://127.0.0.1:9/x.git", "git://127.0.0.1:9/x.git", "HTTP://127.0.0.1:9/x.git"])
def test_an_unauthenticated_protocol_needs_a_full_hash(fetch, url: str) -> None:
    for version in ("main", "a" * 39, "a" * 41):
        with pytest.raises(InputError, match=r"^source\.(version: .*give the full hash of a commit|git: give)"):
            fetch(git=url, version=version)


# Submodules of a malicious repository


def link_module(work: Work, url: str, name: str = "lib", path: str = "lib", more: str = "") -> str:
    """Commit a submodule with this .gitmodules, without validation by git; its commit."""
    (work.folder / ".gitmodules").write_text(f'[submodule "{name}"]\n\tpath = {path}\n\turl = {url}\n{more}')
    return work.git("rev-parse", "HEAD")


def with_module(work: Work, other: Work, url: str, **words: str) -> None:
    """A commit whose submodule is at the other one's commit."""
    link_module(work, url, **words)
    work.git("add", ".gitmodules")
    work.git(
        "update-index", "--add", "--cacheinfo", f"160000,{other.git('rev-parse', 'HEAD')},{words.get('path', 'lib')}"
    )
    work.git("commit", "-q", "-m", "with it")


@pytest.mark.parametrize("url", [
    "{other}", "file://{other}", "FILE://{other}", "file:{other}", "../../bank/bank", "./../../bank/bank",
    "../x/../../bank/bank", "../x/%2e%2e/%2e%2e/bank/bank", "../link", "ext::sh -c id", "--upload-pack=id",
    "-u./x", "..//{other}", "../",
])  # fmt: skip
def test_a_local_repository_has_no_submodule_outside_its_folder(tmp_path: Path, fetch, url: str) -> None:
    shop, bank = Work(tmp_path / "team/shop"), Work(tmp_path / "bank/bank")
    bank.commit(secret__py=CANARY)
    (tmp_path / "team/x").mkdir()
    (tmp_path / "team/link").symlink_to(bank.folder)
    shop.commit(wsgi__py="")
    with_module(shop, bank, url.replace("{other}", str(bank.folder)))
    with pytest.raises(InputError, match=r"submodule"):
        fetch(git=shop.url, version="main")
    assert not [path for path in tmp_path.rglob("secret.py") if bank.folder not in path.parents]


def test_a_repository_in_the_operators_home_has_no_submodule_beside_it(tmp_path: Path, fetch, monkeypatch) -> None:
    shop, bank = Work(tmp_path / "shop"), Work(tmp_path / "bank")
    bank.commit(secret__py=CANARY)
    shop.commit(wsgi__py="")
    with_module(shop, bank, "../bank")
    monkeypatch.setenv("HOME", str(tmp_path))
    with pytest.raises(InputError, match="into a folder of their own"):
        fetch(git=shop.url, version="main")
    monkeypatch.setenv("HOME", str(tmp_path.parent / "home"))
    assert (fetch(git=shop.url, version="main", run="later")[0] / "lib/secret.py").exists()


@pytest.mark.parametrize("words", [
    {"name": "../../x"}, {"name": "-u./x"}, {"path": "-x"},
], ids=str)  # fmt: skip
def test_a_submodule_with_an_invalid_name_is_refused(work: Work, fetch, tmp_path: Path, words: dict) -> None:
    library = Work(tmp_path / "library")
    library.commit(lib__py="")
    with_module(work, library, "../library", **words)
    with pytest.raises(InputError, match="name that git would not take"):
        fetch(git=work.url, version="main")


def test_a_repositorys_submodule_settings_read_no_file_of_the_controller(work: Work, fetch, tmp_path: Path) -> None:
    library = Work(tmp_path / "library")
    library.commit(lib__py="")
    (tmp_path / "settings").write_text(f'[submodule "lib"]\n\turl = https://u:{CANARY}@127.0.0.1:9/{CANARY}\n')
    with_module(work, library, "../library", more=f"[include]\n\tpath = {tmp_path}/settings\n")
    folder, _ = fetch(git=work.url, version="main")
    assert (folder / "lib/lib.py").exists()


@pytest.mark.parametrize(("own", "other", "says"), [
    ("git@h:team/shop.git", "../bank.git", r"source\.key: is needed for the submodule"),
    ("git@h:team/shop.git", "git@h:team/bank.git", r"source\.key: is needed for the submodule"),
    ("https://u:p@h/shop.git", "git@h:bank.git", r"source\.key: is needed for the submodule"),
    ("https://u:p@h/shop.git", "ssh://git@other/bank.git", "lies on another host"),
    ("git@h:team/shop.git", "git@other:bank.git", "lies on another host"),
    ("ssh://git@h:22/shop.git", "ssh://git@h:2222/bank.git", "lies on another host"),
    ("git@h:shop.git", "../../../bank.git", "leads out of its server"),
    ("https://u:p@h/shop.git", "../../../bank.git", "leads out of its server"),
    ("https://u:p@h/shop.git", "../%2e%2e/bank.git", "has .. or //"),
])  # fmt: skip
def test_a_submodule_is_fetched_with_the_sites_own_key_only(
    tmp_path: Path, monkeypatch, own: str, other: str, says: str
) -> None:
    settings = f"submodule.x.path\nlib\0submodule.x.url\n{other}\0".encode()
    monkeypatch.setattr(git.Repository, "git", lambda *_a, **_k: settings)
    with pytest.raises(InputError, match=says):
        git.Repository(own, None, tmp_path)._submodule("c", "lib")


def test_the_sites_key_is_used_for_submodules_on_its_own_host_only(tmp_path: Path, monkeypatch) -> None:
    settings = b"submodule.x.path\nlib\0submodule.x.url\n../lib.git\0"
    monkeypatch.setattr(git.Repository, "git", lambda *_a, **_k: settings)
    for own, whole in (
        ("git@h:team/shop.git", "git@h:team/lib.git"),
        ("ssh://git@h:22/a/shop", "ssh://git@h:22/a/lib.git"),
    ):
        found = git.Repository(own, tmp_path / "key", tmp_path)._submodule("c", "lib")
        assert (found.url, found.key) == (whole, tmp_path / "key")


@pytest.mark.parametrize("name", [".git", ".GIT", "git~1"])
def test_a_tree_with_a_git_folder_is_refused(work: Work, fetch, tmp_path: Path, name: str) -> None:
    blob = work.git("hash-object", "-w", str(written(tmp_path / "config", None, "[core]\n")))
    inner = work.git(
        "hash-object", "-w", "--literally", "-t", "tree", str(hand_made(tmp_path, f"100644 blob {blob}\tconfig"))
    )
    outer = work.git(
        "hash-object", "-w", "--literally", "-t", "tree", str(hand_made(tmp_path, f"040000 tree {inner}\t{name}"))
    )
    work.git("update-ref", "refs/heads/main", work.git("commit-tree", outer, "-m", "made by hand"))
    with pytest.raises(InputError, match="would be a repository's own folder"):
        fetch(git=work.url, version="main")


# A malicious local repository


@pytest.mark.parametrize("way", ["alternates", "objects", "pack", "gitdir"])
def test_a_local_repository_uses_no_objects_from_elsewhere(tmp_path: Path, fetch, way: str) -> None:
    bank, shop = Work(tmp_path / "bank/bank"), Work(tmp_path / "team/shop")
    commit = bank.commit(wsgi__py=CANARY)
    bank.git("repack", "-adq")
    own, its = shop.folder / ".git", bank.folder / ".git"
    if way == "alternates":
        (own / "objects/info/alternates").write_text(f"{its}/objects\n")
    elif way == "objects":
        shutil.rmtree(own / "objects")
        (own / "objects").symlink_to(its / "objects")
    elif way == "pack":
        for path in (its / "objects/pack").iterdir():
            (own / "objects/pack" / path.name).symlink_to(path)
    else:
        shutil.rmtree(own)
        own.write_text(f"gitdir: {its}\n")
    if way != "gitdir":
        (own / "refs/heads/main").write_text(f"{commit}\n")
    with pytest.raises(InputError, match=r"takes its objects from .*|leads out of"):
        fetch(git=shop.url, version="main")


def test_a_git_worktree_can_be_a_source(work: Work, fetch, tmp_path: Path) -> None:
    work.git("worktree", "add", "-q", str(tmp_path / "elsewhere/tree"), "-b", "side")
    folder, _ = fetch(git=f"file://{tmp_path}/elsewhere/tree", version="side")
    assert (folder / "wsgi.py").exists()


def test_settings_of_a_local_repository_run_no_command(work: Work, fetch, tmp_path: Path) -> None:
    ran = tmp_path / "ran"
    for name, value in {
        "uploadpack.packObjectsHook": f"touch {ran};", "core.fsmonitor": f"touch {ran}",
        "core.alternateRefsCommand": f"touch {ran}", "core.hooksPath": str(tmp_path),
        "filter.x.smudge": f"touch {ran}", "filter.x.clean": f"touch {ran}", "core.sshCommand": f"touch {ran}",
        "remote.origin.url": f"ext::touch {ran}", "remote.origin.promisor": "true",
        "extensions.partialClone": "origin", "protocol.ext.allow": "always",
    }.items():  # fmt: skip
        work.git("config", name, value)
    folder, _ = fetch(git=work.url, version="main")
    assert (folder / "wsgi.py").exists()
    # A missing object would be fetched from the promisor.
    blob = work.git("rev-parse", "HEAD:wsgi.py")
    (work.folder / ".git/objects" / blob[:2] / blob[2:]).unlink()
    with pytest.raises(InputError, match=r"^source\.git"):
        fetch(git=work.url, version="main", cache="cold", run="cold")
    assert not ran.exists()


def test_a_repository_of_another_user_must_be_marked_as_safe(work: Work, fetch, tmp_path: Path, monkeypatch) -> None:
    if os.geteuid():
        pytest.skip("only root gives a folder away")
    monkeypatch.setenv("HOME", str(tmp_path))
    monkeypatch.delenv("SUDO_UID", raising=False)
    for path in (work.folder, *work.folder.rglob("*")):
        os.chown(path, 65534, 65534)
    with pytest.raises(InputError, match="belongs to another user"):
        fetch(git=work.url, version="main")
    (tmp_path / ".gitconfig").write_text(f"[safe]\n\tdirectory = {work.folder}/.git\n")
    assert (fetch(git=work.url, version="main", run="later")[0] / "wsgi.py").exists()


# Limits of size


def test_a_commit_of_too_many_files_or_bytes_is_refused_before_it_is_written(
    work: Work, fetch, tmp_path: Path, monkeypatch
) -> None:
    # Ten levels of folders, each with the next one ten times: ten thousand million files in ten objects.
    tree = work.git("rev-parse", "HEAD:backend")
    for _ in range(10):
        entries = [f"040000 tree {tree}\t{number}" for number in range(10)]
        tree = work.git("hash-object", "-w", "-t", "tree", str(hand_made(tmp_path, *entries)))
    work.git("update-ref", "refs/heads/bomb", work.git("commit-tree", tree, "-m", "bomb"))
    with monkeypatch.context() as patched:
        patched.setattr(git_process, "LISTED", 1 << 20)
        with pytest.raises(InputError, match="more than 1 MB of names"):
            fetch(git=work.url, version="bomb")
    with monkeypatch.context() as patched:
        patched.setattr(limits, "FILES", 2)
        with pytest.raises(InputError, match="more than 2 files and folders"):
            fetch(git=work.url, version="main", run="files")
    work.commit(big__bin="x" * 5000)
    with monkeypatch.context() as patched:
        patched.setattr(limits, "BYTES", 4999)
        patched.setattr(git, "write", lambda *_: pytest.fail("written"))
        with pytest.raises(InputError, match=r"its files are more than"):
            fetch(git=work.url, version="main", run="bytes")


def test_a_fetch_has_a_size_limit(work: Work, fetch, monkeypatch) -> None:
    (work.folder / "big").write_bytes(os.urandom(300_000))
    work.commit()
    monkeypatch.setattr(git_process, "PACK", 100_000)
    with pytest.raises(InputError, match="it is larger than"):
        fetch(git=work.url, version="main")


def test_unbounded_output_of_git_is_not_kept_in_memory() -> None:
    loud = ["sh", "-c", "yes out & yes err >&2 & wait"]
    with subprocess.Popen(loud, stdout=subprocess.PIPE, stderr=subprocess.PIPE, start_new_session=True) as started:
        out, errors, whole = git_process.listen(started, 1 << 20)
        os.killpg(started.pid, 9)
    assert (len(out), whole) == (1 << 20, False)
    assert len(errors) <= git_process.TOLD


def test_the_number_of_submodules_is_limited(work: Work, fetch, tmp_path: Path, monkeypatch) -> None:
    library = Work(tmp_path / "library")
    library.commit(lib__py="")
    for name in ("one", "two"):
        work.git("submodule", "--quiet", "add", "../library", name)
    work.commit()
    assert (fetch(git=work.url, version="main")[0] / "two/lib.py").exists()
    monkeypatch.setattr(limits, "SUBMODULES", 1)
    with pytest.raises(InputError, match="more than 1 submodules"):
        fetch(git=work.url, version="main", run="later")


# --- Archives ---------------------------------------------------------------------------------------------------------


def tarball(path: Path, *members: tuple[tarfile.TarInfo, bytes]) -> dict[str, str]:
    """An archive, and its keys in the site config."""
    with tarfile.open(path, "w:xz" if path.suffix == ".xz" else "w:gz") as tar:
        for member, content in members:
            member.size = len(content)
            tar.addfile(member, io.BytesIO(content))
    return {"archive": str(path), "sha256": archive_fetch.digest(path)}


def member(name: str, kind: bytes = tarfile.REGTYPE, link: str = "", mode: int = 0o644) -> tarfile.TarInfo:
    made = tarfile.TarInfo(name)
    made.type, made.linkname, made.mode, made.mtime = kind, link, mode, WHEN
    return made


FOLDER, LINK, HARD = tarfile.DIRTYPE, tarfile.SYMTYPE, tarfile.LNKTYPE


@pytest.mark.parametrize("suffix", [".tar.gz", ".tar.xz"])
def test_a_tarball_is_unpacked_without_its_top_folder(tmp_path: Path, fetch, suffix: str) -> None:
    source = tarball(
        tmp_path / f"a{suffix}", (member("shop-1.0/", FOLDER), b""), (member("shop-1.0/wsgi.py"), b"app = 1\n"),
        (member("./shop-1.0/bin/run", mode=0o4755), b"#!\n"), (member("shop-1.0/link", LINK, "wsgi.py"), b""),
        (member("shop-1.0/same", HARD, "shop-1.0/wsgi.py"), b""),
    )  # fmt: skip
    folder, said = fetch(**source)
    assert said == f"archive {tmp_path}/a{suffix} (sha256 {source['sha256']})"
    assert listing(folder) == {
        "wsgi.py": (b"app = 1\n", WHEN, False), "bin/run": (b"#!\n", WHEN, True), "link": "wsgi.py",
        "same": (b"app = 1\n", WHEN, False),
    }  # fmt: skip
    assert not (folder / "bin/run").stat().st_mode & stat.S_ISUID


def test_an_archive_without_a_top_folder_is_kept_and_a_subfolder_selected(tmp_path: Path, fetch) -> None:
    source = tarball(
        tmp_path / "a.tar.gz", (member("wsgi.py"), b""), (member("shop/x.py"), b"x"), (member("docs/y"), b"")
    )
    assert sorted(listing(fetch(**source)[0])) == ["docs/y", "shop/x.py", "wsgi.py"]
    assert listing(fetch(**source, subfolder="shop")[0]) == {"x.py": (b"x", WHEN, False)}
    with pytest.raises(InputError, match="is not in the archive, which has docs, shop"):
        fetch(**source, subfolder="none")


def test_a_zip_is_unpacked(tmp_path: Path, fetch) -> None:
    with zipfile.ZipFile(tmp_path / "a.zip", "w") as made:
        info = zipfile.ZipInfo("top/run", (2026, 1, 2, 3, 4, 6))
        info.external_attr = 0o100755 << 16
        made.writestr(info, "#!\n")
        info = zipfile.ZipInfo("top/link")
        info.external_attr = 0o120777 << 16
        made.writestr(info, "run")
    folder, _ = fetch(archive="a.zip", sha256=archive_fetch.digest(tmp_path / "a.zip").upper())
    assert listing(folder) == {"run": (b"#!\n", 1767323046, True), "link": "run"}


@pytest.mark.parametrize("bad", [
    member("../evil"), member("/evil"), member("a/../../evil"), member("a/dev", tarfile.CHRTYPE),
    member("a/pipe", tarfile.FIFOTYPE), member("a/hard", HARD, "../../etc/passwd"),
    member("a/hard", HARD, "/etc/passwd"),
    member("a/hard", HARD, "a/none"), member("a/x"),
], ids=lambda made: f"{made.name}-{made.type!r}")  # fmt: skip
def test_a_member_outside_of_the_archive_is_refused(tmp_path: Path, fetch, bad: tarfile.TarInfo) -> None:
    source = tarball(tmp_path / "a.tar.gz", (member("a/x"), b"1"), (member("b"), b""), (bad, b""))
    with pytest.raises(InputError, match="source: "):
        fetch(**source)
    assert not [path for path in tmp_path.rglob("*") if path.name in ("evil", "dev", "pipe")]


def test_no_file_is_written_through_a_link(tmp_path: Path, fetch) -> None:
    (tmp_path / "outside").mkdir()
    source = tarball(
        tmp_path / "a.tar.gz", (member("x", LINK, str(tmp_path / "outside")), b""), (member("x/evil"), b"")
    )
    with pytest.raises(InputError, match="is there twice"):
        fetch(**source)
    assert not list((tmp_path / "outside").iterdir())


def test_a_link_out_of_an_archive_is_refused_when_it_is_packed(tmp_path: Path, fetch) -> None:
    folder, _ = fetch(**tarball(tmp_path / "a.tar.gz", (member("a"), b""), (member("bad", LINK, "/etc/passwd"), b"")))
    with pytest.raises(InputError, match="the link bad leads out of the source"):
        collect(folder)


def test_an_archive_with_another_hash_is_refused_before_it_is_opened(tmp_path: Path, fetch, monkeypatch) -> None:
    source = tarball(tmp_path / "a.tar.gz", (member("a"), b""))
    monkeypatch.setattr(archive_unpack, "unpack", lambda *_: pytest.fail("opened"))
    with pytest.raises(InputError, match=rf"source\.sha256: .*its hash is {source['sha256']}"):
        fetch(archive=source["archive"], sha256="0" * 64)


def test_a_missing_and_a_broken_archive_are_reported(tmp_path: Path, fetch) -> None:
    with pytest.raises(InputError, match=r"source\.archive: there is no file .*none\.zip"):
        fetch(archive="none.zip", sha256="0" * 64)
    for content, says in ((b"hello world", "is neither a .tar.gz"), (b"\x1f\x8b\x08broken", "cannot be unpacked")):
        (tmp_path / "bad").write_bytes(content)
        with pytest.raises(InputError, match=says):
            fetch(archive="bad", sha256=hashlib.sha256(content).hexdigest())


def test_an_archive_is_downloaded_once_and_its_login_never_shown(tmp_path: Path, fetch, server, monkeypatch) -> None:
    host, handler = server
    for variable in ("http_proxy", "HTTP_PROXY", "all_proxy", "ALL_PROXY"):
        monkeypatch.delenv(variable, raising=False)
    source = tarball(tmp_path / "served/a.tar.gz", (member("wsgi.py"), b"app = 1\n"))
    url = f"http://me:{CANARY}%2F%40@{host}/a.tar.gz?token={CANARY}"
    folder, said = fetch(archive=url, sha256=source["sha256"])
    assert (folder / "wsgi.py").read_text() == "app = 1\n"
    assert said == f"archive http://{host}/a.tar.gz (sha256 {source['sha256']})"
    count = len(handler.seen)
    fetch(archive=url, sha256=source["sha256"], run="later")
    assert len(handler.seen) == count, "kept under its hash"
    kept = tmp_path / "cache/archives" / source["sha256"]
    kept.write_bytes(b"damaged")
    assert fetch(archive=url, sha256=source["sha256"], run="damaged")[0].is_dir()
    monkeypatch.setattr(archive_fetch, "KEEP", 1)
    (kept.parent / ("0" * 64)).touch()
    os.utime(kept.parent / ("0" * 64), (0, 0))
    kept.unlink()
    fetch(archive=url, sha256=source["sha256"], run="again")
    assert [path for path in kept.parent.iterdir() if not path.suffix] == [kept], "old ones go"
    for wrong, says in (
        (url.replace("a.tar.gz", "b.tar.gz"), "answers 404"),
        (url.replace("me:", "you:"), "answers 401"),
        (url.replace(host, "127.0.0.1:9"), "cannot be fetched"),
        (url, "source.sha256"),
    ):
        with pytest.raises(InputError, match=says) as error:
            fetch(archive=wrong, sha256="1" * 64)
        assert CANARY not in str(error.value)


@pytest.mark.parametrize("date", [(1980, 0, 0, 0, 0, 0), (2107, 15, 31, 31, 63, 58), (1980, 1, 0, 0, 0, 0)])
def test_a_zip_with_an_invalid_date_is_unpacked(tmp_path: Path, fetch, date: tuple) -> None:
    with zipfile.ZipFile(tmp_path / "a.zip", "w") as made:
        made.writestr(zipfile.ZipInfo("wsgi.py", date), "app = 1\n")
    folder, _ = fetch(archive="a.zip", sha256=archive_fetch.digest(tmp_path / "a.zip"))
    assert 315446400 <= listing(folder)["wsgi.py"][1] < 2**32


@pytest.mark.parametrize("when", [-1e300, 1e300, float("inf"), float("nan"), -5])
def test_a_tarball_with_an_invalid_time_is_unpacked(tmp_path: Path, fetch, when: float) -> None:
    made = member("wsgi.py")
    made.pax_headers = {"mtime": str(when)}
    folder, _ = fetch(**tarball(tmp_path / "a.tar.gz", (made, b"app = 1\n")))
    assert listing(folder)["wsgi.py"][1] in (0, 2**32 - 1)


def test_a_slow_download_times_out(tmp_path: Path, fetch, monkeypatch) -> None:
    def drip() -> None:
        peer, _ = listener.accept()
        with peer, contextlib.suppress(OSError):
            peer.recv(65536)
            peer.sendall(b"HTTP/1.1 200 OK\r\nContent-Length: 100000\r\n\r\n")
            while not over.wait(0.05):
                peer.sendall(b"x")

    for variable in ("http_proxy", "HTTP_PROXY", "all_proxy", "ALL_PROXY"):
        monkeypatch.delenv(variable, raising=False)
    monkeypatch.setattr(archive_fetch, "PATIENCE", 1)
    over = threading.Event()
    with socket.create_server(("127.0.0.1", 0)) as listener:
        thread = threading.Thread(target=drip)
        thread.start()
        try:
            with pytest.raises(InputError, match="did not come within"):
                fetch(archive=f"http://127.0.0.1:{listener.getsockname()[1]}/a.tar.gz", sha256="1" * 64)
        finally:
            over.set()
            thread.join()


# Decompression bombs


def packed(path: Path, content: bytes) -> dict[str, str]:
    path.write_bytes(content)
    return {"archive": str(path), "sha256": hashlib.sha256(content).hexdigest()}


def test_a_decompression_bomb_is_refused_before_it_is_written(tmp_path: Path, fetch, monkeypatch) -> None:
    monkeypatch.setattr(archive_unpack, "ANYWAY", 1 << 20)
    monkeypatch.setattr(tree, "write", lambda *_: pytest.fail("written"))
    monkeypatch.setattr(archive_unpack, "write", lambda *_: pytest.fail("written"))
    zeros = b"\0" * (8 << 20)
    sources = [
        tarball(tmp_path / f"a{suffix}", (member("a/x"), zeros)) for suffix in (".tar.gz", ".tar.xz")
    ]  # fmt: skip
    with zipfile.ZipFile(tmp_path / "a.zip", "w", zipfile.ZIP_DEFLATED) as made:
        made.writestr("a/x", zeros)
    sources.append({"archive": "a.zip", "sha256": archive_fetch.digest(tmp_path / "a.zip")})
    # A header with a size of a petabyte, without content.
    huge = member("a/x")
    huge.size = 1 << 50
    sources.append(packed(tmp_path / "b.tar.gz", gzip.compress(huge.tobuf(tarfile.GNU_FORMAT) + b"\0" * 1024)))
    for number, source in enumerate(sources):
        with pytest.raises(InputError, match="unpacks to more than 1 MB, which is more than 200 times"):
            fetch(**source, run=f"run{number}")


@pytest.mark.parametrize("kind", [tarfile.XHDTYPE, tarfile.XGLTYPE, tarfile.GNUTYPE_LONGNAME, tarfile.GNUTYPE_LONGLINK])
def test_an_oversized_member_name_is_not_kept_in_memory(tmp_path: Path, fetch, monkeypatch, kind: bytes) -> None:
    monkeypatch.setattr(archive_streams, "AT_ONCE", 1 << 20)
    head = member("x", kind)
    head.size = 8 << 20
    source = packed(tmp_path / "a.tar.gz", gzip.compress(head.tobuf(tarfile.USTAR_FORMAT) + b"x" * head.size))
    with pytest.raises(InputError, match="a name of many megabytes"):
        fetch(**source)


def test_an_oversized_zip_directory_is_not_kept_in_memory(tmp_path: Path, fetch, monkeypatch) -> None:
    monkeypatch.setattr(archive_streams, "AT_ONCE", 70_000)
    with zipfile.ZipFile(tmp_path / "a.zip", "w") as made:
        for number in range(2000):
            made.writestr(f"a/{number}", "")
    with pytest.raises(InputError, match="a list or a name of many megabytes"):
        fetch(archive="a.zip", sha256=archive_fetch.digest(tmp_path / "a.zip"))


def test_xz_has_a_memory_limit(tmp_path: Path, fetch) -> None:
    filters = [{"id": lzma.FILTER_LZMA2, "preset": 0, "dict_size": 512 << 20}]
    head = member("x").tobuf(tarfile.USTAR_FORMAT) + b"\0" * 1024
    tame = [{"id": lzma.FILTER_LZMA2, "preset": 0, "dict_size": 128 << 20}]
    assert fetch(**packed(tmp_path / "b.tar.xz", lzma.compress(head, filters=tame)), run="tame")[0].is_dir()
    with pytest.raises(InputError, match=r"xz wants more than 256 MB .*smaller dictionary"):
        fetch(**packed(tmp_path / "a.tar.xz", lzma.compress(head, filters=filters)))


def test_an_archive_of_too_many_or_too_deep_files_is_refused(tmp_path: Path, fetch, monkeypatch) -> None:
    deep, long = "/".join(["d"] * (limits.DEEP + 1)), "/".join(["n" * 200] * 6)
    for number, name in enumerate((deep, long, "n" * 256, "a/" + "ü" * 200)):
        with pytest.raises(InputError, match="shorten it"):
            fetch(**tarball(tmp_path / f"{number}.tar.gz", (member(name), b"")), run=f"run{number}")
    monkeypatch.setattr(limits, "FILES", 3)
    many = tarball(tmp_path / "many.tar.gz", *((member(f"a/{number}"), b"") for number in range(4)))
    with pytest.raises(InputError, match="more than 3 files and folders"):
        fetch(**many)
    folders = tarball(tmp_path / "folders.tar.gz", (member("a/b/c/d/e"), b""), (member("b"), b""))
    with pytest.raises(InputError, match="more than 3 files and folders"):
        fetch(**folders)


def test_a_hard_link_counts_as_a_copy(tmp_path: Path, fetch, monkeypatch) -> None:
    monkeypatch.setattr(limits, "BYTES", 100_000)
    copies = [(member(f"a/{number}", HARD, "a/x"), b"") for number in range(20)]
    with pytest.raises(InputError, match="its files are more than"):
        fetch(**tarball(tmp_path / "a.tar.gz", (member("a/x"), os.urandom(10_000)), *copies))


def test_a_sparse_file_counts_with_its_unpacked_size(tmp_path: Path, fetch, monkeypatch) -> None:
    (tmp_path / "sparse").mkdir()
    with (tmp_path / "sparse/x").open("wb") as file:
        file.truncate(8 << 20)
    monkeypatch.setattr(archive_unpack, "ANYWAY", 1 << 20)
    for form in ("gnu", "posix"):
        made = tmp_path / f"{form}.tar.gz"
        subprocess.run(["tar", "-S", f"--format={form}", "-czf", made, "-C", tmp_path, "sparse"], check=True)
        with pytest.raises(InputError, match="unpacks to more than"):
            fetch(archive=str(made), sha256=archive_fetch.digest(made), run=form)


def test_a_working_copy_is_packed_without_its_git_folder(tmp_path: Path, fetch) -> None:
    source = tarball(tmp_path / "a.tar.gz", (member("a/wsgi.py"), b""), (member("a/.git/config"), b"[core]\n"))
    assert list(listing(fetch(**source)[0])) == ["wsgi.py"]


def test_concatenated_streams_are_one_archive(tmp_path: Path, fetch) -> None:
    tarball(tmp_path / "a.tar.gz", (member("x"), b"1" * 100_000), (member("y"), b"2"))
    content = gzip.decompress((tmp_path / "a.tar.gz").read_bytes())
    for name, pack in (("b.tar.gz", gzip.compress), ("b.tar.xz", lzma.compress)):
        source = packed(tmp_path / name, pack(content[:70_000]) + pack(content[70_000:]))
        assert listing(fetch(**source, run=f"run-{name}")[0])["x"][0] == b"1" * 100_000
        cut = packed(tmp_path / f"cut-{name}", pack(content)[:-40])
        with pytest.raises(InputError, match="cannot be unpacked"):
            fetch(**cut, run=f"run-cut-{name}")


def test_a_download_has_a_size_limit(tmp_path: Path, fetch, server, monkeypatch) -> None:
    host, _ = server
    for variable in ("http_proxy", "HTTP_PROXY", "all_proxy", "ALL_PROXY"):
        monkeypatch.delenv(variable, raising=False)
    (tmp_path / "served/a.tar.gz").write_bytes(b"x" * 3_000_000)
    monkeypatch.setattr(archive_fetch, "PACKED", 1_000_000)
    with pytest.raises(InputError, match="is larger than 0 MB"):
        fetch(archive=f"http://me:{CANARY}%2F%40@{host}/a.tar.gz", sha256="0" * 64)
    assert not [path for path in (tmp_path / "cache").rglob("*") if path.is_file() and path.stat().st_size]


def test_replacing_an_archive_after_its_hash_check_has_no_effect(tmp_path: Path, monkeypatch) -> None:
    good, bad = tarball(tmp_path / "a.tar.gz", (member("good"), b"")), tmp_path / "b.tar.gz"
    tarball(bad, (member("bad"), b""))
    with archive_fetch.fetch(good["archive"], good["sha256"], tmp_path, tmp_path / "cache") as opened:
        (tmp_path / "a.tar.gz").write_bytes(bad.read_bytes())
        (tmp_path / "folder").mkdir()
        archive_unpack.unpack(opened, tmp_path / "folder", "")
    assert list(listing(tmp_path / "folder")) == ["good"]


def test_a_cache_of_another_user_is_not_used(tmp_path: Path, work: Work, fetch) -> None:
    (tmp_path / "theirs").mkdir()
    (tmp_path / "cache").symlink_to(tmp_path / "theirs")
    with pytest.raises(InputError, match="is not a folder of your own"):
        fetch(git=work.url, version="main")
    (tmp_path / "cache").unlink()
    (tmp_path / "cache").mkdir(mode=0o777)
    (tmp_path / "cache").chmod(0o777)
    fetch(git=work.url, version="main")
    assert stat.S_IMODE((tmp_path / "cache").stat().st_mode) == 0o700


# --- Complete runs of Ansible -----------------------------------------------------------------------------------------


PLAY = """
- hosts: all
  gather_facts: false
  tasks:
    - name: Know the role's plugins
      ansible.builtin.import_role: {name: wsgi.sites.release, tasks_from: install, rolespec_validate: false}
      when: false
    - name: Build
      wsgi.sites.release_build:
        site: shop
        settings: "{{ settings }}"
      check_mode: true
      loop: [1, 2]
"""


def test_all_hosts_of_a_run_get_one_commit_by_one_fetch(work: Work, tmp_path: Path, monkeypatch) -> None:
    asked = spy_on_git(tmp_path, monkeypatch)
    (tmp_path / "play.yml").write_text(PLAY)
    # A login that no output may show, though this server does not require it.
    source = {"git": work.url.replace("file://", f"file://me:{CANARY}@"), "version": "main"}
    commit = work.git("rev-parse", "HEAD")
    entry = json.loads(json.dumps(merged({"shop": {"server_names": ["shop.example.com"]}}, role_variables({}))["shop"]))
    hosts = {name: {"settings": {**entry, "source": source, "root": f"{tmp_path}/{name}"}} for name in "abcd"}
    inventory = write_inventory(tmp_path / "inventory", {}, hosts)
    kept = set((CACHE / "git").glob("*"))
    try:
        output = " ".join(run(tmp_path / "play.yml", "-i", inventory, "-vvvv", "--diff").split())
        assert output.count(f"git {work.url} main ({commit})") >= 4
        assert (asked().count("ls-remote"), asked().count("fetch")) == (1, 1)
        assert CANARY not in output
        work.commit(wsgi__py="app = 8\n")
        older = ("-e", "site=shop", "-e", "version=v1.0")
        output = " ".join(run(tmp_path / "play.yml", "-i", inventory, "-vvv", *older).split())
        assert f"git {work.url} v1.0 ({commit})" in output
        none = ("-e", "site=shop", "-e", "version=v1.9")
        output = " ".join(run(tmp_path / "play.yml", "-i", inventory, "-vvv", *none, check=False).split())
        assert "shop: source.version: " in output
        assert "the nearest are v1.0" in output
        assert asked().count("ls-remote") == 3, "a failure is shared by the hosts as well"
        assert CANARY not in output
    finally:
        for made in set((CACHE / "git").glob("*")) - kept:
            shutil.rmtree(made)


# --- Keys of the source -----------------------------------------------------------------------------------------------


@pytest.mark.parametrize("source", [
    {}, {"path": ""}, {"path": "a", "git": "https://h/x"}, {"git": "https://h/x", "version": ""},
    {"git": "ext::sh", "version": "x"}, {"git": "https://a%0Ahost=b@h/x", "version": "x"},
    {"git": "https://h/x", "version": "--upload-pack=id"},
    {"archive": "a.zip"}, {"git": "https://h/x", "version": 1.1},
])  # fmt: skip
def test_an_invalid_source_is_refused(fetch, source: dict) -> None:
    with pytest.raises(InputError, match=r"^source"):
        fetch(**source)


def test_a_source_is_exactly_one_of_path_git_and_archive(fetch) -> None:
    with pytest.raises(InputError, match="exactly one of path, git and archive; there are path, git"):
        fetch(path="a", git="https://h/x")


def test_a_version_on_the_command_line_applies_to_its_site_only() -> None:
    page = {"git": "https://h/x", "version": "v1"}
    assert with_version(page, "shop", {"site": "shop", "version": "v2"}) == {**page, "version": "v2"}
    assert with_version(page, "mill", {"site": "shop", "version": "v2"}) == page
    assert with_version(page, "shop", {"version": "v2"}) == page
    assert with_version(page, "shop", {"site": "shop"}) == page
    with pytest.raises(InputError, match="only a source in git has versions"):
        with_version({"path": "app"}, "shop", {"site": "shop", "version": "v2"})


def test_a_cached_error_is_reported_to_every_caller(tmp_path: Path) -> None:
    made: list[int] = []

    def fail() -> None:
        made.append(1)
        raise InputError("no")

    for _ in range(2):
        with pytest.raises(InputError, match="no"):
            once(tmp_path, "x", fail)
    assert made == [1]


def test_no_path_outside_of_the_folder_is_written(tmp_path: Path) -> None:
    for name in ("../x", "/x", "a/../../x"):
        with pytest.raises(InputError, match="leads out"):
            tree.write([tree.Item(name, "file")], tmp_path / "folder")
