"""gunicorn's master process of a slot."""

from __future__ import annotations

import os
import signal
from pathlib import Path

from ansible_collections.wsgi.sites.plugins.module_utils.system import process


class Master:
    """The process that the launcher has recorded for a slot.

    :raises ProcessLookupError: if it has ended
    """

    def __init__(self, slot: str, note: dict) -> None:
        self.slot, self.note, self.pid = slot, note, note["pid"]
        self.handle = os.pidfd_open(self.pid)  # from here on the PID cannot be reused
        if process.find(self.pid) != process.Process(self.pid, note["start"]):
            self.close()
            raise ProcessLookupError(self.pid)

    def takes_signals(self) -> bool:
        """Whether its signal handlers are installed. Before that the signals would end it."""
        status = Path(f"/proc/{self.pid}/status").read_text(encoding="utf-8", errors="replace")
        caught = next((int(line.split()[1], 16) for line in status.splitlines() if line.startswith("SigCgt:")), 0)
        return all(caught >> (sign - 1) & 1 for sign in (signal.SIGTTIN, signal.SIGTTOU))

    def workers(self) -> int:
        """The number of workers, including those that are stopping."""
        return len(process.children(self.pid))

    def send(self, sign: int) -> None:
        """Send a signal to exactly this process."""
        signal.pidfd_send_signal(self.handle, sign)

    def close(self) -> None:
        """Close the descriptor."""
        os.close(self.handle)
