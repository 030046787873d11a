"""What is seen while it goes on."""

from __future__ import annotations

import shutil
import sys
import time


class Progress:
    """One line for each run that ended; on a terminal also what goes on at the moment."""

    def __init__(self, total: int) -> None:
        self.total = total
        self.done = 0
        self.started = time.monotonic()
        self.live = sys.stderr.isatty()

    def now(self, text: str) -> None:
        """Show what goes on; overwritten by whatever comes next."""
        if self.live:
            width = shutil.get_terminal_size().columns - 1
            print(f"\r\033[K{self.head()} {text}"[: width + 4], end="", file=sys.stderr, flush=True)

    def end(self, text: str) -> None:
        """Keep a line, and count it."""
        clear = "\r\033[K" if self.live else ""
        print(f"{clear}{self.head()} {text}", file=sys.stderr, flush=True)
        self.done += 1

    def head(self) -> str:
        """Which of how many, and how long since the start."""
        return f"[{self.done + 1}/{self.total}, {time.monotonic() - self.started:.0f} s]"
