"""Progress on stderr."""

from __future__ import annotations

import shutil
import sys
import time


class Progress:
    """One line for each run that has ended; on a terminal also the current step."""

    def __init__(self, total: int) -> None:
        self.total = total
        self.done = 0
        self.started = time.monotonic()
        self.live = sys.stderr.isatty()

    def now(self, text: str) -> None:
        """Show the current step, which the next one overwrites."""
        if self.live:
            width = shutil.get_terminal_size().columns - 1
            print(f"\r\033[K{self.head()} {text}"[: width + 4], end="", file=sys.stderr, flush=True)

    def end(self, text: str) -> None:
        """Print a line that stays, and count it."""
        clear = "\r\033[K" if self.live else ""
        print(f"{clear}{self.head()} {text}", file=sys.stderr, flush=True)
        self.done += 1

    def head(self) -> str:
        """The number of the run, the total, and the seconds since the start."""
        return f"[{self.done + 1}/{self.total}, {time.monotonic() - self.started:.0f} s]"
