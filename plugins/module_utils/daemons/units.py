"""Drop-ins of systemd units, and the daemon-reload that they need."""

from __future__ import annotations

import os
import subprocess
from collections.abc import Iterable
from pathlib import Path


def drop_ins(paths: Iterable[str]) -> list[Path]:
    """The files among these that are drop-ins of a systemd unit."""
    return [Path(path) for path in paths if "/systemd/system/" in path]


def unread(paths: Iterable[Path]) -> bool:
    """Whether systemd has not loaded one of these drop-ins, or an older version; also after an interrupted run."""
    if not os.path.isdir("/run/systemd/system"):
        return False
    for path in paths:
        ask = ["systemctl", "show", "--property=NeedDaemonReload,DropInPaths", path.parent.name.removesuffix(".d")]
        answer = subprocess.run(ask, capture_output=True, text=True, check=False).stdout
        # Debian 12's systemd does not notice a drop-in in a new folder, so check for its name too.
        if "NeedDaemonReload=yes" in answer or str(path) not in answer:
            return True
    return False


def catch_up(paths: Iterable[Path]) -> bool:
    """Reload systemd's units if it has not loaded one of these; returns whether it had not."""
    behind = unread(paths)
    if behind:
        reread()
    return behind


def reread() -> None:
    """Run systemctl daemon-reload, which restarts nothing."""
    subprocess.run(["systemctl", "daemon-reload"], check=True, capture_output=True)
