"""Commits from git: versions, cache, reproducibility and limits."""

from __future__ import annotations

import os
import shutil
import stat
import subprocess
from multiprocessing import get_context
from pathlib import Path

import pytest
from repositories import WHEN, Work, hand_made, listing, spy_on_git, written

from ansible_collections.wsgi.sites.plugins.plugin_utils.sources import (
    InputError,
    git,
    git_process,
    limits,
)
from ansible_collections.wsgi.sites.plugins.plugin_utils.sources.source import source_folder


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


def test_a_file_in_lfs_is_refused(work: Work, fetch) -> None:
    work.commit(big__bin="version https://git-lfs.github.com/spec/v1\noid sha256:0\nsize 1\n")
    with pytest.raises(InputError, match=r"big\.bin lies in Git LFS"):
        fetch(git=work.url, version="main")


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
