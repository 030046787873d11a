"""Drop-ins of systemd units, which systemd has to be told about."""

from __future__ import annotations

import os
import subprocess
from collections.abc import Iterable
from pathlib import Path


def drop_ins(paths: Iterable[str]) -> list[Path]:
    """Which of these files are part of a systemd unit."""
    return [Path(path) for path in paths if "/systemd/system/" in path]


def unread(paths: Iterable[Path]) -> bool:
    """Whether systemd runs without one of these drop-ins, or with an older one; also after a run that was killed."""
    if not os.path.isdir("/run/systemd/system"):
        return False
    for path in paths:
        ask = ["systemctl", "show", "--property=NeedDaemonReload,DropInPaths", path.parent.name.removesuffix(".d")]
        answer = subprocess.run(ask, capture_output=True, text=True, check=False).stdout
        # Debian 12's systemd does not notice a drop-in whose folder is new, so look for its name as well.
        if "NeedDaemonReload=yes" in answer or str(path) not in answer:
            return True
    return False


def catch_up(paths: Iterable[Path]) -> bool:
    """Have systemd read what it has not read of these; whether there was anything."""
    behind = unread(paths)
    if behind:
        reread()
    return behind


def reread() -> None:
    """Have systemd read its units again; nothing restarts by it."""
    subprocess.run(["systemctl", "daemon-reload"], check=True, capture_output=True)
