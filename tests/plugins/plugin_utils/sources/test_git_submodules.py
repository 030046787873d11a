"""Submodules of git repositories, also malicious ones."""

from __future__ import annotations

import shutil
from pathlib import Path

import pytest
from repositories import CANARY, Work, hand_made, written

from ansible_collections.wsgi.sites.plugins.plugin_utils.sources import (
    InputError,
    git,
    limits,
)


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
