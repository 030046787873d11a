"""Git repositories, archives and a server for the tests of sources."""

from __future__ import annotations

import base64
import http.server
import io
import os
import shutil
import stat
import subprocess
import tarfile
from collections.abc import Callable
from pathlib import Path

from ansible_collections.wsgi.sites.plugins.plugin_utils.sources import (
    archive_fetch,
)

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


def spy_on_git(tmp_path: Path, monkeypatch) -> Callable[[], list[str]]:
    """A git that records the commands of all processes and fetches slowly."""
    real, notes = shutil.which("git"), tmp_path / "asked"
    spy = tmp_path / "bin/git"
    spy.parent.mkdir()
    spy.write_text(f'#!/bin/sh\necho "$2" >> {notes}\ncase "$2" in fetch) sleep 0.3;; esac\nexec {real} "$@"\n')
    spy.chmod(0o755)
    monkeypatch.setenv("PATH", f"{spy.parent}:{os.environ['PATH']}")
    return lambda: notes.read_text().split()


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
