"""Files under build/ are private to their owner and never written through links."""

from __future__ import annotations

import os
import stat
from pathlib import Path
from types import ModuleType

import pytest
from ansible.errors import AnsibleActionFail

SECRET = 'SECRET_KEY="canary"\n'


@pytest.fixture
def render(plugin, tmp_path: Path, monkeypatch) -> ModuleType:
    """The plugin with a private build folder and a permissive umask."""
    module = plugin("plugins/action/render_files.py")
    monkeypatch.setattr(module, "BUILD", tmp_path / "build")
    before = os.umask(0)
    yield module
    os.umask(before)


def mode(path: Path) -> int:
    return stat.S_IMODE(path.lstat().st_mode)


def put(build: Path, name: str, content: str | None = None, link: Path | None = None) -> Path:
    """Create a file below the build folder, as an earlier version or another user has."""
    path = build / "web1" / name
    path.parent.mkdir(parents=True, exist_ok=True)
    if link:
        path.symlink_to(link)
    else:
        path.write_text(content or "", encoding="utf-8")
    return path


def test_a_file_is_never_readable_by_others(render: ModuleType, tmp_path: Path, monkeypatch) -> None:
    seen: list[int] = []
    real = os.fdopen

    def watch(handle: int, *arguments: object, **words: object):
        seen.append(stat.S_IMODE(os.fstat(handle).st_mode))
        return real(handle, *arguments, **words)

    monkeypatch.setattr(os, "fdopen", watch)
    assert render.write("web1", "/srv/shop/environment", SECRET)
    assert seen == [0o600], "before the first byte"
    build = tmp_path / "build"
    assert (build / "web1/srv/shop/environment").read_text() == SECRET
    assert mode(build / "web1/srv/shop/environment") == 0o600
    assert {mode(build / name) for name in ("web1", "web1/srv", "web1/srv/shop")} == {0o700}
    assert not render.write("web1", "/srv/shop/environment", SECRET)
    assert [path.name for path in (build / "web1/srv/shop").iterdir()] == ["environment"]


def test_files_of_an_earlier_version_become_private(render: ModuleType, tmp_path: Path) -> None:
    build = tmp_path / "build"
    file = put(build, "etc/nginx/sites-available/shop.conf", "server {}\n")
    link = put(build, "etc/nginx/sites-enabled/shop.conf", link=Path("/etc/nginx/sites-available/shop.conf"))
    assert (mode(file), mode(file.parent)) == (0o666, 0o777)
    assert render.write("web1", "/etc/nginx/sites-available/shop.conf", "server {}\n")
    assert not render.link("web1", "/etc/nginx/sites-enabled/shop.conf", "/etc/nginx/sites-available/shop.conf")
    assert render.link("web1", "/etc/nginx/sites-enabled/shop.conf", "../sites-available/shop.conf")
    assert str(link.readlink()) == "../sites-available/shop.conf"
    assert render.link("web1", "/etc/nginx/sites-available/shop.conf", "/elsewhere"), "a link in place of a file"
    assert {mode(folder) for folder in (build / "web1/etc", build / "web1/etc/nginx", file.parent)} == {0o700}


def test_no_file_is_written_through_a_link(render: ModuleType, tmp_path: Path) -> None:
    outside = tmp_path / "outside"
    outside.write_text("theirs", encoding="utf-8")
    file = put(tmp_path / "build", "etc/environment", link=outside)
    hard = tmp_path / "build/web1/etc/hard"
    hard.hardlink_to(outside)
    for name in ("environment", "hard"):
        assert render.write("web1", f"/etc/{name}", SECRET)
        assert (tmp_path / "build/web1/etc" / name).read_text() == SECRET
    assert not file.is_symlink()
    assert outside.read_text() == "theirs"
    os.mkfifo(tmp_path / "build/web1/etc/fifo")
    assert render.write("web1", "/etc/fifo", SECRET)


@pytest.mark.parametrize("name", ["", "srv", "srv/shop"])
def test_no_file_is_written_through_a_linked_folder(render: ModuleType, tmp_path: Path, name: str) -> None:
    outside = tmp_path / "outside/shop"
    outside.mkdir(parents=True)
    path = tmp_path / "build/web1" / name
    path.parent.mkdir(parents=True)
    path.symlink_to(outside)
    with pytest.raises(AnsibleActionFail, match=rf"{path} is .*link.*; remove it, and run again"):
        render.write("web1", "/srv/shop/environment", SECRET)
    assert not list(outside.iterdir())


def test_an_obstacle_is_named_with_the_remedy(render: ModuleType, tmp_path: Path) -> None:
    file = put(tmp_path / "build", "srv/shop", "a file")
    with pytest.raises(AnsibleActionFail, match=rf"{file} is a file.*; remove it, and run again"):
        render.write("web1", "/srv/shop/environment", SECRET)
    with pytest.raises(AnsibleActionFail, match=rf"{render.BUILD} is a file.*; remove it, and run again"):
        (tmp_path / "build").rename(tmp_path / "moved")
        (tmp_path / "build").touch()
        render.write("web1", "/srv/shop/environment", SECRET)
    (tmp_path / "build").unlink()
    folder = tmp_path / "build/web1/etc/x"
    folder.mkdir(parents=True)
    for write in (render.write, render.link):
        with pytest.raises(AnsibleActionFail, match=rf"{folder} is a folder.*; remove it, and run again"):
            write("web1", "/etc/x", SECRET)
    assert [path.name for path in folder.parent.iterdir()] == ["x"], "no incomplete file is left"


@pytest.mark.skipif(os.geteuid() != 0, reason="only root can give a folder away")
def test_a_folder_of_another_user_is_not_used(render: ModuleType, tmp_path: Path) -> None:
    (tmp_path / "build/web1").mkdir(parents=True)
    os.chown(tmp_path / "build/web1", 65534, 65534)
    with pytest.raises(AnsibleActionFail, match="belongs to another user"):
        render.write("web1", "/srv/shop/environment", SECRET)
    os.chown(tmp_path / "build", 65534, 65534)
    assert render.write("web1", "/srv/shop/environment", SECRET), "the owner of the checkout may have made it"


@pytest.mark.parametrize(("host", "path"), [("web1", "/../x"), ("web1", "/etc/../../x"), ("..", "/x"), ("a/b", "/x")])
def test_no_path_outside_of_build_is_written(render: ModuleType, tmp_path: Path, host: str, path: str) -> None:
    with pytest.raises(AnsibleActionFail, match="leads out of"):
        render.write(host, path, SECRET)
    assert not (tmp_path / "build").exists()
