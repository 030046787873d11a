"""Messages of the launcher on stderr, which supervisor writes to the log of the slot or process."""

from __future__ import annotations

import sys
import time
from typing import NoReturn

REFUSED = 77
# supervisor applies `exitcodes` only after a program has run for `startsecs` (1 for a slot, 3 for a process); an
# earlier exit is a failed start, which it retries.
SLOT_PAUSE = 2.0
PROCESS_PAUSE = 4.0


class LauncherError(Exception):
    """An error for the log, with its remedy."""


def say(message: str) -> None:
    """Write to the log."""
    print(f"launcher: {message}", file=sys.stderr, flush=True)


def refuse(message: str, pause: float) -> NoReturn:
    """Log why nothing runs here, and exit so that supervisor does not restart it."""
    say(message)
    time.sleep(pause)
    sys.exit(REFUSED)
