"""A source comes from where the page says, once for all hosts, the same bytes everywhere, and lets no secret out."""

from __future__ import annotations

import base64
import contextlib
import hashlib
import http.server
import io
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
from conftest import load

action = load("roles/release/action_plugins/release_build.py")

from release_inputs import InputError, archive, git, tree, words  # noqa: E402
from release_inputs.once import once  # noqa: E402
from release_inputs.source import source_folder  # noqa: E402

CANARY = "canary-5ecret"
WHEN = 1_700_000_000


class Work:
    """A repository that someone works in."""

    def __init__(self, folder: Path) -> None:
        self.folder, self.url, self.now = folder, f"file://{folder}", WHEN
        folder.mkdir(parents=True)
        self.git("init", "-q", "-b", "main")

    def git(self, *arguments: str) -> str:
        """Run git there, as somebody, at a time of the test's own."""
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
    """A tree of git's as its bytes, whatever git itself would say of it."""
    content = b""
    for entry in entries:
        head, _, name = entry.partition("\t")
        mode, _kind, object_id = head.split()
        content += f"{mode.lstrip('0')} {name}\0".encode() + bytes.fromhex(object_id)
    path = folder / "tree"
    path.write_bytes(content)
    return path


def written(path: Path, url: str | None, text: str = "") -> Path:
    """A file with this text, or the .gitmodules of a submodule at this URL below any of the paths of these tests."""
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
    """Asks for a source as a run's forks do; another ``run`` is another run."""

    def ask(run: str = "run", cache: str = "cache", **source: str) -> tuple[Path, str]:
        return source_folder(source, tmp_path, tmp_path / run, tmp_path / cache)

    return ask


def listing(folder: Path) -> dict[str, object]:
    """What lies in a folder: contents, times and executable bits."""
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


def test_a_tag_a_branch_and_a_commit_lead_to_their_files(work: Work, fetch) -> None:
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


def test_files_have_the_time_of_their_last_change_on_every_controller(work: Work, fetch) -> None:
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
def test_a_version_that_is_not_there_is_told_with_the_nearest(work: Work, fetch, asked: str, says: str) -> None:
    with pytest.raises(InputError, match=says) as error:
        fetch(git=work.url, version=asked)
    assert str(error.value).startswith("source.version: ")


def calls(monkeypatch) -> list[str]:
    """The commands of git that reach out for another repository."""
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


def test_what_is_cached_is_not_fetched_again(work: Work, fetch, monkeypatch) -> None:
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


def test_a_branch_that_was_rewritten_or_became_a_folder_is_no_problem(work: Work, fetch) -> None:
    work.git("branch", "a")
    fetch(git=work.url, version=work.git("rev-parse", "--short=8", "HEAD"))
    work.git("branch", "-m", "a", "a/b")
    work.git("commit", "-q", "--amend", "-m", "other", "--date", f"{WHEN} +0000")
    commit = work.commit(wsgi__py="app = 6\n")
    assert fetch(git=work.url, version=commit[:8], run="later")[1].endswith(f"({commit})")


def test_a_server_that_gives_names_alone_is_asked_for_them(work: Work, fetch, monkeypatch) -> None:
    """As git of long ago: nothing is had by its hash."""
    real = git.Repository.git

    def old(self, *arguments: str, check: bool = True):
        refused = arguments[0] == "fetch" and any(":refs/fetched/" in word for word in arguments)
        return None if refused and not check else real(self, *arguments, check=check)

    monkeypatch.setattr(git.Repository, "git", old)
    assert (fetch(git=work.url, version="v1.0")[0] / "wsgi.py").exists()


def ask_in_a_fork(start, results, source: dict, folders: tuple[Path, Path, Path]) -> None:
    """What one of Ansible's forks does."""
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
    """A git that notes what it is asked to do, whoever asks, and is slow to fetch."""
    real, notes = shutil.which("git"), tmp_path / "asked"
    spy = tmp_path / "bin/git"
    spy.parent.mkdir()
    spy.write_text(f'#!/bin/sh\necho "$2" >> {notes}\ncase "$2" in fetch) sleep 0.3;; esac\nexec {real} "$@"\n')
    spy.chmod(0o755)
    monkeypatch.setenv("PATH", f"{spy.parent}:{os.environ['PATH']}")
    return lambda: notes.read_text().split()


def test_forks_that_ask_at_once_fetch_once_and_get_the_same(work: Work, tmp_path: Path, monkeypatch) -> None:
    asked = spy_on_git(tmp_path, monkeypatch)
    answers = ask_at_once({"git": work.url, "version": "main"}, tmp_path, "run")
    assert len({pid for pid, *_ in answers}) == 4
    assert {answer[1:] for answer in answers} == {
        (f"git {work.url} main ({work.git('rev-parse', 'v1.0^{}')})", "app = 1\n")
    }
    assert (asked().count("ls-remote"), asked().count("fetch")) == (1, 1)


def test_forks_share_a_failure_as_well(tmp_path: Path, monkeypatch) -> None:
    asked = spy_on_git(tmp_path, monkeypatch)
    answers = ask_at_once({"git": f"file://{tmp_path}/none", "version": "main"}, tmp_path, "run")
    assert {answer[2] for answer in answers} == {None}
    assert len({answer[1] for answer in answers}) == 1
    assert asked().count("ls-remote") == 1


def test_a_fork_that_is_killed_leaves_nothing_that_is_in_the_way(
    work: Work, fetch, tmp_path: Path, monkeypatch
) -> None:
    def killed(*_: object) -> None:
        raise KeyboardInterrupt

    with monkeypatch.context() as patched, pytest.raises(KeyboardInterrupt):
        patched.setattr(git, "write", killed)
        fetch(git=work.url, version="main")
    assert (fetch(git=work.url, version="main")[0] / "wsgi.py").exists()


def test_what_a_killed_git_left_is_in_nobodys_way(work: Work, fetch, tmp_path: Path) -> None:
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


def test_submodules_come_along_at_their_commit(work: Work, fetch, tmp_path: Path) -> None:
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


def test_a_submodule_that_cannot_be_had_is_an_error(work: Work, fetch, tmp_path: Path) -> None:
    library = Work(tmp_path / "library")
    library.commit(lib__py="")
    work.git("submodule", "--quiet", "add", "../library", "library")
    work.commit()
    shutil.rmtree(library.folder)
    with pytest.raises(InputError, match=r"library: there is no repository"):
        fetch(git=work.url, version="main")


@pytest.mark.parametrize("url", ["file:///etc", "/etc", "ext::sh -c id", "--upload-pack=id"])
def test_a_submodule_takes_nothing_of_this_machine(tmp_path: Path, monkeypatch, url: str) -> None:
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
def test_a_login_goes_to_its_own_server_alone(tmp_path: Path, own: str, other: str, whole: str) -> None:
    assert git.Repository(own, None, tmp_path)._beside(other) == whole


@pytest.mark.parametrize("way", ["above", "through a link"])
def test_a_tree_made_by_hand_puts_no_submodule_outside(work: Work, fetch, tmp_path: Path, way: str) -> None:
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
    """Gives a folder's files to whoever has the login; a repository as git does since its first days, file by file."""

    folder: Path
    seen: list[str]

    def do_GET(self) -> None:
        given = self.headers.get("Authorization", "")
        self.seen.append(f"{self.path} {given}")
        path = self.folder / self.path.partition("?")[0].lstrip("/")
        if given != "Basic " + base64.b64encode(f"me:{CANARY}/@".encode()).decode():
            self.send_response(401)
            self.send_header("WWW-Authenticate", 'Basic realm="x"')
            self.end_headers()
        elif path.is_file():
            self.send_response(200)
            self.end_headers()
            self.wfile.write(path.read_bytes())
        else:
            self.send_error(404)

    def log_message(self, *_: object) -> None:
        """Quiet."""


@pytest.fixture
def server(tmp_path: Path) -> Iterator[tuple[str, type[Server]]]:
    """``http://127.0.0.1:PORT`` and what it has seen."""
    (tmp_path / "served").mkdir()
    handler = type("Handler", (Server,), {"folder": tmp_path / "served", "seen": []})
    with http.server.ThreadingHTTPServer(("127.0.0.1", 0), handler) as running:
        threading.Thread(target=running.serve_forever, daemon=True).start()
        yield f"127.0.0.1:{running.server_port}", handler
        running.shutdown()


def test_a_login_in_the_url_opens_the_repository_and_is_seen_nowhere(
    work: Work, fetch, server, tmp_path: Path, monkeypatch
) -> None:
    host, _ = server
    for variable in ("http_proxy", "HTTP_PROXY", "all_proxy", "ALL_PROXY"):
        monkeypatch.delenv(variable, raising=False)
    work.git("clone", "-q", "--bare", ".", str(tmp_path / "served/shop.git"))
    subprocess.run(["git", "update-server-info"], cwd=tmp_path / "served/shop.git", check=True)
    arguments: list[str] = []
    real = subprocess.Popen
    monkeypatch.setattr(git.subprocess, "Popen", lambda command, **k: arguments.extend(command) or real(command, **k))
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


def test_a_server_that_is_not_there_is_told_without_the_login(fetch) -> None:
    with pytest.raises(InputError, match=r"http://127\.0\.0\.1:9/x\.git cannot be reached") as error:
        fetch(git=f"http://me:{CANARY}@127.0.0.1:9/x.git", version="0" * 40)
    assert CANARY not in str(error.value)


def test_a_server_that_says_nothing_is_given_up(fetch, monkeypatch) -> None:
    monkeypatch.setattr(git, "PATIENCE", 1)

    with socket.create_server(("127.0.0.1", 0)) as silent:
        began = time.monotonic()
        with pytest.raises(InputError, match="took longer than"):
            fetch(git=f"http://127.0.0.1:{silent.getsockname()[1]}/x.git", version="0" * 40)
        assert time.monotonic() - began < 30


def test_a_key_is_the_only_one_that_is_offered_and_nobody_is_asked(tmp_path: Path, monkeypatch) -> None:
    # What leads to a host is the operator's; what opens it is the site's own.
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


def test_a_key_that_is_missing_or_open_to_others_is_told(work: Work, fetch, tmp_path: Path) -> None:
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
    text = git.explain(f"{said}\nhttps://me:{CANARY}@h/shop.git", f"https://me:{CANARY}@h/shop.git")
    assert remedy in text
    assert CANARY not in text


@pytest.mark.parametrize(("url", "shown"), [
    (f"https://me:{CANARY}@h:8443/a/b.git?token={CANARY}#x", "https://h:8443/a/b.git"),
    (f"https://{CANARY}@h/a.zip", "https://h/a.zip"),
    (f"ssh://me:{CANARY}@h/b.git", "ssh://h/b.git"),
])  # fmt: skip
def test_a_url_is_shown_without_what_is_secret(url: str, shown: str) -> None:
    assert words.clean_url(url) == shown
    assert CANARY not in words.masked(f"fatal: {url}: {CANARY}", url)


# --- Archives ---------------------------------------------------------------------------------------------------------


def tarball(path: Path, *members: tuple[tarfile.TarInfo, bytes]) -> dict[str, str]:
    """An archive, and the page's words for it."""
    with tarfile.open(path, "w:xz" if path.suffix == ".xz" else "w:gz") as tar:
        for member, content in members:
            member.size = len(content)
            tar.addfile(member, io.BytesIO(content))
    return {"archive": str(path), "sha256": archive.digest(path)}


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


def test_an_archive_of_several_things_keeps_them_and_a_subfolder_is_taken(tmp_path: Path, fetch) -> None:
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
    folder, _ = fetch(archive="a.zip", sha256=archive.digest(tmp_path / "a.zip").upper())
    assert listing(folder) == {"run": (b"#!\n", 1767323046, True), "link": "run"}


@pytest.mark.parametrize("bad", [
    member("../evil"), member("/evil"), member("a/../../evil"), member("a/dev", tarfile.CHRTYPE),
    member("a/pipe", tarfile.FIFOTYPE), member("a/hard", HARD, "../../etc/passwd"),
    member("a/hard", HARD, "/etc/passwd"),
    member("a/hard", HARD, "a/none"), member("a/x"),
], ids=lambda made: f"{made.name}-{made.type!r}")  # fmt: skip
def test_what_leads_out_of_an_archive_is_refused(tmp_path: Path, fetch, bad: tarfile.TarInfo) -> None:
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
    with pytest.raises(action.PackError, match="the link bad leads out of the source"):
        action.collect(folder)


def test_an_archive_with_another_hash_is_refused_before_it_is_opened(tmp_path: Path, fetch, monkeypatch) -> None:
    source = tarball(tmp_path / "a.tar.gz", (member("a"), b""))
    monkeypatch.setattr(archive, "unpack", lambda *_: pytest.fail("opened"))
    with pytest.raises(InputError, match=rf"source\.sha256: .*its hash is {source['sha256']}"):
        fetch(archive=source["archive"], sha256="0" * 64)


def test_no_archive_and_a_broken_one_are_told(tmp_path: Path, fetch) -> None:
    with pytest.raises(InputError, match=r"source\.archive: there is no file .*none\.zip"):
        fetch(archive="none.zip", sha256="0" * 64)
    for content, says in ((b"hello world", "is neither a .tar.gz"), (b"\x1f\x8b\x08broken", "cannot be unpacked")):
        (tmp_path / "bad").write_bytes(content)
        with pytest.raises(InputError, match=says):
            fetch(archive="bad", sha256=hashlib.sha256(content).hexdigest())


def test_an_archive_comes_over_the_network_once_and_its_login_stays_secret(
    tmp_path: Path, fetch, server, monkeypatch
) -> None:
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
    monkeypatch.setattr(archive, "KEEP", 1)
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
def test_a_zip_of_a_machine_without_a_clock_is_unpacked(tmp_path: Path, fetch, date: tuple) -> None:
    with zipfile.ZipFile(tmp_path / "a.zip", "w") as made:
        made.writestr(zipfile.ZipInfo("wsgi.py", date), "app = 1\n")
    folder, _ = fetch(archive="a.zip", sha256=archive.digest(tmp_path / "a.zip"))
    assert 315446400 <= listing(folder)["wsgi.py"][1] < 2**32


@pytest.mark.parametrize("when", [-1e300, 1e300, float("inf"), float("nan"), -5])
def test_a_tarball_with_an_absurd_time_is_unpacked(tmp_path: Path, fetch, when: float) -> None:
    made = member("wsgi.py")
    made.pax_headers = {"mtime": str(when)}
    folder, _ = fetch(**tarball(tmp_path / "a.tar.gz", (made, b"app = 1\n")))
    assert listing(folder)["wsgi.py"][1] in (0, 2**32 - 1)


def test_a_download_that_drips_in_is_given_up(tmp_path: Path, fetch, monkeypatch) -> None:
    def drip() -> None:
        peer, _ = listener.accept()
        with peer, contextlib.suppress(OSError):
            peer.recv(65536)
            peer.sendall(b"HTTP/1.1 200 OK\r\nContent-Length: 100000\r\n\r\n")
            while not over.wait(0.05):
                peer.sendall(b"x")

    for variable in ("http_proxy", "HTTP_PROXY", "all_proxy", "ALL_PROXY"):
        monkeypatch.delenv(variable, raising=False)
    monkeypatch.setattr(archive, "PATIENCE", 1)
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


# --- The whole, through Ansible ---------------------------------------------------------------------------------------


PLAY = """
- hosts: all
  gather_facts: false
  tasks:
    - name: Know the role's plugins
      ansible.builtin.import_role: {name: release, tasks_from: install, rolespec_validate: false}
      when: false
    - name: Build
      release_build:
        site: shop
        root: "{{ inventory_dir }}/{{ inventory_hostname }}"
        user: root
        wsgi: wsgi:app
        source: "{{ source }}"
      check_mode: true
      loop: [1, 2]
"""


def test_all_hosts_of_a_run_get_one_commit_by_one_fetch(work: Work, tmp_path: Path, monkeypatch) -> None:
    asked = spy_on_git(tmp_path, monkeypatch)
    (tmp_path / "play.yml").write_text(PLAY)
    # A login that no output may show, though nobody asks for it here.
    source = {"git": work.url.replace("file://", f"file://me:{CANARY}@"), "version": "main"}
    commit = work.git("rev-parse", "HEAD")
    inventory = write_inventory(tmp_path / "inventory", {"source": source}, {name: {} for name in "abcd"})
    kept = set((action.CACHE / "git").glob("*"))
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
        for made in set((action.CACHE / "git").glob("*")) - kept:
            shutil.rmtree(made)


# --- What the page may say --------------------------------------------------------------------------------------------


@pytest.mark.parametrize("source", [
    {}, {"path": ""}, {"path": "a", "git": "https://h/x"}, {"git": "https://h/x", "version": ""},
    {"git": "ext::sh", "version": "x"}, {"git": "https://a%0Ahost=b@h/x", "version": "x"},
    {"git": "https://h/x", "version": "--upload-pack=id"},
    {"archive": "a.zip"}, {"git": "https://h/x", "version": 1.1},
])  # fmt: skip
def test_an_unclear_source_is_refused(fetch, source: dict) -> None:
    with pytest.raises(InputError, match=r"^source"):
        fetch(**source)


def test_a_source_is_one_thing(fetch) -> None:
    with pytest.raises(InputError, match="exactly one of path, git and archive; there are path, git"):
        fetch(path="a", git="https://h/x")


def test_a_version_of_the_command_line_is_for_its_site_alone() -> None:
    page = {"git": "https://h/x", "version": "v1"}
    assert action.with_version(page, "shop", {"site": "shop", "version": "v2"}) == {**page, "version": "v2"}
    assert action.with_version(page, "mill", {"site": "shop", "version": "v2"}) == page
    assert action.with_version(page, "shop", {"version": "v2"}) == page
    assert action.with_version(page, "shop", {"site": "shop"}) == page
    with pytest.raises(action.PackError, match="only a source in git has versions"):
        action.with_version({"path": "app"}, "shop", {"site": "shop", "version": "v2"})


def test_an_error_is_told_to_all_who_ask(tmp_path: Path) -> None:
    made: list[int] = []

    def fail() -> None:
        made.append(1)
        raise InputError("no")

    for _ in range(2):
        with pytest.raises(InputError, match="no"):
            once(tmp_path, "x", fail)
    assert made == [1]


def test_a_path_out_of_the_folder_is_never_written(tmp_path: Path) -> None:
    for name in ("../x", "/x", "a/../../x"):
        with pytest.raises(InputError, match="leads out"):
            tree.write([tree.Item(name, "file")], tmp_path / "folder")
