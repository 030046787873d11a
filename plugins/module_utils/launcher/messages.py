"""What the launcher says, on stderr: supervisor writes it to the log of the slot or process."""

from __future__ import annotations

import sys
import time
from typing import NoReturn

REFUSED = 77
# supervisor counts an exit as one of `exitcodes` only once the program was up for `startsecs` (1 for a slot, 3 for a
# process); before that it is a failed start, to be tried again and again.
SLOT_PAUSE = 2.0
PROCESS_PAUSE = 4.0


class LauncherError(Exception):
    """What went wrong and what to do, for the log."""


def say(message: str) -> None:
    """Write to the log."""
    print(f"launcher: {message}", file=sys.stderr, flush=True)


def refuse(message: str, pause: float) -> NoReturn:
    """Say why nothing is to run here, in a way that supervisor accepts as an end."""
    say(message)
    time.sleep(pause)
    sys.exit(REFUSED)
