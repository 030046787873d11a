"""The build of a release on a host: manifest, isolation, packages and bytecode."""

from __future__ import annotations

import getpass
import gzip
import http.server
import json
import os
import pwd
import re
import shutil
import sys
import threading
from dataclasses import replace
from pathlib import Path

import pytest
import yaml
from ansible.module_utils.common.arg_spec import ArgumentSpecValidator
from nginx_rig import evaluate
from releases import NASTY, NOW, PARTS, make_release, passable
from supervised import eventually, uwsgi_files

from ansible_collections.wsgi.sites.plugins.module_utils.packages import lockfile
from ansible_collections.wsgi.sites.plugins.module_utils.releases import (
    bytecode,
    environment,
    fingerprint,
    host_python,
    store,
    uv,
    venv,
)
from ansible_collections.wsgi.sites.plugins.module_utils.releases.build import Build
from ansible_collections.wsgi.sites.plugins.module_utils.releases.ensure import ensure_release, explain
from ansible_collections.wsgi.sites.plugins.module_utils.releases.errors import BuildError
from ansible_collections.wsgi.sites.plugins.module_utils.releases.manifest import SPEC
from ansible_collections.wsgi.sites.plugins.module_utils.runtime.privileges import run_as
from ansible_collections.wsgi.sites.plugins.module_utils.site import paths
from ansible_collections.wsgi.sites.plugins.module_utils.system import process
from ansible_collections.wsgi.sites.plugins.modules import release_build as module
from ansible_collections.wsgi.sites.plugins.plugin_utils.releases import source_files
from ansible_collections.wsgi.sites.plugins.plugin_utils.releases.manifest import SERVER_PACKAGES
from ansible_collections.wsgi.sites.plugins.plugin_utils.releases.payload import pack
from ansible_collections.wsgi.sites.plugins.plugin_utils.sources import wheels


@pytest.mark.parametrize(("said", "words"), [
    ("error: Request failed\n  cause: Failed to fetch: `https://me:canary@x/`\n  cause: Connection refused",
     "does not reach the package index"),
    ("cause: error sending request for url (https://x/)\n invalid peer certificate: UnknownIssuer", "host_ca_cert"),
    ("error: No space left on device (os error 28)", "the disk is full"),
    ("Hash mismatch for `flask==3`", "not the one that was locked"),
    ("In `--require-hashes` mode, all requirements must have a hash", "the lock file is incomplete"),
    ("has no usable wheels and building from source is disabled", "has no wheel for this host's Python"),
])  # fmt: skip
def test_uvs_errors_come_with_a_remedy_and_without_passwords(said: str, words: str) -> None:
    assert words in uv.explain(said)
    assert "canary" not in uv.explain(said)


def params(
    site: paths.Layout, payload: Path | None, server: str = "gunicorn", environment_hash: str = "e", **more: object
) -> dict:
    """The module's arguments as Ansible completes them."""
    manifest = {
        "site": "shop", "root": str(site.root), "user": getpass.getuser(), "source": "folder app", "wsgi": "wsgi:app",
        "server": {"name": server}, "public": ["app/static"], "compress": ["gzip"], "health": {"path": "/healthz"},
        "max_body": 1024, **more,
    }  # fmt: skip
    validated = ArgumentSpecValidator(SPEC).validate(manifest)
    assert not validated.error_messages
    return {
        "manifest": validated.validated_parameters,
        "environment_hash": environment_hash,
        "payload": payload and str(payload),
        "parts": {"code": "c" * 64, "requirements": "r", "config": "s"},
    }


def test_a_bad_manifest_is_refused_with_the_name_of_the_wrong_key() -> None:
    good = {"site": "shop", "root": "/srv/shop", "user": "shop", "wsgi": "wsgi:app"}
    for wrong, words in (
        ({"server": {"name": "waitress"}}, "value of name must be one of: gunicorn, uwsgi, got: waitress"),
        ({"server": {"workers": {"workers_max": "many"}}}, "workers_max"),
        ({"going_live": "sometimes"}, "going_live must be one of: overlap, replace"),
        ({"compress": ["zip"]}, "compress must be one or more of: gzip, brotli"),
        ({"servr": {}}, "servr"),
    ):
        errors = ArgumentSpecValidator(SPEC).validate({**good, **wrong}).error_messages
        assert any(words in error for error in errors), errors
    del good["wsgi"]
    assert ArgumentSpecValidator(SPEC).validate(good).error_messages == ["missing required arguments: wsgi"]


def test_the_documentation_of_the_manifest_matches_its_spec() -> None:
    """ansible-doc shows each key with its type, choices and default."""

    def compared(spec: dict, options: dict, place: str) -> None:
        assert set(spec) == set(options), place
        for key, taken in spec.items():
            told = options[key]
            assert told["description"], f"{place}.{key}"
            for part in ("type", "choices", "default", "elements", "required"):
                assert taken.get(part) == told.get(part), f"{place}.{key}: {part}"
            compared(taken.get("options", {}), told.get("suboptions", {}), f"{place}.{key}")

    compared(SPEC, yaml.safe_load(module.DOCUMENTATION)["options"]["manifest"]["suboptions"], "manifest")


def test_check_mode_writes_nothing_on_a_bare_host(site: paths.Layout) -> None:
    result = ensure_release(params(site, None), check_mode=True)
    assert (result["needed"], result["build"], result["reason"]) == (True, True, "first release")
    assert not site.root.exists()
    assert not paths.RUN.exists()


def payload_of(
    source: Path, tmp_path: Path, values: dict, server_lock: bytes = b"", server: str = "gunicorn", more: str = ""
) -> Path:
    """A payload with an environment, made as by the action plugin.

    :param more: another line of the server's config
    """
    files = {"gunicorn.conf.py": "workers = 1\n"} if server == "gunicorn" else dict(uwsgi_files(()))
    first = next(iter(files))
    settings = {"environment": values, "files": {**files, first: files[first] + more, "program-blue.conf": "b"}}
    settings["server_package"] = SERVER_PACKAGES[server]
    payload = tmp_path / "payload.tar.gz"
    with payload.open("wb") as target:
        pack(target, source_files.collect(source), settings, server_lock)
    return payload


@pytest.mark.parametrize("problem", ["uv is not there", "disk", "ENOSPC"])
def test_a_failed_build_leaves_nothing_behind(
    site: paths.Layout, source: Path, tmp_path: Path, monkeypatch, problem: str
) -> None:
    payload, tools = payload_of(source, tmp_path, NASTY), uv.Toolbox(uv=tmp_path / "no-uv")
    words = f"{tmp_path}/no-uv is not there"
    if problem == "disk":
        monkeypatch.setattr(shutil, "disk_usage", lambda _: shutil._ntuple_diskusage(10, 10, 1 << 20))
        words = "only 1 MB are free"
    if problem == "ENOSPC":
        monkeypatch.setattr(store, "unpack", lambda *_: (_ for _ in ()).throw(OSError(28, "No space left", "x")))
        words = "No space left"
    with pytest.raises((BuildError, OSError), match=words) as error:
        ensure_release(params(site, payload), check_mode=False, tools=tools)
    assert list(site.releases.iterdir()) == []
    if problem == "ENOSPC":
        assert "the disk is full" in explain(error.value)


@pytest.fixture(scope="session")
def uv_program() -> Path:
    """The uv of the environment that runs the tests."""
    found = shutil.which("uv", path=f"{Path(sys.executable).parent}:{os.environ.get('PATH', '')}")
    if found is None:
        pytest.skip("uv is not installed here")
    return Path(found)


@pytest.mark.skipif(os.geteuid() != 0, reason="only root can become a site's user")
def test_commands_of_the_site_inherit_nothing_from_root(tmp_path: Path) -> None:
    code = "import os; print(os.getresuid(), os.getresgid(), os.getgroups(), dict(os.environ)); os.setuid(0)"
    done = run_as("nobody", ["/usr/bin/python3", "-I", "-c", code], cwd=Path("/"), environment={"A": "1"})
    assert done.returncode == 1
    assert "Operation not permitted" in done.stderr
    uids, rest = done.stdout.split(")", 1)
    assert "0," not in uids.replace("65534,", "")
    assert "'A': '1'" in rest
    status = run_as("nobody", ["/bin/cat", "/proc/self/status"], cwd=Path("/"), environment={})
    assert "NoNewPrivs:\t1" in status.stdout


@pytest.mark.skipif(os.geteuid() != 0, reason="only root can become a site's user")
def test_background_processes_of_a_command_are_ended_and_not_waited_for() -> None:
    done = run_as("nobody", ["sh", "-c", "sleep 600 & echo $!"], cwd=Path("/"), environment={}, timeout=60)
    assert done.returncode == 0
    eventually(lambda: process.is_gone(int(done.stdout)))


@pytest.mark.parametrize("server", ["gunicorn", "uwsgi"])
def test_a_release_is_built_checked_and_then_up_to_date(
    site: paths.Layout, source: Path, tmp_path: Path, project: Path, uv_program: Path, server: str
) -> None:
    """A complete build with real packages; needs the package index once."""
    passable(tmp_path)
    server_lock = (project / f"roles/server/files/{server}.txt").read_bytes()
    (source / "requirements.txt").write_text("", encoding="utf-8")
    (source / "static/style.css").write_text("body {}\n" * 200, encoding="utf-8")
    tools = uv.Toolbox(uv=uv_program, cache=tmp_path / "cache", python=Path(os.path.realpath(sys.executable)))
    values = {"CANARY": "canary-value", "SECRET_KEY": "canary-key", "SITE_NAME": "mine"}
    asked = params(site, payload_of(source, tmp_path, values, server_lock, server), server=server)

    result = ensure_release(asked, check_mode=False, tools=tools, now=NOW)
    assert (result["changed"], result["release"], result["slot"]) == (True, "20261121T031500Z-cccccccc", "blue")
    assert "canary" not in json.dumps(result)
    release = site.release(result["release"])
    # In the second line if the path is too long for the first one, as in a test.
    first_lines = "".join((release / "venv/bin" / server).read_text().splitlines()[:2])
    assert f"{release}/venv/bin/python" in first_lines
    assert list((release / "app/shop").rglob("code.*.pyc")), "compiled before the first start"
    assert (release / "environment").stat().st_mode & 0o777 == 0o600
    assert (release / ".fingerprint").stat().st_mode & 0o777 == 0o600
    modes = {name: (release / name).stat().st_mode & 0o777 for name in (".", "release.json", "venv", "venv/bin")}
    assert modes == {".": 0o751, "release.json": 0o640, "venv": 0o750, "venv/bin": 0o750}
    assert store.correct_modes(site, pwd.getpwnam(getpass.getuser()).pw_gid) == []
    described = site.manifest(release.name)
    assert described["command"][0] == f"{release}/venv/bin/{server}"
    assert described["server"] == server
    assert "canary" not in json.dumps(described)
    assert (described["packed"], described["public"]) == ({"ways": ["gzip"]}, ["app/static"])
    packed = release / "app/static/style.css.gz"
    assert gzip.decompress(packed.read_bytes()) == packed.with_suffix("").read_bytes()
    assert packed.stat().st_mode & 0o777 == 0o644
    entry = {"root": str(site.root), "client_max_body_size": "1k", "env": values}
    rendered = evaluate("lookup('wsgi.sites.site_environment', 'shop', entry.env, file_of=entry)", {"entry": entry})
    written = (release / "environment").read_text()
    assert rendered.replace("(the release's ID)", release.name) == written, "playbooks/render.yml shows this very file"
    assert environment.parse_environment(written)["SITE_NAME"] == "mine", "the operator's value wins"

    again = ensure_release(asked, check_mode=False, tools=tools)
    assert (again["changed"], again["needed"], again["release"]) == (False, True, release.name), "not built twice"

    words = "an_option = that = breaks\n"
    broken = params(site, payload_of(source, tmp_path, values, server_lock, server, words), server=server)
    broken["parts"] = broken["parts"] | {"config": "other"}
    with pytest.raises(BuildError, match=r"has an error|check of uwsgi.ini(.|\n)*unknown config directive: an_opt"):
        ensure_release(broken, check_mode=False, tools=tools)

    (source / "wsgi.py").write_text("import os\nraise RuntimeError(os.environ['CANARY'])\n", encoding="utf-8")
    payload = payload_of(source, tmp_path, values, server_lock, server)
    broken = params(site, payload, server=server, environment_hash="other")
    with pytest.raises(BuildError) as error:
        ensure_release(broken, check_mode=False, tools=tools)
    assert "RuntimeError" in str(error.value)
    assert "wsgi.py" in str(error.value)
    assert "canary" not in str(error.value).lower()
    assert store.complete(site) == [release.name]
    assert len(list(site.releases.iterdir())) == 1


def test_bytecode_is_reused_for_identical_files(site: paths.Layout, source: Path, tmp_path: Path) -> None:
    live = make_release(site, "A", PARTS)
    (live / "venv/lib/other.py").write_text("other = 1\n", encoding="utf-8")
    python = Path(os.path.realpath(sys.executable))
    bytecode.compile_bytecode(python, [live / "venv/lib"])
    (live / fingerprint.FILE).write_text(fingerprint.record(live, PARTS), encoding="utf-8")
    site.slot("blue").mkdir(parents=True)
    paths.replace_link(site.slot("blue") / "release", "../../releases/A")
    paths.replace_link(site.live, "slots/blue")
    payload = payload_of(source, tmp_path, {})

    def compiled(name: str) -> dict[str, Path]:
        """A release with one unchanged package and one changed package."""
        release = site.release(name)
        (release / "venv/lib").mkdir(parents=True)
        (release / "app").mkdir()
        (release / "venv/lib/flask.py").hardlink_to(live / "venv/lib/flask.py")
        (release / "venv/lib/other.py").write_text("other = 2\n", encoding="utf-8")
        made = Build(site, params(site, None)["manifest"], PARTS, payload, uv.Toolbox(python=python))
        made.compile(release, release / "app")
        return {path.name.split(".")[0]: path for path in (release / "venv/lib/__pycache__").iterdir()}

    before, after = live / "venv/lib/__pycache__", compiled("B")
    assert set(after) == {"flask", "other"}
    assert after["flask"].samefile(before / after["flask"].name)
    assert not after["other"].samefile(before / after["other"].name)
    assert not fingerprint.damage(live), "the live release is unchanged"

    with (before / after["flask"].name).open("ab") as edited:  # its header still matches the source
        edited.write(b"edited on the host")
    mended = compiled("C")
    assert not mended["flask"].samefile(before / mended["flask"].name), "nothing is taken from a changed release"


def test_a_wheelhouse_needs_no_network_on_the_host(
    site: paths.Layout, source: Path, tmp_path: Path, project: Path, uv_program: Path, monkeypatch
) -> None:
    passable(tmp_path)
    server_lock = (project / "roles/server/files/gunicorn.txt").read_bytes()
    (source / "requirements.txt").write_text("--index-url http://127.0.0.1:9/simple\n", encoding="utf-8")
    python = Path(os.path.realpath(sys.executable))
    # An empty cache, and an unreachable index and proxy.
    tools = uv.Toolbox(uv_program, tmp_path / "cache", python, "http://127.0.0.1:9/simple", "http://127.0.0.1:9")
    asked = params(site, None, packages="wheelhouse")
    target = ensure_release(asked, check_mode=False, tools=tools)["target"]
    wheelhouse = wheels.collect([lockfile.parse(server_lock)], target, "", tmp_path / "controller")
    settings = {"environment": {}, "files": {"gunicorn.conf.py": "", "program-blue.conf": "b"}}
    payload = tmp_path / "wheels.tar.gz"

    def perform(brought: list[Path], lock: bytes = server_lock) -> dict:
        with payload.open("wb") as stream:
            pack(stream, source_files.collect(source), settings, lock, brought)
        return ensure_release(asked | {"payload": str(payload)}, check_mode=False, tools=tools)

    with pytest.raises(BuildError, match="is not among the payload's wheels"):
        perform([])
    assert not list(site.releases.iterdir())
    with pytest.raises(BuildError, match="not the one that was locked"):
        perform(wheelhouse, re.sub(rb"sha256:\w{4}", b"sha256:0000", server_lock))
    result = perform(wheelhouse)
    release = site.release(result["release"])
    assert (release / "venv/bin/gunicorn").is_file()
    assert not (release / ".wheels").exists(), "the packages are in the venv"


class Index(http.server.BaseHTTPRequestHandler):
    """A package index with one wheel, of which only the first bytes come until ``whole``."""

    wheel: Path
    whole = False

    def do_GET(self) -> None:
        content = self.wheel.read_bytes()
        is_page = not self.path.endswith(".whl")
        if is_page:
            content = f'<a href="/{self.wheel.name}">{self.wheel.name}</a>'.encode()
        self.send_response(200)
        self.send_header("Content-Length", str(len(content)))
        self.send_header("Content-Type", "text/html" if is_page else "application/octet-stream")
        self.end_headers()
        self.wfile.write(content if is_page or self.whole else content[: len(content) // 2])

    def do_HEAD(self) -> None:
        self.send_error(405)

    def log_message(self, *_: object) -> None:
        """Write no log."""


def test_a_release_whose_build_lost_the_network_is_not_a_candidate(
    site: paths.Layout, source: Path, tmp_path: Path, project: Path, uv_program: Path, monkeypatch
) -> None:
    passable(tmp_path)
    server_lock = (project / "roles/server/files/gunicorn.txt").read_bytes()
    python = Path(os.path.realpath(sys.executable))
    found = wheels.collect([lockfile.parse(server_lock)], host_python.target(python), "", tmp_path / "controller")
    (source / "requirements.txt").write_text("", encoding="utf-8")
    make_release(site, "A", PARTS | {"code": "other"}, "blue")
    index = type("TheIndex", (Index,), {"wheel": found[0]})
    with http.server.ThreadingHTTPServer(("127.0.0.1", 0), index) as server:
        threading.Thread(target=server.serve_forever, daemon=True).start()
        address = f"http://127.0.0.1:{server.server_port}/simple"
        tools = uv.Toolbox(uv_program, tmp_path / "cache", python)
        payload = tmp_path / "index.tar.gz"
        settings = {
            "environment": {},
            "files": {"gunicorn.conf.py": "", "program-blue.conf": "b"},
            "package_index": address,
        }
        with payload.open("wb") as stream:
            pack(stream, source_files.collect(source), settings, server_lock)
        with pytest.raises(BuildError, match=r"uv says:(.|\n)*gunicorn"):
            ensure_release(params(site, payload), check_mode=False, tools=tools)
        assert store.complete(site) == ["A"]
        assert site.live_release() == "A"
        index.whole = True
        result = ensure_release(params(site, payload), check_mode=False, tools=tools)
        server.shutdown()
    assert store.complete(site) == sorted(["A", result["release"]])


def test_a_uv_lock_is_installed_by_uv(tmp_path: Path, uv_program: Path) -> None:
    """Without a network: nothing is resolved."""
    (tmp_path / "pyproject.toml").write_text(
        '[project]\nname = "shop"\nversion = "1"\nrequires-python = ">=3.11"\ndependencies = ["itsdangerous"]\n',
        encoding="utf-8",
    )
    wheel = '{ url = "https://example.com/itsdangerous-2.2.0-py3-none-any.whl", hash = "sha256:' + "0" * 64 + '" }'
    (tmp_path / "uv.lock").write_text(
        'version = 1\nrevision = 3\nrequires-python = ">=3.11"\n\n[[package]]\nname = "itsdangerous"\n'
        'version = "2.2.0"\nsource = { registry = "https://example.com/simple" }\n'
        f"wheels = [\n    {wheel},\n]\n\n"
        '[[package]]\nname = "shop"\nversion = "1"\nsource = { virtual = "." }\n'
        'dependencies = [\n    { name = "itsdangerous" },\n]\n\n'
        '[package.metadata]\nrequires-dist = [{ name = "itsdangerous" }]\n',
        encoding="utf-8",
    )
    tools = replace(uv.Toolbox(), uv=uv_program, cache=tmp_path / "cache", python=Path(sys.executable))
    with uv.workplace(tools, tmp_path) as work:
        lock = venv.lock_of(tools, tmp_path, "uv.lock", work)
    assert lock.names == {"itsdangerous"}
    assert sorted(path.name for path in tmp_path.iterdir()) == ["cache", "pyproject.toml", "uv.lock"]
