"""Sources and releases for tests."""

from __future__ import annotations

import io
import os
from datetime import UTC, datetime
from pathlib import Path

from ansible_collections.wsgi.sites.plugins.module_utils.releases import (
    fingerprint,
)
from ansible_collections.wsgi.sites.plugins.module_utils.site import paths
from ansible_collections.wsgi.sites.plugins.plugin_utils.releases import source_files
from ansible_collections.wsgi.sites.plugins.plugin_utils.releases.payload import pack

NASTY = {
    "PLAIN": "hello",
    "NEWLINE": "one\ntwo\r\nthree",
    "QUOTES": "a \"double\" and a 'single' one",
    "PERCENT": "100% %(here)s %%",
    "DOLLAR": "$HOME ${PATH} `id` $(id)",
    "UNICODE": "Grüße, 世界 🚀",
    "LINE_ENDS": "a\x0bb\x0cc\x1cd\x85e\u2028f\u2029g",
    "BACKSLASH": "C:\\new\\table",
    "EQUALS": "=a=b=",
    "EMPTY": "",
    "SPACES": "  both ends  ",
}


HASHED = "flask==3.1.3 \\\n    --hash=sha256:00 \\\n    --hash=sha256:11\n    # via -r requirements.in\n"


NOW = datetime(2026, 11, 21, 3, 15, tzinfo=UTC)


def packed(source: Path, settings: dict | None = None) -> bytes:
    """The payload of a source."""
    target = io.BytesIO()
    pack(target, source_files.collect(source), settings or {"environment": {}, "files": {}}, b"gunicorn==1\n")
    return target.getvalue()


def code(source: Path) -> str:
    """The hash of a source's code."""
    return source_files.code_hash(source_files.collect(source), ["requirements.txt"])


PARTS = {"code": "c" * 64, "requirements": "r", "config": "s", "environment": "e", "python": "3.11"}


def make_release(site: paths.Layout, name: str, parts: dict, slot: str | None = None, complete: bool = True) -> Path:
    """Create a release, and make it live if a slot is given."""
    release = site.release(name)
    (release / "app").mkdir(parents=True)
    (release / "venv/lib").mkdir(parents=True)
    (release / "app/wsgi.py").write_text("app = 1\n", encoding="utf-8")
    (release / "venv/lib/flask.py").write_text("flask = 1\n", encoding="utf-8")
    (release / "program-blue.conf").write_text("blue", encoding="utf-8")
    if complete:
        (release / fingerprint.FILE).write_text(fingerprint.record(release, parts), encoding="utf-8")
        (release / fingerprint.COMPLETE).touch()
    if slot:
        site.slot(slot).mkdir(parents=True, exist_ok=True)
        paths.replace_link(site.slot(slot) / "release", f"../../releases/{name}")
        paths.replace_link(site.live, f"slots/{slot}")
        site.program(slot).write_text("blue", encoding="utf-8")
    return release


def passable(tmp_path: Path) -> None:
    """Let other users enter the test's folder."""
    if os.geteuid() == 0:
        for folder in (tmp_path, *tmp_path.parents):
            if folder.stat().st_uid == os.geteuid() and folder != Path("/"):
                folder.chmod(folder.stat().st_mode | 0o011)
