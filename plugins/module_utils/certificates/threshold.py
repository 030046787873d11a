"""How much of a certificate's time is left when the next one is due."""

from __future__ import annotations

from collections.abc import Callable
from datetime import timedelta

# From how long one lives to how much of that is left by then.
Spare = Callable[[timedelta], timedelta]


def made_here(life: timedelta) -> timedelta:
    """Of one that its host makes: a host that gets a run a month never serves one that has ended.

    Half its life at the most, or one of a month would be made anew by each run.
    """
    return max(life / 3, min(timedelta(days=30), life / 2))


def asked_for(days: int) -> Spare:
    """Of one that is asked for: so many days, but never more than half its life, or a short one would never do."""
    return lambda life: min(life / 2, timedelta(days=days))
