"""The history of a site on this host: one line per change with time, action and author."""

from __future__ import annotations

import contextlib
import json
import os
import re
import syslog
from datetime import UTC, datetime
from pathlib import Path

from ansible_collections.wsgi.sites.plugins.module_utils.site.paths import Layout, write_file
from ansible_collections.wsgi.sites.plugins.module_utils.system.text import visible, visible_all

# About a thousand lines; then the older half is removed.
LIMIT = 256 * 1024
MODE = 0o640
# Names of fields in lines of versions before 1.0.0.
FORMER = {"away": "downtime"}
PLAIN = re.compile(r"[A-Za-z0-9._:@/+-]+\Z")
REASON_LENGTH = 200


def path(site: Layout) -> Path:
    """The site's history file."""
    return site.root / "releases.log"


def append(
    site: Layout, action: str, result: str, *, by: str = "", release: str = "", previous: str = "",
    seconds: float | None = None, downtime: float = 0, reason: str = "",
) -> None:  # fmt: skip
    """Add a line to the file and to the host's journal. Best effort: a deploy never fails because of its history."""
    fields = {
        "result": result,
        "by": by,
        "release": release,
        "previous": previous,
        "seconds": "" if seconds is None else f"{seconds:.1f}",
        "downtime": f"{downtime:.1f}" if downtime else "",
        # The first line only; the others quote logs.
        "reason": visible((reason.strip().splitlines() or [""])[0][:REASON_LENGTH]),
    }
    words = " ".join(f"{name}={quote(value)}" for name, value in fields.items() if value)
    with contextlib.suppress(OSError):
        file = path(site)
        _shorten(site, file)
        descriptor = os.open(file, os.O_WRONLY | os.O_CREAT | os.O_APPEND | os.O_NOFOLLOW | os.O_CLOEXEC, 0o600)
        with os.fdopen(descriptor, "w", encoding="utf-8") as stream:
            if os.geteuid() == 0:
                os.fchown(stream.fileno(), 0, _group(site))
            os.fchmod(stream.fileno(), MODE)
            stream.write(f"{datetime.now(UTC):%Y-%m-%dT%H:%M:%SZ} {action} {words}\n")
    journal(site, f"{action} {words}", ok=result == "ok")


def journal(site: Layout, words: str, *, ok: bool) -> None:
    """Log to the host's journal or syslog. Best effort."""
    with contextlib.suppress(OSError, ValueError):
        syslog.openlog(f"{site.name}-ctl", 0, syslog.LOG_DAEMON)
        syslog.syslog(syslog.LOG_NOTICE if ok else syslog.LOG_WARNING, f"{site.name}: {words}".replace("\0", ""))
        syslog.closelog()


def _group(site: Layout) -> int:
    """The group that can read it: the site's, as for its logs."""
    try:
        return site.logs.stat().st_gid
    except OSError:
        return 0


def _shorten(site: Layout, file: Path) -> None:
    """Keep the newer half of a file that has grown long."""
    with contextlib.suppress(FileNotFoundError):
        if file.lstat().st_size > LIMIT:
            lines = file.read_text(encoding="utf-8", errors="replace").splitlines(keepends=True)
            write_file(file, "".join(lines[len(lines) // 2 :]), MODE, _group(site))


def quote(value: str) -> str:
    """A plain word unchanged, anything else as a JSON string, so that it is always one line."""
    return value if PLAIN.match(value) else json.dumps(value)


def parse(line: str) -> dict[str, str]:
    """Parse one line to fields, with ``time`` and ``action``; empty if it has another format."""
    match = re.match(r"(\S+) (\S+) (.*)", line.strip())
    if not match:
        return {}
    pairs = re.findall(r'(\w+)=("(?:[^"\\]|\\.)*"|\S+)', match[3])
    found = {"time": match[1], "action": match[2]}
    for name, value in pairs:
        try:
            found[FORMER.get(name, name)] = json.loads(value) if value.startswith('"') else value
        except ValueError:
            return {}
    return found if "result" in found else {}


def read(site: Layout, count: int = 0) -> list[dict[str, str]]:
    """The last ``count`` lines, oldest first; without a count all lines."""
    try:
        lines = path(site).read_text(encoding="utf-8", errors="replace").splitlines()
    except OSError:
        return []
    return [visible_all(found) for found in map(parse, lines[-count:]) if found]
