"""Local git repositories as sources, also malicious ones."""

from __future__ import annotations

import os
import shutil
from pathlib import Path

import pytest
from repositories import CANARY, Work

from ansible_collections.wsgi.sites.plugins.plugin_utils.sources import (
    InputError,
)


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
