"""The last lines of a site's logs."""

from __future__ import annotations

import os
import re
from collections import deque
from pathlib import Path

from ansible_collections.wsgi.sites.plugins.module_utils.releases.environment import mask, parse_environment
from ansible_collections.wsgi.sites.plugins.module_utils.system.text import TAIL, visible

OF_NGINX = ("access.log", "error.log")
NAMES = ("server.log", *OF_NGINX)
LAST = 20
# An exception's line, which later lines may push out of the end.
RAISED = re.compile(r"[A-Za-z_][\w.]*(Error|Exception|Exit|Halt\w*)\b")
# Bytes from the end of a log that are searched, and that are shown.
SEARCHED, SHOWN = 256 << 20, 1 << 20
MOST = 10_000


def names(folder: Path) -> list[str]:
    """The names of the site's logs: those of every site, then those of its processes."""
    own = sorted(path.name for path in folder.glob("*.log") if path.name not in NAMES)
    return [*(NAMES if (folder / "server.log").exists() else OF_NGINX), *own]


def last(path: Path, count: int, containing: str = "", room: int = SHOWN) -> list[str]:
    """The last lines of a file, or those that contain a text; none if there is no file.

    :param room: maximum number of bytes in all
    """
    count = max(count, 0)
    try:
        with path.open("rb") as stream:
            length = stream.seek(0, os.SEEK_END)
            # Logs and their lines may have any length, and holes: a text is searched in pieces of the newest part;
            # without one only the end is read.
            stream.seek(max(0, length - (SEARCHED if containing else min(room, TAIL * max(1, count)))))
            wanted, left = containing.encode(), SEARCHED
            found: deque[bytes] = deque(maxlen=min(count, MOST))
            while left > 0 and (line := stream.readline(TAIL)):
                left -= len(line)
                if wanted in line:
                    found.append(line)
    except OSError:
        return []
    lines: deque[str] = deque()
    for line in reversed(found):
        room -= len(line)
        if room < 0:
            break
        lines.appendleft(visible(line.decode("utf-8", "replace").rstrip("\n")))
    return list(lines)


def show(folder: Path, count: int, containing: str = "") -> str:
    """Each log's last lines below its name."""
    parts, logs = [], names(folder)
    for name in logs:
        room = SHOWN // len(logs)
        lines = last(folder / name, count, containing, room)
        if containing:
            # The lines may be from before the last rotation.
            lines = [*last(folder / f"{name}.1", count, containing, room), *lines][-count:]
        missing = "(no matching line)" if containing else "(empty)"
        parts.append("\n".join([f"--- {folder / name}", *(lines or [missing])]))
    return "\n".join(parts) + "\n"


def make(path: Path, gid: int | None) -> None:
    """Create a log in advance, so that root owns it whichever process first writes to it."""
    os.close(os.open(path, os.O_WRONLY | os.O_CREAT | os.O_EXCL | os.O_NOFOLLOW, 0o600))
    os.chown(path, 0, -1 if gid is None else gid)
    path.chmod(0o640)


def position(path: Path) -> tuple[int, int]:
    """The present end of a log, for `last_words`."""
    try:
        info = path.stat()
    except OSError:
        return 0, 0
    return info.st_ino, info.st_size


def last_words(path: Path, since: tuple[int, int], environment: Path) -> str:
    """The last lines since that position, without the values of the release's environment."""
    inode, offset = since
    try:
        with path.open("rb") as stream:
            info = os.fstat(stream.fileno())
            if info.st_ino != inode or info.st_size < offset:  # rotated meanwhile
                offset = 0
            stream.seek(max(offset, info.st_size - TAIL))
            text = stream.read(TAIL).decode(errors="replace")
        values = parse_environment(environment.read_text(encoding="utf-8"))
    except (OSError, ValueError) as error:
        return f" (Its log {path} cannot be read: {error})"
    # Masked before splitting, since a value may have several lines.
    text = re.sub(r"[^\S\n]+\n", "\n", mask(text, values))
    lines = [visible(line) for line in text.splitlines() if line]
    if not lines:
        return f" It has logged nothing to {path}."
    raised = dict.fromkeys(line for line in lines[:-LAST] if RAISED.match(line) and line not in lines[-LAST:])
    lines = [*list(raised)[-3:], *lines[-LAST:]]
    return f" Its last lines in {path}:\n" + "\n".join(f"  | {line}" for line in lines)
