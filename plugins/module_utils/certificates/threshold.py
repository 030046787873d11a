"""The remaining lifetime at which a certificate is replaced."""

from __future__ import annotations

from collections.abc import Callable
from datetime import timedelta

# From a certificate's lifetime to the remaining time at which it is replaced.
Spare = Callable[[timedelta], timedelta]


def made_here(life: timedelta) -> timedelta:
    """For self-signed certificates: a host with one run a month never serves an expired one.

    At most half its lifetime, or each run would replace a certificate of one month.
    """
    return max(life / 3, min(timedelta(days=30), life / 2))


def asked_for(days: int) -> Spare:
    """For requested certificates: so many days, but at most half the lifetime, so that short-lived ones work too."""
    return lambda life: min(life / 2, timedelta(days=days))
